"""Columns of wall clocks and dates, placed in UTC all at once; the rules are those of `ingest.meaning.times`."""

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingest.meaning.times import midnights
from ingest.readers.omop.tables import DATE, MISSING, WALL, ZONED


@dataclass(frozen=True)
class Times:
    """Times (N,) in UTC without a zone: `starts`, and `ends`, a day later where only a date is known. NaT where none.

    homeless: clocks whose zone nobody has said. lost: clocks that daylight saving makes happen twice, or never.
    """

    starts: NDArray[np.datetime64]
    ends: NDArray[np.datetime64]
    missing: NDArray[np.bool_]
    is_date: NDArray[np.bool_]
    homeless: NDArray[np.bool_]
    lost: NDArray[np.bool_]


def place_times(at: pa.Array, kind: pa.Array, zone: dt.tzinfo | None) -> Times:
    """Times of `at` (N,), each as its `kind` says: a date, a clock in `zone`, a clock in UTC, or none."""
    clocks = at.cast(pa.timestamp("us")).to_numpy(zero_copy_only=False).astype("datetime64[us]")
    kinds = kind.to_numpy(zero_copy_only=False)
    is_date, wall, zoned = kinds == DATE, kinds == WALL, kinds == ZONED
    starts = np.full(len(clocks), np.datetime64("NaT"), "datetime64[us]")
    starts[zoned] = clocks[zoned]
    ends = starts.copy()
    starts[is_date] = midnights(clocks[is_date], zone)
    ends[is_date] = midnights(clocks[is_date] + np.timedelta64(1, "D"), zone)
    if zone is not None:
        starts[wall] = ends[wall] = _resolved(clocks[wall], zone)
    lost = wall & np.isnat(starts) & (zone is not None)
    return Times(starts, ends, kinds == MISSING, is_date, wall & (zone is None), lost)


def _resolved(clocks: NDArray[np.datetime64], zone: dt.tzinfo) -> NDArray[np.datetime64]:
    import pandas as pd

    moments = pd.DatetimeIndex(clocks).tz_localize(zone, ambiguous="NaT", nonexistent="NaT")
    naive: NDArray[np.datetime64] = moments.tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[us]")
    return naive
