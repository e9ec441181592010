"""Bytes to images to splits; one registry entry holds every fact of a dataset."""
