"""The library: pure functions over arrays and tables, files only at the edges.

Importing it holds the numerical libraries to the same instructions on every processor.
"""

from src.runtime.processor import pin

pin()
