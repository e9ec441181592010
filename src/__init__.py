"""The library: pure functions over arrays and tables, importable without DVC."""

from src.runtime.processor import pin

pin()
