"""Predictions to numbers: metrics, calibration, intervals, tests between revisions."""
