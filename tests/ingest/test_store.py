import datetime as dt

from ingest.files import write_parquet
from ingest.observations import SCHEMA, ObservationColumns, concatenate
from ingest.store import in_order, read_observations
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
