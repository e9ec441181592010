"""`python -m src.versions`: registered versions of the model, by way of git tags."""
