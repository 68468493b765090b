"""Alignment: one file per stream kind, from observations to arrays relative to the index time."""
