"""The stages of `dvc.yaml`, and `export` of `studies/export/dvc.yaml`.

Run as `python -m stages.<name>` from the repository's root.
"""

import src as src  # before a stage loads NumPy or PyTorch: see src.runtime.processor
