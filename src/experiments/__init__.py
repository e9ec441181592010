"""Results as DVC experiments, recorded without touching workspace, index or branch."""
