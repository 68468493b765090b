"""A column of times, resolved to UTC all at once; what `ingest.meaning.times` does for one value."""

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ingest.mapping.mapping import Time
from ingest.mapping.table import RELATIVE_UNITS, Span
from ingest.meaning.times import has_time_of_day, midnights
from ingest.readers.table.cells import as_numbers, as_text, coded, mask

if TYPE_CHECKING:
    import pandas as pd

Moments = NDArray[np.datetime64]
Mask = NDArray[np.bool_]
ORIGIN = np.datetime64("2000-01-01T00:00:00", "us")  # the nominal time zero of relative times
_FURTHEST_S = 1e10  # three centuries
_ZONED = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?\s?(Z|[+-]\d{2}:?\d{2})$"
_LOCAL = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?$"
_DATE = r"^\d{4}-\d{2}-\d{2}$"
_CLOCK = re.compile(r"(-?)(\d{1,5}):([0-5]\d)(?::([0-5]\d))?")
_SHORTEST_TIME = len("2026-03-01T10:00")


@dataclass(frozen=True)
class Times:
    """Times (N,) in UTC without a zone: `starts`, and `ends`, later where only a date was given.

    NaT where `missing`, and where one of `problems` (mask, what was expected) holds.
    """

    starts: Moments
    ends: Moments
    missing: Mask
    is_date: Mask
    problems: tuple[tuple[Mask, str], ...] = ()

    def take(self, index: NDArray[np.int64]) -> "Times":
        return Times(
            self.starts[index], self.ends[index], self.missing[index], self.is_date[index],
            tuple((wrong[index], expected) for wrong, expected in self.problems if wrong.any()),
        )  # fmt: skip


def read_times(cells: Mapping[str, pa.Array], n: int, spec: Time, zone: dt.tzinfo | None) -> Times:
    """The times of `n` rows as the mapping reads them."""
    if spec.at is not None:
        at = ORIGIN + np.timedelta64(round(spec.at * RELATIVE_UNITS[str(spec.unit)] * 1e6), "us")
        nothing = np.zeros(n, np.bool_)
        times = Times(np.full(n, at), np.full(n, at), nothing, nothing)
    else:
        times = parse_times(cells[str(spec.column)], spec, zone)
    return times if spec.plus is None else _later(times, cells, spec.plus)


def parse_times(cells: pa.Array, spec: Time, zone: dt.tzinfo | None) -> Times:
    """Times of one column: text cells, "" being missing, or typed ones of Parquet, null being missing."""
    import pandas as pd

    if spec.unit == "hh:mm":
        distinct = coded(cells)
        return _clock(distinct.texts).take(distinct.index)
    if spec.unit is not None:
        return _relative(cells, spec.unit)
    if pa.types.is_timestamp(cells.type) or pa.types.is_date(cells.type):
        return _typed(cells, zone)
    if spec.format is None and (quick := _quick(cells, zone)) is not None:
        return quick
    distinct = coded(cells)
    texts = pd.Series(distinct.texts, dtype=object)
    missing = (texts == "").to_numpy(np.bool_)
    times = _formatted(texts, spec.format, zone, missing) if spec.format else _iso(texts, zone, missing)
    return times.take(distinct.index)


def _later(times: Times, cells: Mapping[str, pa.Array], span: Span) -> Times:
    """The same times, a length of time later; where that is not stated there is no time."""
    factor = RELATIVE_UNITS[span.unit] * 1e6
    if span.column is None:
        step = np.timedelta64(round(float(span.value or 0) * factor), "us")
        return Times(times.starts + step, times.ends + step, times.missing, times.is_date, times.problems)
    lasting = as_numbers(cells[span.column])
    within = lasting.present & (np.abs(lasting.values) * RELATIVE_UNITS[span.unit] < _FURTHEST_S)
    steps = (np.where(within, lasting.values, 0.0) * factor).astype("timedelta64[us]")
    steps[~within] = np.timedelta64("NaT")
    wrong = lasting.wrong | (lasting.present & ~within)
    missing = times.missing | (~within & ~wrong)
    problem = (wrong & ~times.missing, f"a number in {span.column}, in {span.unit}")
    return Times(times.starts + steps, times.ends + steps, missing, times.is_date, (*times.problems, problem))


