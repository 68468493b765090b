"""What came of each case: every kind of outcome against a slow reading of the same observations, case by case."""

import datetime as dt
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.align.cases import find_cases
from ingest.align.prepare import prepare_events
from ingest.errors import TaskError
from ingest.observations import ObservationColumns
from ingest.target import ClassesTarget, LabelsTarget, RegressionTarget, SurvivalTarget
from ingest.task import Task, parse_task

START = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
HORIZON_MINUTES = 120
STREAMS = {"record": {"kind": "table", "features": [{"name": "sex", "codes": ["SEX"], "levels": ["f", "m"]}]}}
GRADES = {"low": ["calm", "12"], "middle": ["worse"], "high": ["bad"]}

EVENT = {"events": ["E1", "E2"], "horizon_hours": 2}
LABEL = {"label": "SAID", "positive": ["bad", "worse"], "negative": ["calm"]}
SURVIVAL = {"kind": "survival", "causes": {"a": ["E1"], "b": ["E2", "E3"]}, "horizon_hours": 2, "risk": "b"}
RECORD_SURVIVAL = {
    "kind": "survival", "causes": {"a": ["bad"], "b": ["worse"]}, "censored": ["calm"], "horizon_hours": 48,
    "duration": "NUM", "label": "SAID",
}  # fmt: skip
TIMED: dict[str, dict[str, Any]] = {
    "events": EVENT,
    "label": LABEL,
    "label in time": {**LABEL, "horizon_hours": 2},
    "classes": {"kind": "ordinal", "label": "SAID", "classes": GRADES, "risk": ["middle", "high"]},
    "which first": {"kind": "multiclass", "classes": {"a": ["E1"], "b": ["E2", "E3"]}, "risk": ["b"]},
    "which first, or none": {
        "kind": "multiclass", "classes": {"a": ["E1"], "none": [], "b": ["E2", "E3"]}, "risk": ["a"], "horizon_hours": 2
    },
    "worst": {
        "kind": "ordinal", "classes": {"none": [], "a": ["E1"], "b": ["E2"], "c": ["E3"]}, "risk": ["b", "c"],
        "horizon_hours": 2,
    },
    "labels": {"kind": "multilabel", "labels": {"e": EVENT, "said": LABEL}, "risk": "said"},
    "two labels": {
        "kind": "multilabel", "labels": {"early": {**LABEL, "horizon_hours": 1}, "ever": LABEL}, "risk": "early"
    },
    **{
        how: {"kind": "regression", "value": "NUM", "unit": "kg", "reduce": how, "horizon_hours": 2, "above": 2}
        for how in ("first", "last", "min", "max", "mean")
    },
    "any time": {"kind": "regression", "value": "NUM", "unit": "kg", "above": 2},
    "survival": {**SURVIVAL, "follow_up": ["SEEN", "E3"]},
    "stated survival": RECORD_SURVIVAL,
}  # fmt: skip
RECORDS = {name: TIMED[name] for name in ("label", "classes", "any time", "stated survival")}
RECORDS["labels"] = {"kind": "multilabel", "labels": {"x": LABEL, "y": {**LABEL, "label": "E1"}}, "risk": "y"}

# Few moments and words, so that all that can be tied is: at the index time (60), at the edges of the horizon (180).
moment = st.one_of(st.none(), st.sampled_from([0, 30, 60, 61, 90, 120, 180, 181, 300]))
drawn_rows = st.lists(
    st.fixed_dictionaries(
        {
            "owner": st.integers(1, 4),
            "code": st.sampled_from(["E1", "E2", "E3", "SAID", "NUM", "SEEN"]),
            "minutes": moment,
            "number": st.sampled_from([None, math.inf, -1.0, 0.0, 1.0, 2.0, 12.0, 3000.0]),
            "text": st.sampled_from([None, "bad", "worse", "calm", "other"]),
            "unit": st.sampled_from([None, "kg", "g", "m", "d", "h"]),
        }
    ),
    max_size=30,
)
Row = Mapping[str, Any]
Came = tuple[list[float], float]  # (the columns of the outcome, the risk event), NaN where unknown


def task_of(target: Mapping[str, Any], *, timed: bool = True, **more: Any) -> Task:
    index = {"event": "IN", "offset_hours": 1} if timed else {"per_record": "IN"}
    raw = {"name": "any", "title": "Any", "index": index, "target": target, "streams": STREAMS, **more}
    return parse_task(raw, "any")


