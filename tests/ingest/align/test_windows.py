"""Windows that differ between the classes are found, told with figures, and not learnt from."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ingest.align.windows import check_windows, observed_hours, rank_auroc, window_differences
from ingest.cohort import Cohort
from ingest.errors import TaskError

ASKED = {"index": {"event": "ASKED"}, "target": {"events": ["MEDS_DEATH"], "horizon_hours": 100}}
PULSE = {"kind": "series", "channels": [{"name": "pulse", "codes": ["PULSE"]}]}


def ward(asked_at: Callable[[int, np.random.Generator], float], n: int = 80) -> list[dict[str, Any]]:
    """A pulse every hour from admission on; half of the patients die; `asked_at` says when the risk is wanted."""
    rows: list[dict[str, Any]] = []
    for subject in range(n):
        rng = np.random.default_rng(subject)
        asked = asked_at(subject, rng)
        rows += [
            {"subject": subject, "code": "PULSE", "hours": h, "numeric_value": rng.normal(80, 9)} for h in range(60)
        ]
        rows.append({"subject": subject, "code": "ASKED", "hours": asked})
        rows.append({"subject": subject, "code": "GENDER", "text_value": "female"})
        if subject % 2:
            rows.append({"subject": subject, "code": "MEDS_DEATH", "hours": 55.0})
    return rows


def until_death_or_at_random(subject: int, rng: np.random.Generator) -> float:
    """The fault: those who die are asked about an hour before it, the others at some moment of their stay."""
    return float(rng.uniform(53, 55) if subject % 2 else rng.uniform(5, 50))


def test_windows_that_end_at_the_outcome_are_found_and_refused(aligned: Any, task_of: Any) -> None:
    """FAULTS 9."""
    _, cohort = aligned(ward(until_death_or_at_random), task_of({"vitals": PULSE}, **ASKED))
    found = window_differences(cohort, cohort.rows())
    assert {difference.stream for difference in found} == {"vitals"}
    assert found[0].auroc == 1.0
    assert found[0].median_with == pytest.approx(-54, abs=0.5)
    with pytest.raises(TaskError) as caught:
        check_windows(cohort, cohort.rows())
    said = str(caught.value)
    assert re.search(
        r"stream vitals, first observation: 5[34]\.\d h in the median with the outcome, \d+\.\d h wit", said
    )
    assert "an AUROC of 1.000 in 80 cases" in said
    assert "say allow_different_windows: true and align again" in said
    assert "\n" not in said


def test_a_task_may_say_that_it_is_meant(aligned: Any, task_of: Any) -> None:
    _, cohort = aligned(
        ward(until_death_or_at_random), task_of({"vitals": PULSE}, **ASKED, allow_different_windows=True)
    )
    assert window_differences(cohort, cohort.rows())
    check_windows(cohort, cohort.rows())


@pytest.mark.parametrize("moment", [lambda subject, rng: 30.0, lambda subject, rng: float(rng.uniform(5, 50))])
def test_windows_that_all_have_alike_are_fine(moment: Any, aligned: Any, task_of: Any) -> None:
    _, cohort = aligned(ward(moment), task_of({"vitals": PULSE}, **ASKED))
    assert window_differences(cohort, cohort.rows()) == []


def test_a_window_stated_in_the_task_makes_them_alike(aligned: Any, task_of: Any) -> None:
    task = task_of({"vitals": {**PULSE, "window_hours": 4}}, **ASKED)
    _, cohort = aligned(ward(until_death_or_at_random), task)
    assert not [d for d in window_differences(cohort, cohort.rows()) if d.measure == "hours between first and last"]


def test_few_cases_tell_nothing(aligned: Any, task_of: Any) -> None:
    _, cohort = aligned(ward(until_death_or_at_random, n=40), task_of({"vitals": PULSE}, **ASKED))
    check_windows(cohort, cohort.rows())


def test_static_facts_have_no_window(aligned: Any, task_of: Any) -> None:
    sex = {"kind": "table", "features": [{"name": "sex", "codes": ["GENDER"], "levels": ["female", "male"]}]}
    _, cohort = aligned(ward(lambda subject, rng: 30.0), task_of({"record": sex, "vitals": PULSE}, **ASKED))
    assert np.isnan(observed_hours(cohort, cohort.rows(), "record")).all()
    assert observed_hours(cohort, cohort.rows(), "vitals")[3].tolist() == [-30, 0]


def test_an_index_counted_back_from_the_outcome_is_refused(aligned: Any, task_of: Any) -> None:
    """FAULTS 9, said in the task itself."""
    task = task_of({"vitals": PULSE}, **{**ASKED, "index": {"event": "MEDS_DEATH", "offset_hours": -24}})
    with pytest.raises(
        TaskError, match="expected a moment that does not depend on the outcome, got one before MEDS_DEATH"
    ):
        aligned(ward(lambda subject, rng: 30.0), task)


def test_the_auroc_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        values, target = rng.integers(0, 6, 40).astype(float), rng.random(40) < 0.4
        above = values[target][:, None] - values[~target]
        assert rank_auroc(values, target) == pytest.approx(((above > 0) + 0.5 * (above == 0)).mean())


def test_cohorts_of_several_shards_are_looked_at_whole(synthetic_cohort: Callable[..., Cohort]) -> None:
    one, three = synthetic_cohort(60, 3), synthetic_cohort(60, 3, shards=3)
    for stream in one.stream_names:
        ours = observed_hours(one, one.rows(), stream)
        assert np.array_equal(ours, observed_hours(three, three.rows(), stream), equal_nan=True)
    assert window_differences(one, one.rows()) == []
