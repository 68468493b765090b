"""Observation tables and tasks in a few words: hours count from each subject's admission."""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ingest.align.build import align
from ingest.align.report import AlignReport
from ingest.cohort import Cohort, open_cohort
from ingest.observations import ObservationColumns
from ingest.task import Task, parse_task

ADMITTED = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
ADMISSION, DEATH, PULSE, SEX = "ADMISSION", "MEDS_DEATH", "PULSE", "GENDER"

Row = Mapping[str, Any]
TableOf = Callable[[Iterable[Row]], pa.Table]
TaskOf = Callable[..., Task]


@pytest.fixture
def table_of() -> TableOf:
    """Rows {subject, code, hours, known, ...} as an observation table; hours None: static."""

    def build(rows: Iterable[Row]) -> pa.Table:
        columns = ObservationColumns()
        for row in rows:
            plain = dict(row)
            subject, code = plain.pop("subject"), plain.pop("code")
            hours, known = plain.pop("hours", None), plain.pop("known", None)
            columns.add(
                subject,
                code,
                time=None if hours is None else ADMITTED + dt.timedelta(hours=hours),
                available_time=None if known is None else ADMITTED + dt.timedelta(hours=known),
                **plain,
            )
        return pa.Table.from_batches([columns.batch()])

    return build


@pytest.fixture
def task_of() -> TaskOf:
    """A task of these streams, asked at admission + 24 h, with death within 48 h as the outcome."""

    def build(streams: Mapping[str, Any], **changed: Any) -> Task:
        raw = {
            "name": "test",
            "title": "Test",
            "index": {"event": ADMISSION, "offset_hours": 24},
            "target": {"events": [DEATH], "horizon_hours": 48},
            "streams": streams,
            **changed,
        }
        return parse_task(raw, "test task")

    return build


@pytest.fixture
def people() -> Callable[..., list[Row]]:
    """Admissions of subjects 1 ... n, every second of whom dies 60 hours later, each with a pulse and a sex."""

    def build(n: int = 20) -> list[Row]:
        rows: list[Row] = []
        for subject in range(1, n + 1):
            rows.append({"subject": subject, "code": ADMISSION, "hours": 0})
            rows.append({"subject": subject, "code": SEX, "text_value": "female" if subject % 3 else "male"})
            rows.append({"subject": subject, "code": PULSE, "hours": 10, "numeric_value": 60.0 + subject})
            if subject % 2:
                rows.append({"subject": subject, "code": DEATH, "hours": 60})
        return rows

    return build


@pytest.fixture
def pulse() -> dict[str, Any]:
    """A series stream of the pulse alone."""
    return {"kind": "series", "channels": [{"name": "pulse", "codes": [PULSE]}], "max_times": 4}


Aligned = Callable[..., tuple[AlignReport, Cohort]]


@pytest.fixture
def aligned(tmp_path: Path, table_of: TableOf) -> Aligned:
    """Align rows for a task into a fresh folder."""

    def run(rows: Iterable[Row], task: Task, name: str = "cohort", **options: Any) -> tuple[AlignReport, Cohort]:
        report = align(table_of(rows), task, tmp_path / name, **options)
        return report, open_cohort(tmp_path / name)

    return run
