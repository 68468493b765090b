"""Subjects, groups and copies in two splits."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ingest.cohort import Cohort
from models.leakage.duplicates import array_findings, input_findings, split_findings
from models.leakage.finding import Finding
from models.leakage.scope import scope_of


def of(findings: list[Finding], where: str) -> Finding:
    (found,) = [finding for finding in findings if finding.where == where]
    return found


def test_a_subject_in_two_splits_is_an_alarm(synthetic_cohort: Callable[..., Cohort]) -> None:
    cohort = synthetic_cohort(n=120, cases_per_subject=2)
    assert split_findings(cohort, {})[0].verdict == "fine"
    split = cohort.index["split"].to_numpy(copy=True)
    split[0], split[1] = "train", "test"
    (found,) = split_findings(replace(cohort, index=cohort.index.assign(split=split)), {})
    assert found.verdict == "alarm"
    assert found.figure.startswith("1 of 60 subjects in two splits (2 cases)")
    assert "--resplit" in found.step


def test_a_group_in_two_splits_is_an_alarm(synthetic_cohort: Callable[..., Cohort]) -> None:
    cohort = synthetic_cohort(n=120)
    subject, split = (cohort.index[name].to_numpy() for name in ("subject_id", "split"))
    apart = {int(s): f"hospital of {part}" for s, part in zip(subject, split, strict=True)}
    assert {finding.verdict for finding in split_findings(cohort, apart)} == {"fine"}
    _, found = split_findings(cohort, {int(s): f"hospital {int(s) % 7}" for s in subject[:100]})
    assert (found.verdict, found.value) == ("alarm", 7.0)


def test_the_same_inputs_under_two_subjects_are_an_alarm_across_splits_and_a_look_within(garden: Any) -> None:
    cohort = garden().cohort
    split = cohort.index["split"].to_numpy()
    train, test = np.flatnonzero(split == "train"), np.flatnonzero(split == "test")
    digests = np.array([f"digest {i}" for i in range(len(cohort))], object)

    def found(first: int, second: int) -> Finding:
        mine = digests.copy()
        mine[second] = mine[first]
        (finding,) = input_findings(replace(cohort, index=cohort.index.assign(inputs=mine)))
        return finding

    assert found(0, 0).verdict == "fine"
    assert found(train[0], train[1]).verdict == "look"
    across = found(train[0], test[0])
    assert across.verdict == "alarm"
    assert "1 whole inputs shared by different subjects across splits (2 cases)" in across.figure
    assert input_findings(cohort) == []  # a cohort without digests


@pytest.mark.parametrize(("stream", "what"), [("xray", "images"), ("sound", "recordings"), ("vitals", "series")])
def test_an_array_delivered_twice_is_found(garden: Any, stream: str, what: str) -> None:
    planted = garden()
    before = array_findings(scope_of(planted.cohort, 0))
    assert {finding.verdict for finding in before} == {"fine"}
    source, copy = planted.two_apart(stream)
    for part in ("values", "observed"):
        planted.change(f"{stream}.{part}", lambda array: _copied(array, source, copy))
    found = of(array_findings(scope_of(planted.cohort, 0)), stream)
    assert found.verdict == "alarm"
    assert f"1 identical {what} shared by different subjects across splits" in found.figure


def test_blank_images_are_no_copies(garden: Any) -> None:
    planted = garden()
    planted.change("xray.values", np.zeros_like)
    assert of(array_findings(scope_of(planted.cohort, 0)), "xray").verdict == "fine"


def _copied(array: np.ndarray, source: int, copy: int) -> np.ndarray:
    array[copy] = array[source]
    return array
