"""Pretraining: encoders that learn from cases whose outcomes are not looked at."""
