"""The observation table of a workspace, read back."""

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from ingest.observations import SCHEMA
from ingest.workspace import Workspace


def read_observations(
    workspace: Workspace, codes: Collection[str] | None = None, subjects: Collection[int] | None = None
) -> pa.Table:
    """The observations of all deliveries, or only those of some codes and subjects; by subject and time, static first.

    An empty workspace gives an empty table of the same schema.
    """
    parts = [str(path) for path in sorted(workspace.observations.glob("[!.]*.parquet"))]
    if not parts:
        return SCHEMA.empty_table()
    wanted = None
    for name, values in (("code", codes), ("subject_id", subjects)):
        if values is not None:
            condition = ds.field(name).isin(pa.array(list(values), SCHEMA.field(name).type))
            wanted = condition if wanted is None else wanted & condition
    table = ds.dataset(parts, schema=SCHEMA).to_table(filter=wanted)
    return in_order(table)


def in_order(table: pa.Table) -> pa.Table:
    """A table by subject and time, static facts (null times) first: the order that MEDS asks of its files."""
    before_all = pa.scalar(-(2**63), pa.int64())
    keys = pa.table(
        {
            "subject_id": table["subject_id"],
            "time": pc.fill_null(table["time"].cast(pa.int64()), before_all),
            "code": table["code"],
        }
    )
    return table.take(pc.sort_indices(keys, sort_keys=[(name, "ascending") for name in keys.column_names]))
