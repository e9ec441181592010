"""A user's own pictures, made like the images of a dataset: to train with, and to predict from."""
