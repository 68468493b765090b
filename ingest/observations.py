"""The observation table: one row is one thing known about one subject at one time.

A superset of MEDS 0.4 (Medical Event Data Standard): its five columns keep their names and types, so any MEDS
dataset is readable as it is, and what is written here opens in MEDS tools. Times are UTC; MEDS wants them
without a zone, so they are stored so.
"""

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

SCHEMA = pa.schema(
    [
        pa.field("subject_id", pa.int64(), nullable=False),
        pa.field("time", pa.timestamp("us")),  # null: a static fact, true at any time
        pa.field("code", pa.string(), nullable=False),
        pa.field("numeric_value", pa.float32()),
        pa.field("text_value", pa.large_string()),
        pa.field("unit", pa.string()),  # UCUM
        pa.field("available_time", pa.timestamp("us")),  # when the system could know it; null: as `time`
        pa.field("asset", pa.string()),  # path of an image or a sound
        pa.field("asset_sha256", pa.string()),
        pa.field("source_file", pa.string()),
        pa.field("source_record", pa.string()),  # "row 17", "line 5000", a SOP instance UID
    ]
)

BIRTH_CODE = "MEDS_BIRTH"
DEATH_CODE = "MEDS_DEATH"
BEFORE_ALL = -(2**63)  # microseconds: where facts without a time stand


@dataclass
class ObservationColumns:
    """Columns being filled by a reader; `batch()` turns them into a record batch of `SCHEMA`.

    Columns rather than row objects: a million rows cost eleven lists, not a million objects.
    """

    columns: dict[str, list[object]] = field(default_factory=lambda: {name: [] for name in SCHEMA.names})

    def add(
        self,
        subject_id: int,
        code: str,
        *,
        time: dt.datetime | None = None,
        numeric_value: float | None = None,
        text_value: str | None = None,
        unit: str | None = None,
        available_time: dt.datetime | None = None,
        asset: str | None = None,
        asset_sha256: str | None = None,
        source_file: str | None = None,
        source_record: str | None = None,
    ) -> None:
        """Append one observation; `time` and `available_time` are aware datetimes (any zone) or None."""
        row = (
            subject_id, naive_utc(time), code, numeric_value, text_value, unit, naive_utc(available_time),
            asset, asset_sha256, source_file, source_record,
        )  # fmt: skip
        for column, value in zip(self.columns.values(), row, strict=True):
            column.append(value)

    def __len__(self) -> int:
        return len(self.columns["code"])

    def batch(self) -> pa.RecordBatch:
        """The rows so far as one record batch of `SCHEMA`; the columns start anew."""
        arrays = [pa.array(self.columns[f.name], f.type) for f in SCHEMA]
        self.columns = {name: [] for name in SCHEMA.names}
        return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def naive_utc(moment: dt.datetime | None) -> dt.datetime | None:
    """An aware datetime as UTC without its zone, the form that MEDS stores. A naive one is a defect."""
    if moment is None:
        return None
    assert moment.tzinfo is not None, "readers resolve zones; a naive time must not come this far"
    return moment.astimezone(dt.UTC).replace(tzinfo=None)


def conform(table: pa.Table) -> pa.Table:
    """The table with exactly the columns of SCHEMA; a plain MEDS table lacks some, and they become null."""
    if table.schema.equals(SCHEMA):
        return table
    columns = [
        table[f.name].cast(f.type) if f.name in table.column_names else pa.nulls(len(table), f.type) for f in SCHEMA
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def microseconds(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """Times as microseconds since 1970; static facts, whose time is null, before everything."""
    return pc.fill_null(times.cast(pa.int64()), BEFORE_ALL)


def concatenate(batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """All batches as one table of `SCHEMA`, empty where there are none."""
    return pa.Table.from_batches(_checked(batches), schema=SCHEMA)


def _checked(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        assert batch.schema.equals(SCHEMA), f"not an observation batch: {batch.schema}"
        yield batch
