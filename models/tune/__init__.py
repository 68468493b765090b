"""Tuning: a search over encoders, fusions and how they are trained, judged on the validation split alone."""
