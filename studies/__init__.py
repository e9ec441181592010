"""Studies: pipelines over the results of the main one, each a folder with a `dvc.yaml` of its own."""

import src as src  # before a study loads NumPy or PyTorch: see src.runtime.processor
