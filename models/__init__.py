"""Encoders, fusions and heads; training, calibration, evaluation, scoring and retraining."""
