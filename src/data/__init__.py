"""Bytes to images to splits; a module for each built-in dataset holds every fact of it."""