def observations(rows: list[Row]) -> pa.Table:
    columns = ObservationColumns()
    for owner in range(1, 5):
        columns.add(owner, "IN", time=START, source_file="t.csv", source_record=f"owner {owner}")
    for row in rows:
        columns.add(
            row["owner"], row["code"],
            time=None if row["minutes"] is None else START + dt.timedelta(minutes=row["minutes"]),
            numeric_value=row["number"], text_value=row["text"], unit=row["unit"],
            source_file="t.csv", source_record=f"owner {row['owner']}",
        )  # fmt: skip
    return pa.Table.from_batches([columns.batch()])


def found(rows: list[Row], task: Task) -> tuple[dict[int, Came], dict[str, int]]:
    """(owner -> what came of it, of those whose outcome is known; how many were left out and why)."""
    made = find_cases(prepare_events(observations(rows), task), task)
    came = zip(made.cases.subject.tolist(), made.cases.outcome.tolist(), made.cases.target.tolist(), strict=True)
    return {subject: (outcome, float(event)) for subject, outcome, event in came}, dict(made.excluded)


class Reference:
    """The rows of one owner, read one after another. Records have no index time, so all counts."""

    def __init__(self, rows: list[Row], owner: int, *, timed: bool) -> None:
        mine = [row for row in rows if row["owner"] == owner]
        infinite = (math.inf, None)
        self.rows = sorted(
            mine,
            key=lambda r: (
                -1 if r["minutes"] is None else r["minutes"],
                math.inf if r["number"] in infinite else r["number"],
                r["text"] or "",
                r["unit"] or "",
            ),
        )
        self.timed = timed

    def ahead(self, codes: list[str], minutes: float = math.inf) -> list[Row]:
        timed = [row for row in self.rows if row["code"] in codes and row["minutes"] is not None]
        return [row for row in timed if 0 < row["minutes"] - 60 <= minutes]

    def stated(self, code: str, minutes: float = math.inf) -> list[Row]:
        if not self.timed:
            return [row for row in self.rows if row["code"] == code]
        ahead = self.ahead([code], minutes)
        return [row for row in self.rows if row["code"] == code and (row["minutes"] is None or row in ahead)]

    def said(self, code: str, meanings: list[list[str]], minutes: float = math.inf) -> float:
        """The one place that is stated; -1 where several are, NaN where none is."""
        texts = [
            f"{row['number']:g}" if row["text"] is None and row["number"] not in (None, math.inf) else row["text"]
            for row in self.stated(code, minutes)
        ]
        places = {place for place, mine in enumerate(meanings) if set(mine) & set(texts)}
        return math.nan if not places else float(places.pop()) if len(places) == 1 else -1.0

    def numbers(self, rows: list[Row], units: Mapping[str | None, float]) -> list[float]:
        usable = [r for r in rows if r["number"] not in (None, math.inf) and r["unit"] in units]
        return [float(row["number"]) * units[row["unit"]] for row in usable]


def one_label(target: Mapping[str, Any], case: Reference) -> float:
    if "events" in target:
        return float(bool(case.ahead(target["events"], 60 * target["horizon_hours"])))
    minutes = 60 * target.get("horizon_hours", math.inf)
    return case.said(target["label"], [target["negative"], target["positive"]], minutes)


def expected(target: Mapping[str, Any], case: Reference) -> Came | str:
    """What came of the case, or why nobody knows."""
    kind = target.get("kind", "binary")
    minutes = 60 * target.get("horizon_hours", math.inf)
    if kind == "binary":
        return known_or_not(one_label(target, case))
    if kind in ("multiclass", "ordinal"):
        place = the_class(target, case, minutes)
        names = list(target["classes"])
        came = known_or_not(place)
        return came if isinstance(came, str) else ([place], float(names[int(place)] in target["risk"]))
    if kind == "multilabel":
        values = [one_label(label, case) for label in target["labels"].values()]
        if all(not value >= 0 for value in values):
            return "contradicted" if -1 in values else "unknown"
        plain = [value if value >= 0 else math.nan for value in values]
        return plain, plain[list(target["labels"]).index(target["risk"])]
    if kind == "regression":
        rows = case.ahead(["NUM"], minutes) if "horizon_hours" in target else case.stated("NUM")
        values = case.numbers(rows, {None: 1.0, "kg": 1.0, "g": 0.001})
        if not values:
            return "unknown"
        means = {"first": values[0], "last": values[-1], "mean": sum(values) / len(values)}
        value = {**means, "min": min(values), "max": max(values)}[target.get("reduce", "first")]
        return [value], float(value > target["above"])
    return survival(target, case, minutes)


