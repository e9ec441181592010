"""Measurements that the README quotes, each with the command that repeats it."""

import src as src  # before a benchmark loads NumPy or PyTorch: see src.runtime.processor
