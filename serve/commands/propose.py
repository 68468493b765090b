"""`telltale ingest --propose FILE`: a first mapping of a table, on standard output."""

from pathlib import Path


def print_mapping(path: Path) -> None:
    """Print a mapping of the table at `path` as YAML, with comments that say what to check."""
    from ingest.mapping.propose import propose_mapping

    print(propose_mapping(path), end="")