def _relative(cells: pa.Array, unit: str) -> Times:
    if pa.types.is_duration(cells.type):
        given = cells.cast(pa.duration("us"), safe=False).cast(pa.int64())
        missing = mask(pc.is_null(given))
        offsets = pc.fill_null(given, 0).to_numpy(zero_copy_only=False) / 1e6
        present, wrong = ~missing, np.zeros(len(missing), np.bool_)
    else:
        numbers = as_numbers(cells)
        present, wrong = numbers.present, numbers.wrong
        missing = ~present & ~wrong
        offsets = np.where(present, numbers.values, 0.0) * RELATIVE_UNITS[unit]
    within = present & (np.abs(offsets) < _FURTHEST_S)
    moments = ORIGIN + np.rint(np.where(within, offsets, 0.0) * 1e6).astype("timedelta64[us]")
    if not within.all():
        moments[~within] = np.datetime64("NaT")
    problem = (wrong | (present & ~within), f"a number, in {unit}")
    return Times(moments, moments, missing, np.zeros(len(moments), np.bool_), (problem,))


def _clock(texts: list[str]) -> Times:
    """Hours and minutes since the nominal zero, such as 36:07."""
    moments = _empty(len(texts))
    for place, text in enumerate(texts):
        if found := _CLOCK.fullmatch(text):
            seconds = 3600 * int(found[2]) + 60 * int(found[3]) + int(found[4] or 0)
            moments[place] = ORIGIN + np.timedelta64(-seconds if found[1] else seconds, "s")
    missing = np.array([text == "" for text in texts], np.bool_)
    wrong = ~missing & np.isnat(moments)
    return Times(moments, moments, missing, np.zeros(len(texts), np.bool_), ((wrong, "hours and minutes as 36:07"),))


def _typed(cells: pa.Array, zone: dt.tzinfo | None) -> Times:
    """Timestamps and dates as Parquet has them. A timestamp without a zone needs one."""
    import pandas as pd

    missing = mask(pc.is_null(cells))
    is_date = pa.types.is_date(cells.type)
    dates = np.full(len(cells), is_date) & ~missing
    moments = _numpy(cells.cast(pa.timestamp("us"), safe=False))
    problems: tuple[tuple[Mask, str], ...] = ()
    if cells.type == pa.date32() or cells.type == pa.date64() or getattr(cells.type, "tz", None) is None:
        lost = np.zeros(len(cells), np.bool_)
        if zone is None and not is_date:
            moments, lost = _empty(len(cells)), ~missing
        elif is_date:
            return _dates(moments, dates, zone, missing)
        elif zone is not None and zone is not dt.UTC:
            moments = _resolved(pd.Series(moments), zone)
            lost = ~missing & np.isnat(moments)
        why = "a time with its zone, or --timezone" if zone is None else f"a time that exists once in {zone}"
        problems = ((lost, why),)
    return Times(moments, moments, missing, dates, problems)


def _dates(days: Moments, dates: Mask, zone: dt.tzinfo | None, missing: Mask) -> Times:
    """Days of wall clocks where `dates`: each from its first moment in the zone to that of the next."""
    starts, ends = _empty(len(days)), _empty(len(days))
    starts[dates] = midnights(days[dates], zone)
    ends[dates] = midnights(days[dates] + np.timedelta64(1, "D"), zone)
    return Times(starts, ends, missing, dates)


