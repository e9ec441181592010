"""`python -m src.predict`: what a trained model sees in a picture."""
