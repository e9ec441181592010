"""`python -m src.sweep`: a grid of experiments, through the queue of DVC or on a Ray cluster."""
