"""What holds for any observations: no future, no order, and the same values as an obvious slow reading."""

import datetime as dt
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.align.build import align
from ingest.cohort import Cohort, open_cohort
from ingest.observations import ObservationColumns
from ingest.task import Task, parse_task

START = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
SUBJECTS = 16
INDEX_HOUR = 24
MEMORY = Path("/dev/shm")  # hundreds of cohorts, each fsynced: a disk takes a second for one
REDUCTIONS = ("last", "first", "mean", "min", "max", "count", "any")

moments = st.one_of(st.none(), st.integers(-30, 60))
rows = st.lists(
    st.fixed_dictionaries(
        {
            "subject": st.integers(1, SUBJECTS),
            "code": st.sampled_from(["A", "B", "C"]),
            "hours": moments,
            "delay": st.one_of(st.none(), st.integers(0, 40)),
            "number": st.one_of(st.none(), st.integers(-5, 120)),
            "unit": st.sampled_from([None, "u", "other"]),
        }
    ),
    max_size=60,
)


def observations(drawn: list[dict[str, Any]], order: list[int] | None = None) -> pa.Table:
    columns = ObservationColumns()

    def at(hours: int | None) -> dt.datetime | None:
        return None if hours is None else START + dt.timedelta(hours=hours)

    for subject in range(1, SUBJECTS + 1):
        columns.add(subject, "ADMISSION", time=START)
        if subject % 2:
            columns.add(subject, "DEATH", time=at(50))
    for code in "ABC":
        columns.add(1, code, time=at(1), numeric_value=7.0, unit="u")
    for row in drawn:
        known = at((row["hours"] or 0) + row["delay"]) if row["delay"] is not None else None
        columns.add(
            row["subject"], row["code"], time=at(row["hours"]), available_time=known, numeric_value=row["number"],
            unit=row["unit"],
        )  # fmt: skip
    table = pa.Table.from_batches([columns.batch()])
    return table if order is None else table.take(pa.array(order))


def the_task(reduce: str, window: int | None, max_times: int) -> Task:
    features = [{"name": c, "codes": [c], "unit": "u", "plausible": [0, 100], "reduce": reduce} for c in "AB"]
    both = {"name": "both", "codes": ["A", "C"], "reduce": "last"}
    return parse_task(
        {
            "name": "property",
            "title": "Property",
            "index": {"event": "ADMISSION", "offset_hours": INDEX_HOUR},
            "target": {"events": ["DEATH"], "horizon_hours": 48},
            "streams": {
                "table": {"kind": "table", "features": [*features, both], "window_hours": window},
                "series": {
                    "kind": "series",
                    "channels": [{**f, "reduce": "last"} for f in features],
                    "window_hours": window,
                    "max_times": max_times,
                },
            },
            "split": {"train": 0.98, "validation": 0.01, "test": 0.01},
        },
        "property",
    )


def cohort_of(table: pa.Table, task: Task) -> Cohort:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        align(table, task, Path(folder) / "cohort")
        cohort = open_cohort(Path(folder) / "cohort")
        for name in task.streams:  # map them before the folder goes
            cohort.arrays(0, name)
        return cohort


def visible(drawn: list[dict[str, Any]], subject: int, code: set[str], window: int | None) -> list[dict[str, Any]]:
    """What the case may see, one observation at a time, sorted as stated: by time, release, code and value."""
    fixed = [{"subject": 1, "code": c, "hours": 1, "delay": None, "number": 7, "unit": "u"} for c in "ABC" if c in code]
    seen = []
    for row in drawn + fixed:
        if row["subject"] != subject or row["code"] not in code:
            continue
        released = -(10**9) if row["delay"] is None else (row["hours"] or 0) + row["delay"]
        time = -(10**9) if row["hours"] is None else row["hours"]
        if max(time, released) > INDEX_HOUR:
            continue
        if window is not None and row["hours"] is not None and row["hours"] < INDEX_HOUR - window:
            continue
        number = float("inf") if row["number"] is None else row["number"]
        seen.append({**row, "key": (time, max(time, released), row["code"], number, row["unit"] or "")})
    return sorted(seen, key=lambda row: row["key"])


