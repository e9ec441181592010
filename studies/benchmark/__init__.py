"""The table of results: datasets, models and recipes, several seeds each."""
