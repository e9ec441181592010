"""A module for each tracker that `src.tracking` loads by name."""
