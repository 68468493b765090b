import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ingest.parts as parts
from ingest.observations import SCHEMA, ObservationColumns, concatenate
from ingest.parts import PartWriter, in_order


def batch(rng: np.random.Generator, rows: int, subjects: int) -> pa.RecordBatch:
    columns = ObservationColumns()
    for n in range(rows):
        hours = int(rng.integers(0, 50))
        time = None if hours == 0 else dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(hours=hours)
        subject = int(rng.integers(0, subjects)) * (2**63 // subjects)
        columns.add(subject, f"C{rng.integers(0, 9)}", time=time, numeric_value=float(n), source_record=f"row {n}")
    return columns.batch()


@pytest.mark.parametrize(("most", "subjects"), [(10_000, 40), (150, 40), (37, 40), (150, 1), (20, 3)])
def test_a_part_is_the_same_however_often_it_was_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, subjects: int
) -> None:
    monkeypatch.setattr(parts, "MAX_ROWS", most)
    monkeypatch.setattr(parts, "MERGED_ROWS", 24)
    monkeypatch.setattr(parts, "SPILL_BATCH", 16)
    monkeypatch.setattr(parts, "FAN_IN", 3)
    rng = np.random.default_rng(0)
    batches = [batch(rng, int(rng.integers(0, 60)), subjects) for _ in range(25)]
    writer = PartWriter(tmp_path / ".spill")
    for each in batches:
        writer.add(each)
    writer.write(tmp_path / "part.parquet")
    writer.close()
    written, expected = pq.read_table(tmp_path / "part.parquet"), in_order(concatenate(batches))
    assert (written.schema, writer.rows) == (SCHEMA, len(expected))
    keys = ["subject_id", "time", "code"]
    assert written.select(keys).equals(expected.select(keys))
    everything = [(name, "ascending") for name in (*keys, "numeric_value", "source_record")]
    assert written.sort_by(everything).equals(expected.sort_by(everything))
    assert not (tmp_path / ".spill").exists()


def test_rows_of_long_texts_are_merged_fewer_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MAX_ROWS", 64)
    monkeypatch.setattr(parts, "ROW_GROUP", 64)
    monkeypatch.setattr(parts, "MAX_BYTES", 64_000)
    monkeypatch.setattr(parts, "MERGED_ROWS", 24)
    monkeypatch.setattr(parts, "SPILL_BATCH", 16)
    writer, rows = PartWriter(tmp_path / ".spill"), 200
    for n in range(rows):
        columns = ObservationColumns()
        columns.add((n * 37) % rows, "NOTE", text_value=f"{n:04d}" * 2000)
        writer.add(columns.batch())
    writer.write(tmp_path / "part.parquet")
    file = pq.ParquetFile(tmp_path / "part.parquet")
    assert max(file.metadata.row_group(n).num_rows for n in range(file.metadata.num_row_groups)) <= 16
    assert file.read()["subject_id"].to_pylist() == list(range(rows))


def test_a_part_of_nothing_is_an_empty_table(tmp_path: Path) -> None:
    PartWriter(tmp_path / ".spill").write(tmp_path / "part.parquet")
    assert pq.read_table(tmp_path / "part.parquet").equals(SCHEMA.empty_table())
