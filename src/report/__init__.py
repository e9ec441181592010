"""`python -m src.report`: revisions side by side in one HTML file."""