def known_or_not(value: float) -> Came | str:
    return "unknown" if math.isnan(value) else "contradicted" if value < 0 else ([value], value)


def the_class(target: Mapping[str, Any], case: Reference, minutes: float) -> float:
    classes = list(target["classes"].values())
    if "label" in target:
        return case.said(target["label"], classes, minutes)
    came = [(row["minutes"], place) for place, codes in enumerate(classes) for row in case.ahead(codes, minutes)]
    if not came:
        return float(classes.index([])) if [] in classes else math.nan
    return float(min(came)[1] if target["kind"] == "multiclass" else max(place for _, place in came))


def survival(target: Mapping[str, Any], case: Reference, minutes: float) -> Came | str:
    causes = list(target["causes"].values())
    if "duration" in target:
        stated = case.numbers(case.stated("NUM"), {None: 24.0, "d": 24.0, "h": 1.0})
        cause = case.said("SAID", [target["censored"], *causes])
        hours = stated[-1] if stated and stated[-1] >= 0 else math.nan
        if cause < 0:
            return "contradicted"
    else:
        came = [(row["minutes"], place + 1) for place, codes in enumerate(causes) for row in case.ahead(codes)]
        seen = [row["minutes"] for row in case.ahead(target["follow_up"])]
        last, cause = min(came) if came else (max(seen), 0) if seen else (math.nan, math.nan)
        hours = (last - 60) / 60
    if math.isnan(hours) or math.isnan(cause):
        return "unknown"
    risk = list(target["causes"]).index(target.get("risk", next(iter(target["causes"])))) + 1
    through = cause > 0 or hours * 60 >= minutes
    return [hours, cause], float(cause == risk and hours * 60 <= minutes) if through else math.nan


@pytest.mark.parametrize("name", TIMED)
@settings(max_examples=60)
@given(rows=drawn_rows)
def test_outcomes_are_those_of_a_slow_reading(name: str, rows: list[Row]) -> None:
    check(TIMED[name], rows, timed=True)


@pytest.mark.parametrize("name", RECORDS)
@settings(max_examples=60)
@given(rows=drawn_rows)
def test_outcomes_of_records_are_those_of_a_slow_reading(name: str, rows: list[Row]) -> None:
    check(RECORDS[name], rows, timed=False)


def check(target: Mapping[str, Any], rows: list[Row], *, timed: bool) -> None:
    came, excluded = found(rows, task_of(target, timed=timed))
    reasons = {"unknown": 0, "contradicted": 0}
    for owner in range(1, 5):
        right = expected(target, Reference(rows, owner, timed=timed))
        if isinstance(right, str):
            reasons[right] += 1
            assert owner not in came
            continue
        values, event = came[owner]
        np.testing.assert_allclose(values, right[0], rtol=1e-6)
        np.testing.assert_equal(event, right[1])
    said = {"unknown": "outcome unknown", "contradicted": "outcome stated as both positive and negative"}
    assert excluded == {said[why]: count for why, count in reasons.items() if count}


def event(owner: int, code: str, minutes: float | None, **more: Any) -> Row:
    return {"owner": owner, "code": code, "minutes": minutes, "number": None, "text": None, "unit": None, **more}


@pytest.mark.parametrize("horizon_hours", [0.1, 1 / 3, 7.2, 48, 1000.7])
def test_an_event_at_the_horizon_is_within_it_and_one_a_microsecond_later_is_not(horizon_hours: float) -> None:
    target = {**SURVIVAL, "horizon_hours": horizon_hours, "follow_up": ["SEEN"]}
    end = 60 + round(horizon_hours * 3.6e9) / 6e7
    rows = [event(1, "E2", end), event(2, "E2", end + 1 / 6e7), event(3, "SEEN", end), event(4, "SEEN", end - 1 / 6e7)]
    came, _ = found(rows, task_of(target))
    assert [came[owner][1] for owner in (1, 2, 3)] == [1, 0, 0]
    assert math.isnan(came[4][1])


