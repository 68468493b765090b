"""A ward: a delivery of FHIR lines, and what came of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingest.account.reconciliation import Reconciliation
from ingest.run import ingest
from ingest.store import read_observations
from ingest.workspace import Workspace

Lines = Callable[..., Path]


class Ward:
    """A delivery of FHIR lines, and what came of it."""

    def __init__(self, workspace: Workspace, delivery: Path, write_lines: Lines) -> None:
        self.workspace, self.delivery, self.write_lines = workspace, delivery, write_lines

    def take(self, *resources: Any, name: str = "all.ndjson", **options: Any) -> Reconciliation:
        self.write_lines(self.delivery / name, resources)
        return ingest(self.workspace, [self.delivery], **options)

    @property
    def rows(self) -> list[dict[str, Any]]:
        return read_observations(self.workspace).to_pylist()

    def row(self, code: str) -> dict[str, Any]:
        found = [row for row in self.rows if row["code"] == code]
        assert len(found) == 1, [row["code"] for row in self.rows]
        return found[0]


@pytest.fixture
def ward(workspace: Workspace, delivery: Path, write_lines: Lines) -> Ward:
    return Ward(workspace, delivery, write_lines)
