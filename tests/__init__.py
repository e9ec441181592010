"""Tests of the library, of the stages and of what a user does with both."""

import src as src  # before a test loads NumPy or PyTorch: see src.runtime.processor
