"""Windows, counts and index times that follow the outcome."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ingest.cohort import Cohort
from models.leakage.scope import scope_of
from models.leakage.timing import index_findings, window_findings


def test_windows_that_reach_further_back_with_the_outcome_are_an_alarm(garden: Any, alarms: Any) -> None:
    planted = garden()
    with_outcome = planted.rows("vitals", planted.cohort.target == 1)

    def plant(hours: np.ndarray) -> np.ndarray:
        hours[with_outcome] *= 10
        return hours

    planted.change("vitals.hours", plant)
    found = window_findings(scope_of(planted.cohort, 0))
    assert set(alarms(found)) == {("windows and counts", "vitals")}
    assert "h in the median with the outcome" in found[0].figure
    assert "counted back from the outcome" in found[0].step


def test_how_often_somebody_was_measured_is_an_alarm_where_it_tells_the_outcome(garden: Any, alarms: Any) -> None:
    planted = garden()
    without = planted.rows("labs", planted.cohort.target == 0)

    def plant(observed: np.ndarray) -> np.ndarray:
        observed[:] = True
        observed[without, 1:] = False
        return observed

    planted.change("labs.observed", plant)
    found = window_findings(scope_of(planted.cohort, 0))
    assert set(alarms(found)) == {("windows and counts", "labs")}
    *_, labs = [finding for finding in found if finding.where == "labs"]
    assert labs.figure.startswith("the number of observations, in the median 12 with the outcome and 2 without: AUROC")


@pytest.mark.parametrize(
    ("where", "times"),
    [
        ("hour, weekday and month", lambda i, event: 24 * i + np.where(event, 3, 14)),
        ("date", lambda i, event: i + np.where(event, 0, 1_000_000)),
    ],
)
def test_index_times_that_follow_the_outcome_are_an_alarm(
    synthetic_cohort: Callable[..., Cohort], alarms: Any, where: str, times: Any
) -> None:
    cohort = synthetic_cohort(n=200)
    hours = times(np.arange(200), cohort.target == 1).astype(np.int64) * np.timedelta64(1, "h")
    index = cohort.index.assign(index_time=np.datetime64("2024-01-01", "us") + hours)
    found = index_findings(scope_of(replace(cohort, index=index), 0))
    assert ("index times", where) in alarms(found)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_honest_times_are_fine(synthetic_cohort: Callable[..., Cohort], seed: int) -> None:
    scope = scope_of(synthetic_cohort(n=240, seed=seed), 0)
    assert {finding.verdict for finding in [*window_findings(scope), *index_findings(scope)]} == {"fine"}
