"""Stratified k-fold cross-validation over the training part of a dataset."""
