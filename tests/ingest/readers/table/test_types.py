"""Columns of Parquet that are not texts, and days in zones whose clocks change."""

import datetime as dt
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from ingest.account.reconciliation import Reconciliation
from ingest.errors import InputError
from ingest.run import ingest
from ingest.store import read_observations
from ingest.workspace import Workspace


def take(workspace: Workspace, delivery: Path, column: pa.Array, kind: str, **options: Any) -> Reconciliation:
    """Ingest a Parquet file with `column` as x."""
    pq.write_table(pa.table({"who": ["a", "b"], "x": column}), delivery / "t.parquet")
    spec = {"column": "x"} if kind == "time" else None
    columns = [{"code": "FLAG", "kind": "flag"}] if spec else [{"code": "X", "column": "x", "kind": kind}]
    part = {"path": "t.parquet", "subject": {"column": "who", "issuer": "i"}, "columns": columns}
    mapping = delivery.parent / "mapping.yaml"
    mapping.write_text(yaml.safe_dump({"files": [{**part, "time": spec} if spec else part]}))
    return ingest(workspace, [delivery], mapping=mapping, **options)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([dt.datetime(2026, 3, 1), None], pa.timestamp("us")),  # noqa: DTZ001
        pa.array([dt.date(2026, 3, 1), None]),
        pa.array([dt.time(8), None]),
        pa.array([dt.timedelta(1), None]),
    ],
)
def test_a_time_read_as_a_number_is_refused_before_anything_is_read(
    workspace: Workspace, delivery: Path, column: pa.Array
) -> None:
    with pytest.raises(InputError, match=rf"x: expected a column of numbers.*got {re.escape(str(column.type))}"):
        take(workspace, delivery, column, "numeric")


def test_a_whole_number_beyond_double_precision_is_rounded(workspace: Workspace, delivery: Path) -> None:
    take(workspace, delivery, pa.array([2**60 + 1, None], pa.int64()), "numeric")
    assert read_observations(workspace).to_pylist()[0]["numeric_value"] == 2.0**60


def test_bytes_are_texts(workspace: Workspace, delivery: Path) -> None:
    take(workspace, delivery, pa.array(["würzig".encode(), None]), "text")
    assert read_observations(workspace).to_pylist()[0]["text_value"] == "würzig"


def test_bytes_that_are_no_text_are_a_refused_record(workspace: Workspace, delivery: Path) -> None:
    account = take(workspace, delivery, pa.array([b"\xff", b"b"]), "text")
    assert [(each.record, each.expected) for each in account.refusals] == [("row 1", "cells in UTF-8")]


@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize(
    ("zone", "day", "start", "end"),
    [
        ("Europe/Berlin", dt.date(2026, 3, 29), "2026-03-28T23:00", "2026-03-29T22:00"),  # 23 hours
        ("Europe/Berlin", dt.date(2026, 10, 25), "2026-10-24T22:00", "2026-10-25T23:00"),  # 25 hours
        ("America/Sao_Paulo", dt.date(2018, 11, 4), "2018-11-04T03:00", "2018-11-05T02:00"),  # has no midnight
    ],
)
def test_a_day_lasts_until_the_next_in_its_zone(
    workspace: Workspace, delivery: Path, zone: str, day: dt.date, start: str, end: str, *, as_text: bool
) -> None:
    column = pa.array([day.isoformat()] * 2) if as_text else pa.array([day] * 2)
    account = take(workspace, delivery, column, "time", timezone=zone)
    assert account.total.refused == 0
    row = read_observations(workspace).to_pylist()[0]
    assert row["time"] == dt.datetime.fromisoformat(start)
    assert row["available_time"] == dt.datetime.fromisoformat(end)