def counts(row: dict[str, Any]) -> bool:
    return row["unit"] in (None, "u") and row["number"] is not None and 0 <= row["number"] <= 100


def reduced(how: str, seen: list[dict[str, Any]]) -> float | None:
    if how == "any":
        return float(bool(seen))
    if how == "count":
        return float(len(seen))
    numbers = [row["number"] for row in seen if counts(row)]
    if not numbers:
        return None
    known = {"last": numbers[-1], "first": numbers[0], "min": min(numbers), "max": max(numbers)}
    return float(known.get(how, sum(numbers) / len(numbers)))


slow = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@slow
@given(rows, st.sampled_from(REDUCTIONS), st.sampled_from([None, 0, 12, 40]), st.integers(1, 4))
def test_table_and_series_equal_a_slow_obvious_reading(
    drawn: list[dict[str, Any]], how: str, window: int | None, max_times: int
) -> None:
    cohort = cohort_of(observations(drawn), the_task(how, window, max_times))
    batch = cohort.batch(np.arange(len(cohort)))
    table, series = batch.streams["table"], batch.streams["series"]
    for i, subject in enumerate(batch.subject_ids):
        for place, code in enumerate("AB"):
            expected = reduced(how, visible(drawn, subject, {code}, window))
            assert bool(table.observed[i, place]) == (expected is not None)
            assert np.isclose(float(table.values[i, place]), expected or 0.0, rtol=1e-5)
        seen = [row for row in visible(drawn, subject, {"A", "C"}, window) if row["number"] is not None]
        assert bool(table.observed[i, 2]) == bool(seen)
        if seen:
            age = 0 if seen[-1]["hours"] is None else seen[-1]["hours"] - INDEX_HOUR
            assert float(table.values[i, 2]) == seen[-1]["number"]
            assert float(table.hours[i, 2]) == age
        points: dict[int, dict[int, float]] = {}
        for place, code in enumerate("AB"):
            for row in visible(drawn, subject, {code}, window):
                if row["hours"] is not None and counts(row):
                    points.setdefault(row["hours"], {})[place] = row["number"]
        kept = sorted(points)[-max_times:]
        assert int(series.observed[i].any(1).sum()) == len(kept)
        for t, hour in enumerate(kept):
            assert float(series.hours[i, t]) == hour - INDEX_HOUR
            assert series.observed[i, t].tolist() == [place in points[hour] for place in (0, 1)]
            assert series.values[i, t].tolist() == [points[hour].get(place, 0.0) for place in (0, 1)]


@slow
@given(rows, st.randoms(use_true_random=False))
def test_the_order_of_the_input_rows_changes_nothing(drawn: list[dict[str, Any]], random: Any) -> None:
    straight = observations(drawn)
    order = list(range(straight.num_rows))
    random.shuffle(order)
    task = the_task("last", 40, 3)
    one, other = (cohort_of(observations(drawn, o), task) for o in (None, order))
    assert one.index.equals(other.index)
    assert one.statistics == other.statistics
    for name in task.streams:
        for part in ("values", "observed", "hours"):
            assert np.array_equal(getattr(one.arrays(0, name), part), getattr(other.arrays(0, name), part))


@slow
@given(rows, st.sampled_from([None, 12]))
def test_what_becomes_known_after_the_index_time_reaches_no_array(
    drawn: list[dict[str, Any]], window: int | None
) -> None:
    """Changing every value from the future to a telltale number must leave the arrays as they were."""

    def is_future(row: dict[str, Any]) -> bool:
        time = -(10**9) if row["hours"] is None else row["hours"]
        released = -(10**9) if row["delay"] is None else (row["hours"] or 0) + row["delay"]
        return max(time, released) > INDEX_HOUR

    spoilt = [{**row, "number": 99, "unit": "u"} if is_future(row) else row for row in drawn]
    task = the_task("last", window, 4)
    one, other = (cohort_of(observations(d), task) for d in (drawn, spoilt))
    for name in task.streams:
        assert np.array_equal(one.arrays(0, name).values, other.arrays(0, name).values)
        assert np.array_equal(one.arrays(0, name).observed, other.arrays(0, name).observed)
        assert (one.arrays(0, name).hours <= 0).all()
