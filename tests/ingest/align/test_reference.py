"""For any observations and task: arrays equal a slow reading of them, hold nothing from the future, in any chunks."""

import datetime as dt
import hashlib
import importlib.util
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.align.build import align
from ingest.align.source import TableSource
from ingest.cohort import Cohort, open_cohort
from ingest.notes.tokenizer import load_tokenizer
from ingest.observations import ObservationColumns
from ingest.task import Task, parse_task

START = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
OWNERS = 12
MEMORY = Path("/dev/shm")  # hundreds of cohorts, each fsynced: a disk takes a second for one
WORDS = ("well", "worse", "12", "stable")


def _reference() -> ModuleType:
    specification = importlib.util.spec_from_file_location("reference", Path(__file__).with_name("reference.py"))
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


reference = _reference()

# Few moments, codes, numbers and texts, so that all that can be tied is: at the index time, at the edges of windows.
moment = st.one_of(st.none(), st.integers(-16, 26).map(lambda quarter: 15 * quarter))
number = st.sampled_from([None, math.nan, math.inf, -1.0, 0.0, 1.0, 2.0, 12.0, 101.0])
rows = st.lists(
    st.fixed_dictionaries(
        {
            "owner": st.integers(1, OWNERS),
            "code": st.sampled_from(["A", "B", "C"]),
            "minutes": moment,
            "known": moment,  # before the time too, and where there is no time
            "number": number,
            "text": st.sampled_from([None, "", "well", "worse", "12", "stable worse well"]),
            "unit": st.sampled_from([None, "kg", "m"]),
            "record": st.sampled_from(["row 1", "row 2"]),
        }
    ),
    max_size=40,
)
rows = st.tuples(rows, st.integers(0, 4)).map(lambda drawn: drawn[0] + drawn[0][: drawn[1]])  # some of them twice


