"""Who becomes a case, when, and with what outcome."""

from typing import Any

import numpy as np
import pytest

from ingest.errors import TaskError


def test_first_last_and_each_event_make_the_cases(people: Any, task_of: Any, aligned: Any, pulse: Any) -> None:
    rows = [
        *people(),
        {"subject": 1, "code": "ADMISSION", "hours": 40},
        {"subject": 1, "code": "ADMISSION", "hours": 0},
    ]
    target = {"events": ["MEDS_DEATH"], "horizon_hours": 100}
    hours = {}
    for which in ("first", "last", "each"):
        task = task_of({"vitals": pulse}, index={"event": "ADMISSION", "which": which}, target=target)
        _, cohort = aligned(rows, task, name=which)
        mine = cohort.index[cohort.index["subject_id"] == 1]
        since = (mine["index_time"].to_numpy("datetime64[us]") - np.datetime64("2024-03-01")) / np.timedelta64(1, "h")
        hours[which] = dict(zip(mine["case_id"], since, strict=True))
    assert hours == {"first": {"1": 0}, "last": {"1": 40}, "each": {"1-1": 0, "1-2": 40}}


def test_the_outcome_lies_after_the_index_time_and_within_the_horizon(
    people: Any, task_of: Any, aligned: Any, pulse: Any
) -> None:
    deaths = {2: 24, 4: 24.001, 6: 72, 8: 72.001}
    rows = [*people(), *({"subject": s, "code": "MEDS_DEATH", "hours": h} for s, h in deaths.items())]
    _, cohort = aligned(rows, task_of({"vitals": pulse}))
    target = cohort.index.set_index("subject_id")["target"]
    assert target[[2, 4, 6, 8]].tolist() == [0, 1, 1, 0]


def test_conditions_see_only_what_was_known_by_the_index_time(
    people: Any, task_of: Any, aligned: Any, pulse: Any
) -> None:
    rows = [
        *people(),
        {"subject": 1, "code": "MEDS_BIRTH", "hours": -50 * 365.25 * 24},
        {"subject": 2, "code": "MEDS_BIRTH", "hours": -17 * 365.25 * 24},
        {"subject": 3, "code": "ICU", "hours": 23},
        {"subject": 4, "code": "ICU", "hours": 25},
        {"subject": 5, "code": "ICU", "hours": 23, "known": 25},
        {"subject": 6, "code": "STATUS", "hours": 1, "text_value": "hospice"},
        {"subject": 7, "code": "STATUS", "hours": 1, "text_value": "full"},
    ]
    exclude = [
        {"name": "children", "codes": ["AGE"], "below": 18},
        {"name": "in the ICU", "codes": ["ICU"]},
        {"name": "hospice", "codes": ["STATUS"], "values": ["hospice"]},
    ]
    report, cohort = aligned(rows, task_of({"vitals": pulse}, exclude=exclude))
    assert report.excluded == {"children": 1, "in the ICU": 1, "hospice": 1}
    assert set(range(1, 21)) - set(cohort.index["subject_id"]) == {2, 3, 6}
    assert report.candidates == report.cases + sum(report.excluded.values())


def test_somebody_of_unknown_age_is_not_an_adult(people: Any, task_of: Any, aligned: Any, pulse: Any) -> None:
    rows = people() + [{"subject": s, "code": "MEDS_BIRTH", "hours": -(10**6)} for s in range(1, 20)]
    report, _ = aligned(rows, task_of({"vitals": pulse}, include=[{"name": "adults", "codes": ["AGE"], "above": 18}]))
    assert report.excluded == {"adults": 1}


def images(labels: dict[int, list[str | None]]) -> list[dict[str, Any]]:
    """A record for each label of each subject, with a number that tells which it is."""
    rows: list[dict[str, Any]] = []
    for subject, texts in labels.items():
        for n, text in enumerate(texts, 1):
            record = {"subject": subject, "source_file": "t.csv", "source_record": f"row {subject * 100 + n}"}
            rows.append({**record, "code": "IMAGE", "text_value": "x"})
            rows.append({**record, "code": "SIZE", "numeric_value": float(subject * 100 + n)})
            if text is not None:
                rows.append({**record, "code": "LABEL", "text_value": text})
    return rows


