"""`python -m src.serve`: a page to draw on, and predictions for other programs."""
