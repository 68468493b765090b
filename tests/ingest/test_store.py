import datetime as dt
import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.account.ledger import Ledger
from ingest.files import write_parquet
from ingest.observations import SCHEMA, ObservationColumns, concatenate
from ingest.parts import in_order
from ingest.store import Observations, read_observations
from ingest.workspace import Workspace


def moment(hour: int) -> dt.datetime:
    return dt.datetime(2026, 3, 1, hour, tzinfo=dt.UTC)


def test_parts_are_read_as_one_table_by_subject_and_time_static_first(workspace: Workspace) -> None:
    assert read_observations(workspace).schema == SCHEMA
    for name, hour in (("b", 1), ("a", 2)):
        rows = ObservationColumns()
        rows.add(7, "LATE", time=moment(hour))
        rows.add(7, "STATIC")
        rows.add(3, "EARLY", time=moment(hour))
        write_parquet(workspace.observations / f"{name}.parquet", in_order(concatenate([rows.batch()])))
    table = read_observations(workspace)
    assert table["subject_id"].to_pylist() == [3, 3, 7, 7, 7, 7]
    assert [time and time.hour for time in table["time"].to_pylist()] == [1, 2, None, None, 1, 2]
    assert read_observations(workspace, codes=["EARLY"]).num_rows == 2
    assert read_observations(workspace, subjects=[7]).num_rows == 4
    assert read_observations(workspace, codes=["EARLY"], subjects=[7]).num_rows == 0
    assert read_observations(workspace, codes=[]).num_rows == 0


def test_a_file_in_the_making_is_not_read(workspace: Workspace) -> None:
    (workspace.observations / ".run.x.parquet").write_bytes(b"half")
    assert read_observations(workspace).num_rows == 0


def part(workspace: Workspace, run: str, rows: list[tuple[int, str, str, str]]) -> None:
    """A part of (subject, code, source file, source record)."""
    columns = ObservationColumns()
    for subject, code, file, record in rows:
        columns.add(subject, code, source_file=file, source_record=record)
    write_parquet(workspace.observations / f"{run}.parquet", in_order(concatenate([columns.batch()])))


def retire(workspace: Workspace, run: str, file: str, record: str) -> None:
    ledger = Ledger(workspace.ingests, workspace.observations)
    ledger.retire(file, record, "corrected")
    ledger.save(run)
    ledger.close()


def test_a_retired_record_is_gone_until_it_is_delivered_again(workspace: Workspace) -> None:
    part(workspace, "run1", [(1, "A", "f@1", "row 1"), (1, "B", "f@1", "row 2"), (2, "A", "g@1", "row 1")])
    retire(workspace, "run2", "f@1", "row 1")
    part(workspace, "run2", [(1, "A2", "f@2", "row 1")])
    held = Observations(workspace)
    assert sorted(held.table()["code"].to_pylist()) == ["A", "A2", "B"]
    assert held.code_counts == {"A": 1, "A2": 1, "B": 1}
    part(workspace, "run3", [(1, "A", "f@1", "row 1")])
    assert Observations(workspace).code_counts == {"A": 2, "A2": 1, "B": 1}


def test_chunks_hold_whole_subjects_in_order_and_all_of_them(workspace: Workspace) -> None:
    rng = np.random.default_rng(1)
    for run in ("run1", "run2", "run3"):
        subjects = rng.integers(0, 2**62, 300).tolist()
        rows = [(s, f"C{n % 3}", "f", f"row {n}") for s in subjects[:150] for n in range(4)]
        columns = ObservationColumns()
        for subject, code, file, record in rows:
            columns.add(subject, code, source_file=file, source_record=record)
        table = in_order(concatenate([columns.batch()]))
        pq.write_table(table, workspace.observations / f"{run}.parquet", row_group_size=50)
    held = Observations(workspace)
    chunks = list(held.chunks(rows=200))
    assert len(chunks) > 5
    spans = [(c["subject_id"][0].as_py(), c["subject_id"][-1].as_py()) for c in chunks]
    assert all(before[1] < after[0] for before, after in itertools.pairwise(spans))
    assert in_order(pa.concat_tables(chunks)).equals(held.table())
    assert in_order(pa.concat_tables(list(held.chunks(codes=["C1"], rows=200)))).equals(held.table(codes=["C1"]))
    assert held.subjects == len(set(held.table()["subject_id"].to_pylist()))


def test_subjects_that_are_one_person_are_read_under_one_number(workspace: Workspace) -> None:
    part(workspace, "run1", [(1, "A", "f", "row 1"), (5, "B", "f", "row 2"), (9, "C", "f", "row 3")])
    merges = pa.table({"other": pa.array([9], pa.int64()), "kept": pa.array([1], pa.int64())})
    write_parquet(workspace.identities / "merges.parquet", merges)
    held = Observations(workspace)
    table = held.table()
    assert list(zip(table["subject_id"].to_pylist(), table["code"].to_pylist(), strict=True)) == [
        (1, "A"),
        (1, "C"),
        (5, "B"),
    ]
    assert (held.subjects, len(held.table(subjects=[1])), len(held.table(subjects=[9]))) == (2, 2, 0)
    assert pa.concat_tables(list(held.chunks(rows=1))).equals(table)