RECORDS: dict[str, Any] = {
    "index": {"per_record": "IMAGE"},
    "target": {"label": "LABEL", "positive": ["bad"], "negative": ["good"]},
    "split": {"train": 0.9, "validation": 0.05, "test": 0.05},
}
SIZE: dict[str, Any] = {"record": {"kind": "table", "features": [{"name": "size", "codes": ["SIZE"]}]}}


def test_a_record_is_a_case_and_sees_only_itself(task_of: Any, aligned: Any) -> None:
    labels: dict[int, list[str | None]] = {s: ["bad", "good"] for s in range(1, 12)}
    labels[12] = ["good"] * 11  # "row 1211" comes after "row 1202", and row 10 after row 9
    report, cohort = aligned(images(labels), task_of(SIZE, **RECORDS))
    assert report.cases == 33
    batch = cohort.batch(np.arange(33))
    numbers = [int(c.split("-")[0]) * 100 + int(c.split("-")[1]) for c in batch.case_ids]
    assert batch.streams["record"].values[:, 0].tolist() == numbers
    assert np.isnat(batch.index_times).all()
    assert not batch.streams["record"].hours.any()
    assert cohort.index["record"].tolist() == [f"row {number}" for number in numbers]


def test_an_unknown_label_excludes_the_case_and_is_counted(task_of: Any, aligned: Any) -> None:
    labels: dict[int, list[str | None]] = {s: ["bad", "good"] for s in range(1, 12)}
    labels[20] = ["?", None, "Bad", "bad"]
    report, cohort = aligned(images(labels), task_of(SIZE, **RECORDS))
    assert report.excluded == {"outcome unknown": 3}
    assert report.unknown_target == 3
    assert "20-4" in set(cohort.index["case_id"])


def test_a_record_that_contradicts_itself_has_no_outcome(task_of: Any, aligned: Any) -> None:
    rows = images({s: ["bad", "good"] for s in range(1, 12)})
    rows.append({**rows[2], "text_value": "good"})
    report, _ = aligned(rows, task_of(SIZE, **RECORDS))
    assert report.excluded == {"outcome stated as both positive and negative": 1}


def test_records_that_come_later_keep_the_numbers_of_the_earlier(task_of: Any, aligned: Any) -> None:
    task = task_of(SIZE, **RECORDS)
    rows = images({s: ["bad", "good"] for s in range(1, 12)})
    aligned(rows, task)
    early = {"subject": 1, "source_file": "t.csv", "source_record": "row 7"}
    rows += [
        {**early, "code": "IMAGE", "text_value": "x"},
        {**early, "code": "SIZE", "numeric_value": 7.0},
        {**early, "code": "LABEL", "text_value": "bad"},
    ]
    report, grown = aligned(rows, task, append=True)
    assert (report.cases, report.already_there) == (1, 22)
    added = grown.index.iloc[-1]
    assert (added["case_id"], added["record"]) == ("1-3", "row 7")
    assert grown.index["case_id"].is_unique
    assert added["split"] == grown.index["split"][grown.index["subject_id"] == 1].iloc[0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"streams": {"record": {**SIZE["record"], "window_hours": 4}}}, "expected no window_hours, got 4"),
        ({"exclude": [{"name": "old", "codes": ["AGE"], "above": 9}]}, "expected a code of the record, got AGE"),
        ({"split": {"by": "time"}}, "expected by: subject"),
        ({"target": {"events": ["LABEL"], "horizon_hours": 1}}, "expected a label, got events"),
    ],
)
def test_what_needs_a_time_is_refused_for_records(
    changed: dict[str, Any], message: str, task_of: Any, aligned: Any
) -> None:
    rows = images({s: ["bad", "good"] for s in range(1, 12)})
    with pytest.raises(TaskError, match=message):
        aligned(rows, task_of(**{"streams": SIZE, **RECORDS, **changed}))