def test_causes_a_microsecond_apart_are_told_apart_days_later() -> None:
    rows = [event(1, "E1", 50_000 + 1 / 6e7), event(1, "E2", 50_000), event(2, "E1", 50_000), event(2, "E2", 50_000)]
    target = {**SURVIVAL, "horizon_hours": 2000, "follow_up": ["SEEN"]}
    came, _ = found(rows, task_of(target))
    assert came[1][0][1] == 2
    assert came[2][0][1] == 1, "of two at one moment the first named counts"


def test_what_is_learnt_beside_the_target_excludes_nobody_by_being_unknown() -> None:
    also = {"weight": TIMED["which first"] | {"risk": ["a"]}, "stay": {**SURVIVAL, "follow_up": ["SEEN"]}}
    rows = [event(1, "E1", 90), event(2, "SEEN", 100), event(3, "E3", 600)]
    came, excluded = found(rows, task_of(EVENT, also=also))
    assert excluded == {}
    nan = math.nan
    np.testing.assert_allclose(came[1][0], [1, 0, 0.5, 1])
    np.testing.assert_allclose(came[2][0], [0, nan, 40 / 60, 0], rtol=1e-6)
    np.testing.assert_allclose(came[3][0], [0, 1, 9, 2])
    np.testing.assert_allclose(came[4][0], [0, nan, nan, nan])
    assert [came[owner][1] for owner in range(1, 5)] == [1, 0, 0, 0]


def test_the_texts_and_the_unit_may_be_the_vocabularys_own() -> None:
    """A duration that a record states in hours is one of hours, whatever unit the task counts in."""
    rows = [event(1, "NUM", None, number=36.0, unit="h"), event(1, "SAID", None, text="bad")]
    rows += [event(2, "NUM", None, number=1.5), event(2, "SAID", None, text="worse")]
    rows += [event(3, "NUM", None, number=36.0, unit="kg"), event(3, "SAID", None, text="worse")]
    came, excluded = found(rows, task_of(RECORD_SURVIVAL, timed=False))
    assert came[1] == ([36.0, 1.0], 1.0)
    assert came[2] == ([36.0, 2.0], 0.0)
    assert excluded == {"outcome unknown": 2}


def plain_rows(n: int = 40) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for subject in range(1, n + 1):
        rows += [
            {"subject": subject, "code": "ADMISSION", "hours": 0},
            {"subject": subject, "code": "PULSE", "hours": 10, "numeric_value": 60.0 + subject},
            {"subject": subject, "code": "PULSE", "hours": 30, "numeric_value": 90.0 + subject},
            {"subject": subject, "code": ("HOME", "MEDS_DEATH", "ICU")[subject % 3], "hours": 40},
            {"subject": subject, "code": "GRADE", "text_value": ("mild", "severe")[subject % 2]},
        ]
    return rows


GRADE = {"kind": "ordinal", "label": "GRADE", "classes": {"mild": ["mild"], "severe": ["severe"]}, "risk": ["severe"]}
LATER_PULSE = {"kind": "regression", "value": "PULSE", "horizon_hours": 24, "above": 110}


