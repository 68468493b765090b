"""The account of an ingest: what was read, used, refused or skipped, and its summary."""
