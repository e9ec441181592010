"""The library: pure functions over arrays and tables, importable without DVC."""
