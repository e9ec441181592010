"""The stages of `dvc.yaml`, run as `python -m stages.<name>` from the repository's root."""
