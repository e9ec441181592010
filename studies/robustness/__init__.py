"""How the best model does on images that are shifted, rotated, noisy, blurred or pale."""
