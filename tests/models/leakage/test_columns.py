"""Features that tell too much alone, by being there, or by a rule of a few steps."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ingest.cohort import Cohort
from models.leakage.columns import alone_findings, column_findings, part_of, presence_findings
from models.leakage.scope import Scope, scope_of


def with_record(garden: Any, by: Callable[[np.ndarray, np.ndarray], np.ndarray], n: int = 160) -> Scope:
    """A cohort whose age is made from (age, outcome)."""
    planted = garden(n)
    target = planted.cohort.target

    def plant(values: np.ndarray) -> np.ndarray:
        values[:, 0] = by(values[:, 0], target)
        return values

    planted.change("record.values", plant)
    return scope_of(planted.cohort, 0)


def test_a_value_written_after_the_outcome_is_an_alarm_that_names_it(garden: Any) -> None:
    (found,) = column_findings(with_record(garden, lambda age, target: age + 80 * target))
    assert (found.check, found.where, found.verdict) == ("single features", "record: age", "alarm")
    assert found.figure.startswith("AUROC 1.000 (0.9")
    assert "set its window before" in found.step


def test_a_value_that_is_missing_for_one_outcome_is_told_as_such(garden: Any) -> None:
    planted = garden()
    with_outcome = planted.cohort.target == 1

    def plant(observed: np.ndarray) -> np.ndarray:
        observed[:, 1] = with_outcome
        return observed

    planted.change("record.observed", plant)
    scope = scope_of(planted.cohort, 0)
    assert [(f.where, f.verdict) for f in presence_findings(scope)] == [("record: sex", "alarm")]
    assert [f.where for f in column_findings(scope) if f.verdict == "alarm"] == ["record: sex"]


def test_a_measurement_that_only_a_quarter_of_the_events_have_is_found_though_its_auroc_is_low(garden: Any) -> None:
    planted = garden(400)
    target = planted.cohort.target
    some = np.flatnonzero(target == 1)[::4]
    held = planted.cohort.index["labs_row"].to_numpy()[some]

    def plant(observed: np.ndarray) -> np.ndarray:
        observed[:, :, 1] = False
        observed[held[held >= 0], 0, 1] = True
        return observed

    planted.change("labs.observed", plant)
    (found,) = [finding for finding in presence_findings(scope_of(planted.cohort, 0)) if finding.verdict != "fine"]
    assert (found.where, found.verdict) == ("labs: lactate", "alarm")
    assert found.value is not None
    assert found.value < 0.7
    assert found.figure.startswith(f"there in {(held >= 0).sum()} of {(target == 1).sum()} with the outcome, 0 of ")


def test_a_stream_that_only_those_with_the_outcome_have_is_an_alarm(
    synthetic_cohort: Callable[..., Cohort],
) -> None:
    cohort = synthetic_cohort(n=160)
    rows = np.where(cohort.target == 1, cohort.index["xray_row"], -1)
    planted = replace(cohort, index=cohort.index.assign(xray_row=rows))
    found = [(f.where, f.verdict) for f in presence_findings(scope_of(planted, 0)) if f.verdict != "fine"]
    assert found == [("xray", "alarm")]


def test_a_tree_finds_what_no_rank_shows(garden: Any) -> None:
    """An age between 60 and 65 is the outcome: in the middle, so that no AUROC tells it."""
    rng = np.random.default_rng(0)

    def plant(age: np.ndarray, target: np.ndarray) -> np.ndarray:
        around = np.where(rng.random(len(age)) < 0.5, rng.uniform(30, 59, len(age)), rng.uniform(66, 95, len(age)))
        return np.where(target == 1, rng.uniform(60, 65, len(age)), around).astype(np.float32)

    scope = with_record(garden, plant, 400)
    assert column_findings(scope)[0].verdict == "fine"
    found = {finding.where: finding.verdict for finding in alone_findings(scope)}
    assert found.pop("record") == "alarm"
    assert set(found.values()) == {"fine"}


def test_the_parts_of_one_feature_are_one_finding(garden: Any) -> None:
    planted = garden()
    with_outcome = planted.rows("vitals", planted.cohort.target == 1)

    def plant(values: np.ndarray) -> np.ndarray:
        values[with_outcome, :, 2] += 500
        return values

    planted.change("vitals.values", plant)
    (found,) = column_findings(scope_of(planted.cohort, 0))
    assert part_of(found.where) == "vitals: oxygen saturation"
    assert "more columns of it" in found.figure


@pytest.mark.parametrize("seed", [1, 2])
def test_honest_features_are_fine(synthetic_cohort: Callable[..., Cohort], seed: int) -> None:
    scope = scope_of(synthetic_cohort(n=240, seed=seed), 0)
    found = [*column_findings(scope), *presence_findings(scope), *alone_findings(scope)]
    assert {finding.verdict for finding in found} == {"fine"}
    assert len(found) == 2 + len(scope.cohort.stream_names)
