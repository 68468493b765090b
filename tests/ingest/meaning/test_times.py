import datetime as dt
import zoneinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.account.quarantine import Refusal
from ingest.errors import InputError
from ingest.meaning.times import parse_dicom, parse_iso, parse_offset, parse_zone

BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


def utc(*parts: int) -> dt.datetime:
    return dt.datetime(*parts, tzinfo=dt.UTC)  # type: ignore[arg-type,misc]


def test_an_offset_is_honoured() -> None:
    assert parse_iso("2026-03-01T10:00:00+01:00", "f", None).start == utc(2026, 3, 1, 9)


def test_a_date_spans_its_day_month_or_year() -> None:
    assert parse_iso("2026-02-28", "f", None) == (utc(2026, 2, 28), utc(2026, 3, 1))
    assert parse_iso("2026-12", "f", None) == (utc(2026, 12, 1), utc(2027, 1, 1))
    assert parse_iso("2026", "f", None) == (utc(2026, 1, 1), utc(2027, 1, 1))
    assert parse_iso("2026", "f", None).is_date


def test_a_time_without_a_zone_is_refused_and_the_zone_mends_it() -> None:
    with pytest.raises(Refusal, match=r"--timezone|with its zone"):
        parse_iso("2026-07-01T10:00:00", "effectiveDateTime", None)
    assert parse_iso("2026-07-01T10:00:00", "f", BERLIN).start == utc(2026, 7, 1, 8)


@pytest.mark.parametrize(
    ("text", "what"), [("2026-10-25T02:30:00", "happens twice"), ("2026-03-29T02:30:00", "does not exist")]
)
def test_a_time_that_daylight_saving_makes_ambiguous_or_skips_is_refused_by_name(text: str, what: str) -> None:
    with pytest.raises(Refusal) as refused:
        parse_iso(text, "effectiveDateTime", BERLIN)
    assert refused.value.field == "effectiveDateTime"
    assert what in refused.value.got
    assert "Europe/Berlin" in refused.value.got


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "2026-02-30T10:00:00Z", "2026-1-1", "9999-12-31", "0"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(Refusal):
        parse_iso(text, "f", dt.UTC)


def test_a_refusal_does_not_repeat_text_that_may_be_personal() -> None:
    with pytest.raises(Refusal) as refused:
        parse_iso("Ann Archer", "f", None)
    assert "Archer" not in str(refused.value)
    with pytest.raises(Refusal) as refused:
        parse_iso("4711-1234567", "f", None)
    assert "1234567" not in str(refused.value)


def test_dicom_times_may_be_cut_short() -> None:
    assert parse_dicom("20260301", "1205", "f", dt.UTC).start == utc(2026, 3, 1, 12, 5)
    assert parse_dicom("20260301", "120501.25", "f", dt.UTC).start == utc(2026, 3, 1, 12, 5, 1, 250000)
    assert parse_dicom("20260301", "", "f", None) == (utc(2026, 3, 1), utc(2026, 3, 2))


@pytest.mark.parametrize(("date", "time"), [("20261301", "12"), ("20260101", "2560"), ("x", ""), ("20260101", "noon")])
def test_dicom_times_that_are_none_are_refused(date: str, time: str) -> None:
    with pytest.raises(Refusal):
        parse_dicom(date, time, "f", dt.UTC)


def test_zones_come_by_name_or_offset() -> None:
    assert parse_zone(None) is None
    assert parse_zone("+05:30") == dt.timezone(dt.timedelta(hours=5, minutes=30))
    assert parse_zone("Europe/Berlin") == BERLIN
    assert parse_offset("-0330") == dt.timezone(-dt.timedelta(hours=3, minutes=30))
    assert parse_offset("0100") is None
    for wrong in ("Mars/Olympus", "../etc/passwd", ""):
        with pytest.raises(InputError, match="--timezone"):
            parse_zone(wrong)


@given(st.datetimes(dt.datetime(1900, 1, 2), dt.datetime(2200, 1, 1)), st.integers(-14 * 60, 14 * 60))  # noqa: DTZ001
def test_a_moment_survives_being_written_in_any_offset(moment: dt.datetime, minutes: int) -> None:
    aware = moment.replace(tzinfo=dt.timezone(dt.timedelta(minutes=minutes)))
    assert parse_iso(aware.isoformat(), "f", None).start == aware
