"""`python -m src.predict`: what is in a picture?"""
