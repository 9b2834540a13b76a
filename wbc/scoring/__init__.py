"""Predictions, their scores and their calibration."""
