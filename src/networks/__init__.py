"""A file for each network that reads like its paper; building one from parameters; its file on disk."""