def _quick(cells: pa.Array, zone: dt.tzinfo | None) -> Times | None:
    """ISO 8601 where every cell has a time of day and they all state a zone, or none does and the zone is UTC."""
    text = as_text(cells)
    if not len(text) or (pc.min(pc.binary_length(text)).as_py() or 0) < _SHORTEST_TIME:
        return None
    # A cast that fails is slow, so the first cell tells which one to try.
    zoned = re.search(_ZONED, text[0].as_py()) is not None
    if not zoned and zone is not dt.UTC:
        return None
    try:
        moments = _numpy(text.cast(pa.timestamp("us", "UTC" if zoned else None)))
    except pa.ArrowInvalid:
        return None
    nothing = np.zeros(len(moments), np.bool_)
    return Times(moments, moments, nothing, nothing)


def _iso(text: "pd.Series[str]", zone: dt.tzinfo | None, missing: Mask) -> Times:
    import pandas as pd

    cells = pa.array(text, pa.string())
    zoned, local, date = (mask(pc.match_substring_regex(cells, pattern)) for pattern in (_ZONED, _LOCAL, _DATE))
    moments = _empty(len(text))
    moments[zoned] = _naive_utc(pd.to_datetime(text[zoned], utc=True, errors="coerce", format="ISO8601"))
    wall = pd.to_datetime(text[local | date], errors="coerce", format="ISO8601")
    unresolved = np.zeros(len(text), bool)
    if zone is not None:
        moments[local] = _resolved(wall[local[local | date]], zone)
        parsed = np.zeros(len(text), bool)
        parsed[local | date] = wall.notna().to_numpy()
        unresolved = local & parsed & np.isnat(moments)
    days = _empty(len(text))
    days[date] = wall[date[local | date]].to_numpy("datetime64[us]")
    date &= ~np.isnat(days)
    whole = _dates(days, date, zone, missing)
    moments[date] = whole.starts[date]
    homeless = local & (zone is None)
    wrong = ~missing & ~homeless & ~unresolved & np.isnat(moments)
    return Times(
        moments, np.where(date, whole.ends, moments), missing, date,
        (
            (wrong, "a date or a time as ISO 8601"),
            (homeless, "a time with its zone, or --timezone"),
            (unresolved, f"a time that exists once in {zone}, where the clocks change"),
        ),
    )  # fmt: skip


def _formatted(text: "pd.Series[str]", pattern: str, zone: dt.tzinfo | None, missing: Mask) -> Times:
    import pandas as pd

    has_zone = "%z" in pattern
    wall = pd.to_datetime(text, format=pattern, errors="coerce", utc=has_zone)
    parsed = wall.notna().to_numpy()
    only_date = not has_time_of_day(pattern)
    unread = (~missing & ~parsed, f"a time as {pattern}")
    if only_date:
        days = wall.dt.tz_localize(None) if has_zone else wall
        return replace(_dates(days.to_numpy("datetime64[us]"), parsed, zone, missing), problems=(unread,))
    if has_zone:
        moments = _naive_utc(wall)
    elif zone is not None:
        moments = _resolved(wall, zone)
    else:
        moments = _empty(len(text))
    lost = parsed & np.isnat(moments)
    why = "a time with its zone, or --timezone" if zone is None else f"a time that exists once in {zone}"
    return Times(moments, moments, missing, np.zeros(len(text), np.bool_), (unread, (lost, why)))


def _resolved(wall: "pd.Series[pd.Timestamp]", zone: dt.tzinfo) -> Moments:
    import pandas as pd

    if not len(wall):
        return _empty(0)
    return _naive_utc(pd.to_datetime(wall).dt.tz_localize(zone, ambiguous="NaT", nonexistent="NaT"))


def _naive_utc(moments: "pd.Series[pd.Timestamp]") -> Moments:
    if not len(moments):
        return _empty(0)
    naive: Moments = moments.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("datetime64[us]")
    return naive


def _numpy(moments: pa.Array) -> Moments:
    found: Moments = moments.to_numpy(zero_copy_only=False).astype("datetime64[us]", copy=False)
    return found


def _empty(n: int) -> Moments:
    return np.full(n, np.datetime64("NaT"), "datetime64[us]")
