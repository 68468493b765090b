"""A column of times, resolved to UTC all at once; what `ingest.times` does for one value."""

import datetime as dt
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ingest.mapping import RELATIVE_UNITS, Time

ORIGIN = np.datetime64("2000-01-01T00:00:00", "us")  # the nominal time zero of relative times
_ZONED = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?\s?(Z|[+-]\d{2}:?\d{2})$"
_LOCAL = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?$"
_DATE = r"^\d{4}-\d{2}-\d{2}$"
_NUMBER = r"^[+-]?\d+(\.\d+)?$"


@dataclass(frozen=True)
class Times:
    """Times (N,) in UTC without a zone: `starts`, and `ends`, later where only a date was given.

    Null where `missing`, and where one of `problems` (mask, what was expected) holds.
    """

    starts: pa.Array
    ends: pa.Array
    missing: NDArray[np.bool_]
    is_date: NDArray[np.bool_]
    problems: tuple[tuple[NDArray[np.bool_], str], ...]


def parse_times(cells: pa.Array, spec: Time, zone: dt.tzinfo | None) -> Times:
    """Times of trimmed text cells, "" being missing."""
    missing = _mask(pc.equal(cells, ""))
    if spec.unit is not None:
        return _relative(cells, spec.unit, missing)
    text = pd.Series(cells.to_pandas())
    if spec.format is not None:
        return _formatted(text, spec.format, zone, missing)
    zoned, local, date = (_mask(pc.match_substring_regex(cells, pattern)) for pattern in (_ZONED, _LOCAL, _DATE))
    moments = _empty(len(text))
    moments[zoned] = _naive_utc(pd.to_datetime(text[zoned], utc=True, errors="coerce", format="ISO8601"))
    wall = pd.to_datetime(text[local | date], errors="coerce", format="ISO8601")
    unresolved = np.zeros(len(text), bool)
    moments[date] = _resolved(wall[date[local | date]], zone or dt.UTC)
    if zone is not None:
        moments[local] = _resolved(wall[local[local | date]], zone)
        parsed = np.zeros(len(text), bool)
        parsed[local | date] = wall.notna().to_numpy()
        unresolved = (local | date) & parsed & np.isnat(moments)
    homeless = local & (zone is None)
    wrong = ~missing & ~homeless & ~unresolved & np.isnat(moments)
    days = np.where(date, np.timedelta64(1, "D"), np.timedelta64(0, "D"))
    return Times(
        pa.array(moments), pa.array(moments + days), missing, date,
        (
            (wrong, "a date or a time as ISO 8601"),
            (homeless, "a time with its zone, or --timezone"),
            (unresolved, f"a time that exists once in {zone}, where the clocks change"),
        ),
    )  # fmt: skip


def _relative(cells: pa.Array, unit: str, missing: NDArray[np.bool_]) -> Times:
    sound = _mask(pc.match_substring_regex(cells, _NUMBER))
    offsets = pc.if_else(pa.array(sound), cells, "0").cast(pa.float64()).to_numpy() * RELATIVE_UNITS[unit]
    within = np.abs(offsets) < 1e10  # three centuries in seconds
    moments = ORIGIN + (np.where(within, offsets, 0.0) * 1e6).astype("timedelta64[us]")
    moments[~(sound & within)] = np.datetime64("NaT")
    wrong = ~missing & np.isnat(moments)
    times = pa.array(moments)
    return Times(times, times, missing, np.zeros(len(moments), bool), ((wrong, f"a number, in {unit}"),))


def _formatted(text: "pd.Series[str]", pattern: str, zone: dt.tzinfo | None, missing: NDArray[np.bool_]) -> Times:
    has_zone = "%z" in pattern
    wall = pd.to_datetime(text, format=pattern, errors="coerce", utc=has_zone)
    parsed = wall.notna().to_numpy()
    only_date = not any(code in pattern for code in ("%H", "%I", "%c", "%X", "%T", "%R"))
    wall_zone = dt.UTC if only_date and zone is None else zone
    if has_zone:
        moments = _naive_utc(wall)
    elif wall_zone is not None:
        moments = _resolved(wall, wall_zone)
    else:
        moments = _empty(len(text))
    is_date = np.full(len(text), only_date) & parsed
    days = np.where(is_date, np.timedelta64(1, "D"), np.timedelta64(0, "D"))
    lost = parsed & np.isnat(moments)
    why = "a time with its zone, or --timezone" if zone is None else f"a time that exists once in {zone}"
    return Times(
        pa.array(moments), pa.array(moments + days), missing, is_date,
        ((~missing & ~parsed, f"a time as {pattern}"), (lost, why)),
    )  # fmt: skip


def _resolved(wall: "pd.Series[pd.Timestamp]", zone: dt.tzinfo) -> NDArray[np.datetime64]:
    if not len(wall):
        return _empty(0)
    return _naive_utc(pd.to_datetime(wall).dt.tz_localize(zone, ambiguous="NaT", nonexistent="NaT"))


def _naive_utc(moments: "pd.Series[pd.Timestamp]") -> NDArray[np.datetime64]:
    if not len(moments):
        return _empty(0)
    naive: NDArray[np.datetime64] = moments.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("datetime64[us]")
    return naive


def _empty(n: int) -> NDArray[np.datetime64]:
    return np.full(n, np.datetime64("NaT"), "datetime64[us]")


def _mask(array: pa.Array) -> NDArray[np.bool_]:
    return np.asarray(array.to_numpy(zero_copy_only=False), np.bool_)
