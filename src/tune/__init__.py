"""`python -m src.tune`: a search for better parameters."""
