"""The networks, a file for each; `src.models` builds them from parameters."""
