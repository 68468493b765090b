"""Flat features: every stream summed up in columns, and the models that take a table."""
