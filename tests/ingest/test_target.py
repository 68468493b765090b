"""What a target may ask for: mistakes are told by key, and every kind says what it asks and what the risk is."""

from typing import Any

import pytest

from ingest.errors import TaskError
from ingest.task import Task, parse_task

EVENT: dict[str, Any] = {"events": ["ICU"], "horizon_hours": 48}
LABEL: dict[str, Any] = {"label": "SAID", "positive": ["bad"], "negative": ["good"]}
CLASSES: dict[str, Any] = {
    "kind": "multiclass", "label": "SAID", "classes": {"a": ["1", "2"], "b": ["3"], "c": ["4"]}, "risk": ["b", "c"],
}  # fmt: skip
COMES: dict[str, Any] = {
    "kind": "multiclass", "classes": {"none": [], "icu": ["ICU"], "home": ["END", "LEFT"]}, "risk": ["icu"],
    "horizon_hours": 72,
}  # fmt: skip
LABELS: dict[str, Any] = {"kind": "multilabel", "labels": {"icu": EVENT, "bad": LABEL}, "risk": "icu"}
NUMBER: dict[str, Any] = {"kind": "regression", "value": "LAC", "unit": "mmol/L", "reduce": "max", "above": 4}
SURVIVAL: dict[str, Any] = {
    "kind": "survival", "causes": {"home": ["END"], "death": ["DEATH"]}, "risk": "death", "horizon_hours": 168,
    "follow_up": ["SEEN"],
}  # fmt: skip
STATED: dict[str, Any] = {
    "kind": "survival", "causes": {"death": ["dead"]}, "censored": ["alive"], "label": "STATUS", "duration": "DAYS",
    "horizon_hours": 8766,
}  # fmt: skip
# target -> (its codes, those that state it outright, whether it needs times, its columns, what it asks, its risk)
SAID: list[tuple[dict[str, Any], set[str], set[str], bool, int, str, str]] = [
    (EVENT, {"ICU"}, set(), True, 1, "ICU within 48 h", "ICU within 48 h"),
    (LABEL, {"SAID"}, {"SAID"}, False, 1, "SAID", "SAID"),
    (CLASSES, {"SAID"}, {"SAID"}, False, 1, "which SAID: a, b, c", "b or c"),
    (COMES, {"ICU", "END", "LEFT"}, set(), True, 1, "which comes first: none, icu, home within 72 h",
     "icu within 72 h"),
    ({**COMES, "kind": "ordinal"}, {"ICU", "END", "LEFT"}, set(), True, 1,
     "the highest that comes: none, icu, home within 72 h", "icu within 72 h"),
    (LABELS, {"ICU", "SAID"}, {"SAID"}, True, 2, "which of icu, bad", "icu within 48 h"),
    (NUMBER, {"LAC"}, {"LAC"}, False, 1, "max LAC", "a value above 4 mmol/L"),
    ({**NUMBER, "horizon_hours": 24}, {"LAC"}, set(), True, 1, "max LAC within 24 h",
     "a value above 4 mmol/L within 24 h"),
    (SURVIVAL, {"END", "DEATH", "SEEN"}, set(), True, 2, "time to home, death, within 168 h", "death within 168 h"),
    (STATED, {"STATUS", "DAYS"}, {"STATUS", "DAYS"}, False, 2, "time to death, within 8766 h", "death within 8766 h"),
]  # fmt: skip


def task_of(target: dict[str, Any], **more: Any) -> Task:
    streams = {"notes": {"kind": "text", "codes": ["N"]}}
    raw = {"name": "t", "title": "T", "index": {"event": "IN"}, "target": target, "streams": streams, **more}
    return parse_task(raw, "my.yaml")


@pytest.mark.parametrize(("target", "codes", "labelled", "needs_times", "columns", "asks", "risk"), SAID)
def test_a_target_says_what_it_reads_and_asks(
    target: dict[str, Any],
    codes: set[str],
    labelled: set[str],
    needs_times: bool,
    columns: int,
    asks: str,
    risk: str,
) -> None:
    task = task_of(target)
    one = task.target
    assert (one.codes, one.labelled, one.needs_times) == (codes, labelled, needs_times)
    assert (len(one.columns), one.asks, one.risk_event) == (columns, asks, risk)
    assert parse_task(task.model_dump(mode="json"), "again") == task
    names = [f"outcome_{k}" for k in range(columns)]
    assert task.outcome_columns == ([] if one.kind == "binary" else names)
    assert len(task_of(EVENT, also={"more": target}).outcome_columns) == 1 + columns


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"kind": "poisson"}, "target: kind: expected binary, multiclass, ordinal, multilabel, regression or survival"),
        ({**CLASSES, "classes": {"a": ["1"]}}, "classes: Dictionary should have at least 2 items"),
        ({**CLASSES, "classes": {"a": ["1"], "b": []}}, r"classes \['b'\]: expected at least one text each"),
        ({**CLASSES, "classes": {"a": ["1", "2"], "b": ["2"]}, "risk": ["b"]}, r"in several classes: \['2'\]"),
        ({**CLASSES, "risk": ["d"]}, r"risk: expected some of \['a', 'b', 'c'\], got \['d'\]"),
        ({**CLASSES, "risk": ["a", "b", "c"]}, "expected some of the classes, got all of them"),
        ({**CLASSES, "risk": []}, "risk: Tuple should have at least 1 item"),
        ({**COMES, "horizon_hours": None}, r"classes \['none'\]: nothing comes within what\? give horizon_hours"),
        ({**COMES, "classes": {"none": [], "icu": ["ICU"], "home": []}}, r"classes \['none', 'home'\]: expected codes"),
        ({**LABELS, "risk": "death"}, r"risk: expected one of \['icu', 'bad'\], got 'death'"),
        ({**LABELS, "labels": {"icu": EVENT}}, "labels: Dictionary should have at least 2 items"),
        ({**NUMBER, "reduce": "all"}, "reduce: Input should be"),
        ({**NUMBER, "horizon_hours": 0}, "horizon_hours: Input should be greater than 0"),
        (
            {k: v for k, v in SURVIVAL.items() if k != "follow_up"},
            "give follow_up, the codes that show that a case was",
        ),
        ({**STATED, "follow_up": ["SEEN"]}, "give duration, label and censored, and no follow_up"),
        ({**STATED, "censored": []}, "give duration, label and censored, and no follow_up"),
        ({**STATED, "censored": ["dead"]}, r"these mean two things: \['dead'\]"),
        ({**SURVIVAL, "risk": "icu"}, r"risk: expected one of \['home', 'death'\], got 'icu'"),
        ({**SURVIVAL, "intervals": 1}, "intervals: Input should be greater than or equal to 2"),
        ({**EVENT, "horizon_hour": 4}, "Extra inputs are not permitted"),
    ],
)
def test_a_mistake_is_one_line_that_names_what_was_expected(target: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=message) as caught:
        task_of(target)
    assert str(caught.value).startswith("my.yaml, target")
    assert "\n" not in str(caught.value)


def test_what_is_learnt_beside_the_target_has_another_name() -> None:
    with pytest.raises(TaskError, match="also: expected another name than target"):
        task_of(EVENT, also={"target": NUMBER})
    with pytest.raises(TaskError, match=r"also\.Not so"):
        task_of(EVENT, also={"Not so": NUMBER})


def test_the_risk_is_of_the_cause_that_is_named_else_of_the_first() -> None:
    def place(**changed: Any) -> int:
        target = task_of({**SURVIVAL, **changed}).target
        assert target.kind == "survival"
        return target.risk_cause

    assert place() == 2
    assert place(risk=None) == 1
