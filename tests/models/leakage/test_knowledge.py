"""What was known when, and how far outcomes lie from the index times."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ingest.align.source import TableSource
from ingest.cohort import Cohort
from ingest.observations import SCHEMA, conform
from models.leakage.finding import Finding
from models.leakage.knowledge import late_findings, lead_findings, lead_hours

HOUR = np.timedelta64(3_600_000_000, "us")


def of(findings: list[Finding], stream: str) -> Finding:
    (found,) = [finding for finding in findings if finding.where == stream]
    return found


def released(garden: Any, hours: float | None, known_by: str = "available_time") -> Cohort:
    """A cohort whose labs were taken 2 h before the index time and released `hours` after it; None: not stated."""
    planted = garden()
    cohort = planted.cohort
    index = cohort.index[cohort.index["labs_row"] >= 0].set_index("labs_row")["index_time"].to_numpy("datetime64[us]")

    def plant(sources: pd.DataFrame) -> pd.DataFrame:
        known = (
            np.full(len(index), np.datetime64("NaT"), "datetime64[us]")
            if hours is None
            else index + round(hours * 60) * HOUR // 60
        )
        return sources.assign(time=index - 2 * HOUR, available_time=known)

    planted.change_table("labs.source", plant)
    task = json.loads((planted.folder / "task.json").read_text())
    (planted.folder / "task.json").write_text(json.dumps({**task, "known_by": known_by}))
    left_out = {"available only after the index time": 812}
    (planted.folder / "report.json").write_text(json.dumps({"streams": {"labs": {"left_out": left_out}}}))
    opened: Cohort = planted.cohort
    return opened


def test_values_that_were_left_out_as_too_late_are_counted(garden: Any) -> None:
    found = of(late_findings(released(garden, -1)), "labs")
    assert (found.verdict, found.figure) == (
        "fine", "812 values left out as known too late; 100% of sources state their release"
    )  # fmt: skip


def test_values_that_were_released_after_the_index_time_and_are_used_are_an_alarm(garden: Any) -> None:
    found = of(late_findings(released(garden, 0.5, "time")), "labs")
    assert found.verdict == "alarm"
    assert "known_by: available_time" in found.step


def test_a_cohort_that_is_not_what_its_task_says_is_an_alarm(garden: Any) -> None:
    found = of(late_findings(released(garden, 0.5)), "labs")
    assert (found.verdict, found.step) == ("alarm", "align again: this cohort is not what its task says")


def test_release_times_that_nobody_states_are_a_look(garden: Any) -> None:
    found = of(late_findings(released(garden, None)), "labs")
    assert found.verdict == "look"
    assert "what was measured counts as known" in found.figure


def events(cohort: Cohort, hours: Callable[[int], float | None], code: str = "MEDS_DEATH") -> TableSource:
    """An event of each case so many hours after its index time."""
    rows = [
        {"subject_id": int(row.subject_id), "time": row.index_time + pd.Timedelta(hours=after), "code": code}
        for i, row in enumerate(cohort.index.itertuples())
        if (after := hours(i)) is not None
    ]
    return TableSource(conform(pa.Table.from_pylist(rows, SCHEMA)))


def verdicts(cohort: Cohort, hours: Callable[[int], float | None]) -> list[str]:
    return [finding.verdict for finding in lead_findings(cohort, events(cohort, hours))]


@pytest.fixture
def cohort(synthetic_cohort: Callable[..., Cohort]) -> Cohort:
    return synthetic_cohort(n=200)


def test_hours_to_the_outcome_are_those_of_a_plain_loop(cohort: Cohort) -> None:
    rng = np.random.default_rng(0)
    after = [None if rng.random() < 0.3 else float(round(rng.uniform(-40, 40), 2)) for _ in range(200)]
    ahead, earlier = lead_hours(cohort, events(cohort, lambda i: after[i]))
    assert earlier.tolist() == [hours is not None and hours <= 0 for hours in after]
    expected = [hours if hours is not None and hours > 0 else np.nan for hours in after]
    np.testing.assert_allclose(ahead, expected, atol=1e-6)


def test_outcomes_that_come_at_all_hours_are_fine(cohort: Cohort) -> None:
    rng = np.random.default_rng(0)
    assert verdicts(cohort, lambda i: rng.uniform(1, 48)) == ["fine", "fine", "fine"]


def test_index_times_counted_back_from_the_outcome_are_an_alarm(cohort: Cohort) -> None:
    same, *_ = lead_findings(cohort, events(cohort, lambda i: 6.5))
    assert same.verdict == "alarm"
    assert "100% of" in same.figure
    assert "6.5 h after the index time" in same.figure


def test_outcomes_that_are_dates_are_no_alarm_for_being_whole_days_away(cohort: Cohort) -> None:
    assert verdicts(cohort, lambda i: 24.0 if i % 2 else 48.0)[0] == "look"


def test_outcomes_at_the_index_time_are_an_alarm(cohort: Cohort) -> None:
    rng = np.random.default_rng(0)
    assert verdicts(cohort, lambda i: rng.uniform(0.01, 0.24))[1] == "alarm"


def test_those_who_had_the_outcome_before_are_a_look(cohort: Cohort) -> None:
    rng = np.random.default_rng(0)
    hours = [-5.0 if i < 40 and not cohort.target[i] else rng.uniform(1, 40) for i in range(200)]
    assert verdicts(cohort, lambda i: hours[i])[2] == "look"


def test_without_observations_nothing_is_said(cohort: Cohort) -> None:
    assert lead_findings(cohort, None) == []
    assert lead_findings(cohort, events(cohort, lambda i: 3.0, code="OTHER")) == []
