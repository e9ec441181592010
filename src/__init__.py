"""The library: pure functions over arrays and tables, importable without DVC."""

from src.processor import pin

pin()
