"""Readers: one file or folder per source format, each a plug-in of `registry.READERS`."""
