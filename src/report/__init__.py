"""Revisions side by side in one HTML file: the command, what a revision holds, and the page."""
