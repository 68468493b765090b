"""The texts that are to be drafted: written at the index time or later, and never seen by a model."""

from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from ingest.align.report_texts import FILE, read_report_texts
from ingest.cohort import open_cohort
from ingest.errors import TaskError

STREAMS = {
    "pulse": {"kind": "table", "features": [{"name": "pulse", "codes": ["PULSE"]}]},
    "notes": {"kind": "text", "codes": ["NOTE"]},
}
NOTE = {"subject": 1, "code": "NOTE", "hours": 2, "text_value": "A cough."}
DIGITS = r"\d+"


def report(hours: float, text: str | None, subject: int = 1, **more: Any) -> dict[str, Any]:
    return {"subject": subject, "code": "REPORT", "hours": hours, "text_value": text, **more}


def asked(task_of: Any, **more: Any) -> Any:
    return task_of(STREAMS, report={"codes": ["REPORT"], **more})


def test_the_first_report_known_at_the_index_time_or_later_is_kept(people: Any, task_of: Any, aligned: Any) -> None:
    rows = [
        *people(), NOTE, report(20, "Too early."), report(30, "Second."), report(26, "First."),
        report(24, "At the index time.", subject=2), report(10, "Taken before, read after.", subject=3, known=25),
        report(20, "Early, so not an output.", subject=4), report(60, "Late.", subject=5),
    ]  # fmt: skip
    account, cohort = aligned(rows, asked(task_of, horizon_hours=24))
    texts = read_report_texts(cohort)
    assert texts.to_dict() == {"1": "First.", "2": "At the index time.", "3": "Taken before, read after."}
    assert account.report_texts == {
        "cases with a report": 3,
        "cases without one": 17,
        "known before the index time": 2,
        "beyond the horizon": 1,
        "later reports": 1,
    }


def test_sections_and_redaction_come_before_anything_is_written(people: Any, task_of: Any, aligned: Any) -> None:
    text = "History: cough since 2009.\nFindings: The heart is normal, Dr Quill agrees.\nImpression: Well in 2024."
    rows = [
        *people(),
        NOTE,
        report(30, text),
        report(30, "Read by Dr Quill", subject=2),
        report(40, "Good.", subject=2),
    ]
    more = {"sections": ["finding", "impress"], "redact": [r",? ?(read by )?dr \w+( agrees)?", DIGITS]}
    account, cohort = aligned(rows, asked(task_of, **more))
    texts = read_report_texts(cohort)
    assert texts["1"] == "Findings: The heart is normal .\nImpression: Well in  ."
    assert "2" not in texts
    assert account.report_texts["empty"] == 2
    whole = (cohort.shard_folder(0) / FILE).read_bytes()
    assert b"Quill" not in whole
    assert pq.read_schema(cohort.shard_folder(0) / FILE).names == ["case_id", "text"]


def test_a_report_with_nothing_left_gives_way_to_the_next(people: Any, task_of: Any, aligned: Any) -> None:
    rows = [*people(), NOTE, report(30, "  "), report(31, None), report(32, "Well.")]
    _, cohort = aligned(rows, asked(task_of))
    assert read_report_texts(cohort).to_dict() == {"1": "Well."}


def test_the_report_reaches_no_batch_and_changes_no_array(people: Any, task_of: Any, aligned: Any) -> None:
    rows = [*people(), NOTE, report(30, "Zebra."), report(20, "Zebra before.", subject=2)]
    _, plain = aligned(rows, task_of(STREAMS), name="plain")
    _, cohort = aligned(rows, asked(task_of))
    assert not (plain.shard_folder(0) / FILE).exists()
    names = {path.name for path in plain.shard_folder(0).iterdir()}
    assert {path.name for path in cohort.shard_folder(0).iterdir()} == names | {FILE}
    for name in names:
        assert (cohort.shard_folder(0) / name).read_bytes() == (plain.shard_folder(0) / name).read_bytes(), name
    batch = cohort.batch(cohort.rows())
    assert list(batch.streams) == ["pulse", "notes"]
    cohort.shard_folder(0).joinpath(FILE).unlink()
    again = open_cohort(cohort.folder).batch(cohort.rows())
    for name in batch.streams:
        assert np.array_equal(batch.streams[name].values, again.streams[name].values)


def test_a_stream_that_reads_the_report_is_refused(people: Any, task_of: Any, aligned: Any) -> None:
    streams = {**STREAMS, "notes": {"kind": "text", "codes": ["NOTE", "REPORT"]}}
    rows = [*people(), NOTE, report(30, "x")]
    task = task_of(streams, report={"codes": ["REPORT"]})
    with pytest.raises(TaskError, match=r"report: expected codes that no stream reads, got REPORT of stream notes"):
        aligned(rows, task)


def test_a_code_that_nobody_has_is_refused(people: Any, task_of: Any, aligned: Any) -> None:
    with pytest.raises(TaskError, match=r"report: expected observations of REPORTS, got none; did you mean REPORT\?"):
        aligned([*people(), NOTE, report(30, "x")], task_of(STREAMS, report={"codes": ["REPORTS"]}))


def test_a_cohort_without_reports_says_what_to_do(people: Any, task_of: Any, aligned: Any) -> None:
    _, cohort = aligned([*people(), NOTE], task_of(STREAMS))
    with pytest.raises(TaskError, match=r"report.parquet: expected the reports.*give the task a `report`"):
        read_report_texts(cohort)


def test_a_pattern_that_does_not_parse_is_named(task_of: Any) -> None:
    with pytest.raises(TaskError, match=r"report: .*redact: expected regular expressions, got '\['"):
        asked(task_of, redact=["["])


def test_records_without_times_have_the_report_of_their_own_record(table_of: Any, task_of: Any, aligned: Any) -> None:
    rows = []
    for n in range(40):
        origin = {"subject": 1 + n // 2, "source_file": "a.csv", "source_record": f"row {n}"}
        rows.append({**origin, "code": "PULSE", "numeric_value": float(n)})
        rows.append({**origin, "code": "LABEL", "text_value": ("yes", "no")[n % 3 == 0]})
        if n % 4:
            rows.append({**origin, "code": "REPORT", "text_value": f"Number {n}."})
    changed = {
        "index": {"per_record": "PULSE"},
        "target": {"label": "LABEL", "positive": ["yes"], "negative": ["no"]},
        "report": {"codes": ["REPORT"]},
    }
    _, cohort = aligned(rows, task_of({"pulse": STREAMS["pulse"]}, **changed))
    texts = read_report_texts(cohort)
    record = cohort.index.set_index("case_id")["record"]
    assert len(texts) == 30
    assert {case: f"Number {record[case].removeprefix('row ')}." for case in texts.index} == texts.to_dict()
    changed["report"] = {"codes": ["REPORT"], "horizon_hours": 5}
    with pytest.raises(TaskError, match="report: expected no horizon_hours"):
        aligned(rows, task_of({"pulse": STREAMS["pulse"]}, **changed))
