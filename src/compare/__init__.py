"""`python -m src.compare`: is one revision better than another?"""
