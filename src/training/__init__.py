"""Tensors and a network to the best weights and a history; survives being killed."""
