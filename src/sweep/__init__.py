"""`python -m src.sweep`: a grid of experiments through the queue of DVC."""
