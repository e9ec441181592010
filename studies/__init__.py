"""Studies: pipelines over the results of the main one, each a folder with a `dvc.yaml` of its own."""
