"""Times as sources write them, resolved to moments in UTC, or refused: a time without a zone is not a time."""

import datetime as dt
import re
import zoneinfo
from typing import NamedTuple

import numpy as np

from ingest.account.quarantine import Refusal, shown
from ingest.errors import InputError

DATE_NOTE = "date without a time of day: placed at the day's start, known from its end"
_PARTIAL_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")
_DICOM_DATE = re.compile(r"(\d{4})\.?(\d{2})\.?(\d{2})")  # the dots of ACR-NEMA are still met
_DICOM_TIME = re.compile(r"(\d{2}):?(\d{2})?:?(\d{2})?(?:\.(\d{1,6}))?")
_OFFSET = re.compile(r"([+-])(\d{2}):?(\d{2})")


class Moment(NamedTuple):
    """A stated time as the span it may mean: `end` is later than `start` where only a date was given.

    An event is placed at `start`; it counts as known from `end` on, since nobody can say that it was known earlier.
    """

    start: dt.datetime
    end: dt.datetime

    @property
    def is_date(self) -> bool:
        return self.end != self.start


def parse_zone(name: str | None) -> dt.tzinfo | None:
    """A zone by name ("Europe/Berlin") or fixed offset ("+01:00"). Raises InputError on an unknown one."""
    if name is None:
        return None
    if name in {"UTC", "Z"}:
        return dt.UTC
    if offset := parse_offset(name):
        return offset
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise InputError(
            "", field="--timezone", expected="a zone such as Europe/Berlin or +01:00", got=repr(name)
        ) from None


def parse_offset(text: str) -> dt.timezone | None:
    """A fixed offset such as "+0100" or "-05:30"; None where the text is not one."""
    if not (found := _OFFSET.fullmatch(text.strip())) or int(found[2]) > 14 or int(found[3]) > 59:
        return None
    offset = dt.timedelta(hours=int(found[2]), minutes=int(found[3]))
    return dt.timezone(-offset if found[1] == "-" else offset)


def parse_iso(text: str, field: str, zone: dt.tzinfo | None) -> Moment:
    """An ISO 8601 date or time as FHIR allows it: YYYY, YYYY-MM, YYYY-MM-DD, or with a time of day.

    A time of day without an offset needs `zone`. Raises Refusal.
    """
    if len(text) > 10:
        try:
            moment = dt.datetime.fromisoformat(text)
        except ValueError:
            moment = _leap_second(text, field)
        if moment.tzinfo is None:
            moment = localize(moment, field, zone)
        return _in_utc(moment, moment, text, field)
    if not (found := _PARTIAL_DATE.fullmatch(text)):
        raise _not_a_time(text, field)
    return _date_span(found[1], found[2], found[3], text, field, zone)


def _leap_second(text: str, field: str) -> dt.datetime:
    """A time whose seconds are 60, as the second after :59. Only the last second of a day in UTC can be one."""
    before, found, after = text.partition(":60")
    try:
        moment = dt.datetime.fromisoformat(f"{before}:59{after}") if found else None
        if moment is not None and moment.tzinfo and f"{moment.astimezone(dt.UTC):%H:%M:%S}" == "23:59:59":
            return moment.replace(microsecond=0) + dt.timedelta(seconds=1)
    except (ValueError, OverflowError):
        pass
    raise _not_a_time(text, field)


def parse_dicom(date: str, time: str, field: str, zone: dt.tzinfo | None) -> Moment:
    """A DICOM date (YYYYMMDD) with a time (HHMMSS.FFFFFF, possibly cut short or empty). Raises Refusal."""
    found = _DICOM_DATE.fullmatch(date.strip())
    if not found:
        raise _not_a_time(date, field)
    if not time.strip():
        return _date_span(found[1], found[2], found[3], date, field, zone)
    clock = _DICOM_TIME.fullmatch(time.strip())
    if not clock:
        raise _not_a_time(time, field)
    try:
        naive = dt.datetime(  # noqa: DTZ001 - the zone is resolved on the next line
            int(found[1]), int(found[2]), int(found[3]), int(clock[1]), int(clock[2] or 0), int(clock[3] or 0),
            int((clock[4] or "0").ljust(6, "0")),
        )  # fmt: skip
    except ValueError:
        raise _not_a_time(f"{date} {time}", field) from None
    moment = localize(naive, field, zone)
    return _in_utc(moment, moment, date, field)


def localize(naive: dt.datetime, field: str, zone: dt.tzinfo | None) -> dt.datetime:
    """A local time in its zone. Refuses a missing zone, and a time that daylight saving makes ambiguous or skips."""
    if zone is None:
        raise Refusal(
            field, "a time with its zone", shown(naive.isoformat()), "give --timezone if the source's zone is known"
        )
    first, second = naive.replace(tzinfo=zone, fold=0), naive.replace(tzinfo=zone, fold=1)
    if first.utcoffset() != second.utcoffset():
        exists = first.astimezone(dt.UTC).astimezone(zone).replace(tzinfo=None) == naive
        what = "happens twice" if exists else "does not exist"
        raise Refusal(
            field,
            "a time that happens once",
            f"{shown(naive.isoformat())}, which {what} in {zone} when the clocks change",
            "have the source state the offset",
        )
    return first


def has_time_of_day(pattern: str) -> bool:
    """Whether what a strptime pattern reads is more than a date."""
    return any(code in pattern for code in ("%H", "%I", "%c", "%X", "%T", "%R"))


def midnights(days: np.ndarray, zone: dt.tzinfo | None) -> np.ndarray:
    """The first moment of each day (N,) of wall clocks, in UTC; where the clocks skip or repeat midnight, the first."""
    import pandas as pd

    local = pd.DatetimeIndex(days).tz_localize(
        zone or dt.UTC, ambiguous=np.ones(len(days), bool), nonexistent="shift_forward"
    )
    moments: np.ndarray = local.tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[us]")
    return moments


def _date_span(year: str, month: str | None, day: str | None, text: str, field: str, zone: dt.tzinfo | None) -> Moment:
    try:
        start = dt.datetime(int(year), int(month or 1), int(day or 1), tzinfo=zone or dt.UTC)
        if day:
            end = start + dt.timedelta(days=1)
        elif month:
            end = start.replace(year=start.year + start.month // 12, month=start.month % 12 + 1)
        else:
            end = start.replace(year=start.year + 1)
    except (ValueError, OverflowError):
        raise _not_a_time(text, field) from None
    return _in_utc(start, end, text, field)


def _in_utc(start: dt.datetime, end: dt.datetime, text: str, field: str) -> Moment:
    try:
        first = start.astimezone(dt.UTC)
        return Moment(first, first if end is start else end.astimezone(dt.UTC))
    except (ValueError, OverflowError):
        raise _not_a_time(text, field) from None


def _not_a_time(text: str, field: str) -> Refusal:
    return Refusal(field, "a date or a time with its zone", shown(text))
