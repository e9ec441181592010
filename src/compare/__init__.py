"""`python -m src.compare`: whether one revision is better than another."""