def feature(reductions: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    numbers = st.fixed_dictionaries(
        {"codes": st.sampled_from([["A"], ["A", "B"], ["C"]]), "reduce": st.sampled_from(reductions)},
        optional={
            "unit": st.just("kg"),
            "plausible": st.just((0.0, 100.0)),
            "window_hours": st.sampled_from([0.5, 1.0]),
        },
    )
    texts = st.fixed_dictionaries(
        {
            "codes": st.sampled_from([["A"], ["B", "C"]]),
            "reduce": st.sampled_from([how for how in reductions if how in ("last", "first", "all")]),
            "levels": st.just(list(WORDS)),
        }
    )
    return st.one_of(numbers, texts)


WITHIN = ["last", "first", "mean", "min", "max", "count", "any"]
window = st.sampled_from([None, 0.0, 1.0, 2.5])
tasks = st.fixed_dictionaries(
    {
        "known_by": st.sampled_from(["available_time", "time"]),
        "offset_hours": st.sampled_from([0.0, 2.0, -1.5]),
        "features": st.lists(feature(WITHIN), min_size=1, max_size=3),
        "channels": st.lists(feature([*WITHIN, "all"]), min_size=1, max_size=3),
        "bin_channels": st.lists(feature(WITHIN), min_size=1, max_size=3),
        "window_hours": st.sampled_from([None, 1.0, 2.5]),
        "bin_hours": st.sampled_from([0.25, 1.0, 4.0]),
        "max_times": st.integers(1, 4),
        "notes_window_hours": window,
    }
)


def streams_of(drawn: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    def named(features: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**each, "name": f"f{number}"} for number, each in enumerate(features)]

    look = {"window_hours": drawn["window_hours"]}
    bins = {"bin_hours": drawn["bin_hours"], "window_hours": 4.0}
    return {
        "record": {"kind": "table", "features": named(drawn["features"]), **look},
        "series": {"kind": "series", "channels": named(drawn["channels"]), "max_times": drawn["max_times"], **look},
        "bins": {"kind": "series", "channels": named(drawn["bin_channels"]), **bins},
        "notes": {"kind": "text", "codes": ["A", "C"], "max_tokens": 8, "window_hours": drawn["notes_window_hours"]},
    }  # fmt: skip


def timed_task(drawn: Mapping[str, Any]) -> Task:
    return parse_task(
        {
            "name": "any", "title": "Any", "known_by": drawn["known_by"],
            "index": {"event": "IN", "offset_hours": drawn["offset_hours"]},
            "target": {"events": ["OUT"], "horizon_hours": 48},
            "streams": streams_of(drawn),
            "split": {"train": 0.98, "validation": 0.01, "test": 0.01},
        },
        "any",
    )  # fmt: skip


def record_task(drawn: Mapping[str, Any]) -> Task:
    """Of records, which have no index time: no windows, no bins."""
    streams = streams_of(drawn)
    del streams["bins"]
    for spec in streams.values():
        spec["window_hours"] = None
        for each in [*spec.get("features", ()), *spec.get("channels", ())]:
            each.pop("window_hours", None)
    return parse_task(
        {
            "name": "any", "title": "Any", "known_by": drawn["known_by"], "index": {"per_record": "IN"},
            "target": {"label": "SAID", "positive": ["bad"], "negative": ["good"]},
            "streams": streams,
            "split": {"train": 0.98, "validation": 0.01, "test": 0.01},
        },
        "any",
    )  # fmt: skip


def observations(drawn: list[dict[str, Any]]) -> pa.Table:
    """The drawn rows, with what makes every owner a case (as subject, and as record) of either outcome."""
    columns = ObservationColumns()

    def at(minutes: int | None) -> dt.datetime | None:
        return None if minutes is None else START + dt.timedelta(minutes=minutes)

    for owner in range(1, OWNERS + 1):
        source = {"source_file": "t.csv", "source_record": f"owner {owner}"}
        columns.add(owner, "IN", time=START, **source)
        columns.add(owner, "SAID", text_value="bad" if owner % 2 else "good", **source)
        if owner % 2:
            columns.add(owner, "OUT", time=at(24 * 60), **source)
    for code in "ABC":  # so that every stream has something
        columns.add(99, code, time=START)
    for row in drawn:
        columns.add(
            row["owner"], row["code"], time=at(row["minutes"]), available_time=at(row["known"]),
            numeric_value=row["number"], text_value=row["text"], unit=row["unit"], **row.get("source", {}),
        )  # fmt: skip
    return pa.Table.from_batches([columns.batch()])


def with_cohort(table: pa.Table, task: Task, most: int | None, then: Any) -> Any:
    """What `then` makes of the cohort, before it goes."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        align(TableSource(table, most), task, Path(folder) / "cohort")
        return then(open_cohort(Path(folder) / "cohort"))


def loaded(cohort: Cohort) -> tuple[list[int], dict[str, Any], dict[str, str]]:
    batch = cohort.batch(np.arange(len(cohort)))
    return batch.subject_ids.tolist(), dict(batch.streams), {str(k): str(v) for k, v in cohort.texts("notes").items()}


def check(found: tuple[list[int], dict[str, Any], dict[str, str]], drawn: list[dict[str, Any]], task: Task) -> None:
    """Everything that the cohort holds is what the reference makes of the same rows, and nothing else."""
    owners, streams, _ = found
    plain = {name: spec.model_dump(exclude_none=True) for name, spec in task.streams.items()}
    for i, owner in enumerate(owners):
        index = 60 * task.index.offset_hours if task.timed else None
        case = {"owner": owner, "index": index}
        values, observed, hours = (
            getattr(streams["record"], part)[i].tolist() for part in ("values", "observed", "hours")
        )
        expected = reference.table(drawn, case, plain["record"], task.known_by)
        assert observed == [there for _, there, _ in expected]
        assert np.allclose(values, [value for value, _, _ in expected])
        assert np.allclose(hours, [age for _, _, age in expected])
        for name in ("series", "bins"):
            if name not in streams:
                continue
            elements = reference.series(drawn, case, plain[name], task.known_by)
            stream = streams[name]
            assert not stream.observed[i, len(elements) :].any()
            for t, (age, channels) in enumerate(elements):
                assert stream.observed[i, t].nonzero().flatten().tolist() == sorted(channels)
                assert np.allclose(stream.values[i, t], [channels.get(c, 0.0) for c in range(stream.values.shape[2])])
                assert math.isclose(float(stream.hours[i, t]), age, abs_tol=1e-5)
        words = reference.text(drawn, case, plain["notes"], task.known_by)
        tokenizer = load_tokenizer("hashed-words")
        ids = [tokenizer.tokenize(word)[0][0] for word, _ in words]
        notes = streams["notes"]
        assert notes.values[i].tolist() == ids + [0] * (8 - len(ids))
        assert notes.observed[i].sum() == len(ids)
        assert np.allclose(notes.hours[i, : len(ids)], [age for _, age in words])


brief = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
chunk = st.sampled_from([1, 7, None])


@brief
@given(rows, tasks, chunk)
def test_arrays_equal_the_slow_obvious_reference(drawn: list[dict[str, Any]], asked: Any, most: int | None) -> None:
    task = timed_task(asked)
    check(with_cohort(observations(drawn), task, most, loaded), drawn, task)


@pytest.mark.slow
@settings(brief, max_examples=500)
@given(rows, tasks, chunk)
def test_arrays_equal_the_reference_many_times(drawn: list[dict[str, Any]], asked: Any, most: int | None) -> None:
    task = timed_task(asked)
    check(with_cohort(observations(drawn), task, most, loaded), drawn, task)


@brief
@given(rows, tasks, chunk)
def test_records_as_cases_equal_the_reference_too(drawn: list[dict[str, Any]], asked: Any, most: int | None) -> None:
    """One record of each subject is a case, and sees only itself; all rows of an owner come from it or from others."""
    for row in drawn:
        own = f"owner {row['owner']}" if row["record"] == "row 1" else "another"
        row |= {"source": {"source_file": "t.csv", "source_record": own}}
    mine = [row for row in drawn if row["record"] == "row 1"]
    task = record_task(asked)
    check(with_cohort(observations(drawn), task, most, loaded), mine, task)


@brief
@given(rows, tasks)
def test_nothing_from_after_the_index_time_reaches_an_array(drawn: list[dict[str, Any]], asked: Any) -> None:
    """FAULTS 8. What becomes known later, by the task's clock, may be anything at all: no byte of an array changes."""
    task = timed_task(asked)
    index = 60 * task.index.offset_hours

    def is_future(row: dict[str, Any]) -> bool:
        late = task.known_by == "available_time" and reference.release(row) > index
        return late or (row["minutes"] is not None and row["minutes"] > index)

    spoilt = [{**row, "number": 77.0, "text": "telltale", "unit": "kg"} if is_future(row) else row for row in drawn]
    arrays = [with_cohort(observations(each), task, None, array_bytes) for each in (drawn, spoilt)]
    assert arrays[0] == arrays[1]
    _, streams, texts = with_cohort(observations(spoilt), task, None, loaded)
    assert all(bool((stream.hours <= 0).all()) for stream in streams.values())
    assert not any("telltale" in text for text in texts.values())


def array_bytes(cohort: Cohort) -> dict[str, bytes]:
    """The arrays, and the digests of what a model sees of each case."""
    found = {path.name: path.read_bytes() for path in cohort.folder.rglob("*.npy")}
    return {**found, "inputs": "".join(cohort.index["inputs"]).encode()}


def file_digests(cohort: Cohort) -> dict[str, str]:
    return {
        path.relative_to(cohort.folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(cohort.folder.rglob("*"))
        if path.is_file()
    }


@brief
@given(rows, tasks, st.sampled_from([1, 2, 5, 30]), st.booleans())
def test_how_many_subjects_are_held_at_once_changes_no_byte(
    drawn: list[dict[str, Any]], asked: Any, most: int, records: bool
) -> None:
    task = (record_task if records else timed_task)(asked)
    table = observations(drawn)
    assert with_cohort(table, task, most, file_digests) == with_cohort(table, task, None, file_digests)


@brief
@given(rows, st.randoms(use_true_random=False), tasks)
def test_the_order_of_the_rows_changes_no_byte(drawn: list[dict[str, Any]], random: Any, asked: Any) -> None:
    table = observations(drawn)
    order = list(range(table.num_rows))
    random.shuffle(order)
    task = timed_task(asked)
    shuffled = table.take(pa.array(order))
    assert with_cohort(table, task, 5, file_digests) == with_cohort(shuffled, task, None, file_digests)


@pytest.mark.parametrize("most", [1, 3, None])
def test_levels_are_counted_over_all_chunks(most: int | None) -> None:
    texts = {1: "well", 2: "worse", 3: "worse", 4: "12", 5: "worse", 6: "12"}
    drawn = [
        {"owner": owner, "code": "A", "minutes": 0, "known": None, "number": None, "text": text, "unit": None}
        for owner, text in texts.items()
    ]
    asked = {
        "known_by": "time", "offset_hours": 0.0, "window_hours": None, "bin_hours": 4.0, "max_times": 2,
        "features": [{"codes": ["A"], "reduce": "last", "levels": "auto"}],
        "channels": [{"codes": ["A"], "reduce": "all", "levels": "auto"}],
        "bin_channels": [{"codes": ["A"], "reduce": "last", "levels": "auto"}], "notes_window_hours": None,
    }  # fmt: skip
    everybody = {"train": 1 - 2e-6, "validation": 1e-6, "test": 1e-6}
    task = parse_task({**timed_task(asked).model_dump(mode="json"), "split": everybody}, "all train")
    for stream in ("record", "series", "bins"):
        levels = with_cohort(
            observations(drawn), task, most, lambda cohort, s=stream: cohort.statistics.streams[s].levels
        )
        assert levels == {"f0": ("worse", "12", "well")}