def test_what_was_measured_before_may_be_read_and_what_comes_is_the_outcome(
    task_of: Any, aligned: Any, pulse: Any
) -> None:
    """The code of the outcome is an input too: each case sees only its own past of it."""
    _, cohort = aligned(plain_rows(), task_of({"vitals": pulse}, target=LATER_PULSE))
    batch = cohort.batch(np.arange(40))
    assert batch.streams["vitals"].values[:, 0, 0].tolist() == [60.0 + s for s in batch.subject_ids]
    assert not batch.streams["vitals"].observed[:, 1:].any()
    assert batch.outcome[:, 0].tolist() == [90.0 + s for s in batch.subject_ids]
    assert cohort.target.tolist() == [float(90 + s > 110) for s in batch.subject_ids]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"target": {**LATER_PULSE, "horizon_hours": None}},
            "stream vitals: expected other codes than the outcome's, got PULSE, which states target",
        ),
        (
            {"also": {"later": {**LATER_PULSE, "horizon_hours": None}}},
            "stream vitals: expected other codes than the outcome's, got PULSE, which states later",
        ),
        (
            {"target": {"kind": "survival", "causes": {"death": ["MEDS_DEAHT"]}, "follow_up": ["PULSE"],
                        "horizon_hours": 24}},
            "target, cause death: expected observations of MEDS_DEAHT, got none; did you mean MEDS_DEATH",
        ),
        (
            {"target": {"kind": "survival", "causes": {"death": ["MEDS_DEATH"]}, "follow_up": ["LOOK"],
                        "horizon_hours": 24}},
            "target, follow_up: expected observations of LOOK, got none",
        ),
        (
            {"also": {"place": {"kind": "multiclass", "classes": {"icu": ["ICUU"], "home": ["HOME"]},
                                "risk": ["icu"]}}},
            "place, class icu: expected observations of ICUU, got none",
        ),
        (
            {"target": {"kind": "multilabel", "labels": {"a": {"events": ["ICU"], "horizon_hours": 9},
                                                         "b": {"events": ["GONE"], "horizon_hours": 9}}, "risk": "a"}},
            "target, label b: expected observations of GONE, got none",
        ),
        (
            {"also": {"far": {**LATER_PULSE, "value": "GRADE"}}},
            r"far: expected cases in the training split of which it is known \(first GRADE within 24 h\), got none",
        ),
        (
            {"target": {**LATER_PULSE, "above": 500}},
            "expected cases with and without the outcome in the training split, got 0 with",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_known_is_refused(
    changed: dict[str, Any], message: str, task_of: Any, aligned: Any, pulse: Any
) -> None:
    target = {"kind": "binary", "events": ["ICU", "MEDS_DEATH"], "horizon_hours": 24}
    with pytest.raises(TaskError, match=message):
        aligned(plain_rows(), task_of(**{"streams": {"vitals": pulse}, "target": target, **changed}))


@pytest.mark.parametrize(
    "target",
    [
        {"kind": "regression", "value": "SIZE", "above": 3, "horizon_hours": 4},
        {"kind": "multiclass", "classes": {"a": ["LABEL"], "b": ["SIZE"]}, "risk": ["a"]},
        {"kind": "survival", "causes": {"a": ["LABEL"]}, "follow_up": ["SIZE"], "horizon_hours": 4},
        {**GRADE, "horizon_hours": 4},
    ],
)
def test_a_record_has_no_outcome_that_needs_a_time(
    target: dict[str, Any], task_of: Any, aligned: Any, pulse: Any
) -> None:
    rows = [
        {"subject": s, "code": code, "text_value": "x", "source_file": "t.csv", "source_record": f"row {s}"}
        for s in range(1, 20)
        for code in ("IMAGE", "LABEL", "SIZE", "PULSE", "GRADE")
    ]
    with pytest.raises(TaskError, match=r"target: expected a label, got events or a horizon: .*[a-z]"):
        aligned(rows, task_of({"vitals": pulse}, index={"per_record": "IMAGE"}, target=target))


def test_appended_cases_bring_their_outcomes(task_of: Any, aligned: Any, pulse: Any) -> None:
    target = {
        "kind": "survival", "causes": {"death": ["MEDS_DEATH"]}, "follow_up": ["PULSE", "HOME"], "horizon_hours": 16,
    }  # fmt: skip
    task = task_of({"vitals": pulse}, target=target, also={"grade": GRADE, "pulse": LATER_PULSE})
    aligned(plain_rows(), task)
    more = [row for row in plain_rows(43) if row["subject"] > 40 and row["code"] != "MEDS_DEATH"]
    report, grown = aligned([*plain_rows(), *more], task, append=True)
    assert report.cases == 3
    assert list(grown.index.columns[grown.index.columns.str.startswith("outcome_")]) == task.outcome_columns
    last = {41: 6.0, 42: 16.0, 43: 6.0}
    assert grown.outcome[40:].tolist() == [[hours, 0.0, float(s % 2), 90.0 + s] for s, hours in last.items()]
    np.testing.assert_equal(grown.target[40:], [math.nan, 0, math.nan])  # two were lost before the horizon
    assert grown.known.all()


def test_every_kind_says_what_it_asks() -> None:
    kinds = {ClassesTarget: "worst", LabelsTarget: "labels", RegressionTarget: "mean", SurvivalTarget: "survival"}
    asked = [task_of(TIMED[name]).target.asks for name in kinds.values()]
    assert asked == [
        "the highest that comes: none, a, b, c within 2 h",
        "which of e, said",
        "mean NUM within 2 h",
        "time to a, b, within 2 h",
    ]
