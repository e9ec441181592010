"""Measurements that the texts quote, each with the command that repeats it."""

import src as src  # before a benchmark loads NumPy or PyTorch: see src.runtime.processor
