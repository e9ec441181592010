"""The library and the commands.

Importing it pins the numerical libraries to the same instructions on every processor that has AVX2.
"""

from src.runtime.processor import pin

pin()
