"""The audit as a whole: no alarm without a leak, and never a failure."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ingest.cohort import Cohort
from models.leakage import scope as bounds
from models.leakage.audit import audit
from models.leakage.finding import VERDICTS, Finding, gravest, gravest_first
from models.leakage.report import render_page
from models.leakage.scope import scope_of


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_an_honest_cohort_raises_no_alarm(synthetic_cohort: Callable[..., Cohort], alarms: Any, seed: int) -> None:
    found = audit(
        synthetic_cohort(n=240, seed=seed), seed=seed, outcome_words={"death": ["died"], "means": ["intubat*"]}
    )
    assert alarms(found.findings) == []
    assert found.counts["look"] <= 1  # of some forty things that were asked
    assert {finding.check for finding in found.findings} >= {
        "duplicates", "single features", "presence", "streams alone", "words in notes", "words of the outcome",
        "windows and counts", "index times", "known in time", "image borders", "shuffled outcomes",
    }  # fmt: skip


def test_each_finding_that_is_not_fine_says_what_to_do(garden: Any) -> None:
    planted = garden()
    with_outcome = planted.cohort.target == 1
    planted.change("record.values", lambda values: values + 90 * with_outcome[:, None].astype(values.dtype))
    found = audit(planted.cohort)
    assert found.counts["alarm"] >= 2  # the feature, and the stream with it
    assert all(finding.step for finding in found.findings if finding.verdict != "fine")
    assert [finding.verdict for finding in found.findings] == sorted(
        (finding.verdict for finding in found.findings), key=VERDICTS.index
    )


@pytest.mark.parametrize("absent", [("notes",), ("xray",), ("vitals", "labs", "xray", "notes", "sound")])
def test_streams_that_nobody_has_are_passed_over(
    synthetic_cohort: Callable[..., Cohort], alarms: Any, absent: tuple[str, ...]
) -> None:
    found = audit(synthetic_cohort(n=120, absent=dict.fromkeys(absent, 1.0)))
    assert alarms(found.findings) == []


@pytest.mark.parametrize("events", [0, 1, 3, 120])
def test_a_cohort_of_one_outcome_is_audited_as_far_as_it_goes(
    synthetic_cohort: Callable[..., Cohort], with_targets: Any, alarms: Any, events: int
) -> None:
    found = audit(with_targets(synthetic_cohort(n=120), (np.arange(120) < events).astype(np.float32)))
    assert alarms(found.findings) == []
    assert {finding.check for finding in found.findings} == {"duplicates", "known in time"}
    assert "fewer than 5 subjects" in found.notes[-1]


def test_a_split_of_one_outcome_is_no_failure(synthetic_cohort: Callable[..., Cohort], with_targets: Any) -> None:
    cohort = synthetic_cohort(n=160)
    target = np.where(cohort.index["split"] == "test", 0, cohort.target)
    assert audit(with_targets(cohort, target)).counts["fine"] > 10


def test_unknown_outcomes_are_left_out(synthetic_cohort: Callable[..., Cohort], with_targets: Any) -> None:
    cohort = synthetic_cohort(n=160)
    target = cohort.target.copy()
    target[::3] = np.nan
    scope = scope_of(with_targets(cohort, target), 0)
    assert scope.rows.tolist() == [row for row in range(160) if row % 3]


def test_a_large_cohort_is_sampled_with_the_rarer_outcome_kept(synthetic_cohort: Callable[..., Cohort]) -> None:
    cohort = synthetic_cohort(n=240)
    events = int(cohort.target.sum())
    scope = scope_of(cohort, 0, most=150)
    assert (len(scope.rows), int(scope.target.sum())) == (150, min(events, 75))
    assert scope.notes[0].startswith("outcomes were compared in a sample of 150 of 240 cases")
    np.testing.assert_allclose(scope.weight * np.bincount(scope.target), [240 - events, events])
    assert np.array_equal(scope_of(cohort, 0, most=150).rows, scope.rows)


def test_a_sample_is_told(
    synthetic_cohort: Callable[..., Cohort], alarms: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.leakage.audit.scope_of", lambda cohort, seed: scope_of(cohort, seed, most=150))
    monkeypatch.setattr("models.leakage.near_images.MOST_IMAGES", 50)
    monkeypatch.setattr(bounds, "BYTES_AT_ONCE", 1)  # one case at a time changes nothing
    found = audit(synthetic_cohort(n=240))
    assert alarms(found.findings) == []
    assert "outcomes were compared in a sample of 150 of 240 cases" in found.notes[0]
    assert any(note.startswith("xray: copies were looked for among 50 of ") for note in found.notes)


def test_the_page_and_the_plain_values_hold_every_finding(synthetic_cohort: Callable[..., Cohort]) -> None:
    plain = audit(synthetic_cohort(n=120))
    strange = Finding("single features", "<script>", "AUROC 1.000", "alarm", "ask & see", 1.0)
    found = replace(plain, findings=gravest_first([*plain.findings, strange]))
    page = render_page(found)
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert "http" not in page
    assert all(finding.check in page for finding in found.findings)
    raw = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert raw["counts"]["alarm"] == 1
    assert raw["findings"][0]["where"] == "<script>"
    assert gravest("fine", "alarm", "look") == "alarm"


def test_the_same_seed_gives_the_same_findings(synthetic_cohort: Callable[..., Cohort]) -> None:
    cohort = synthetic_cohort(n=120)
    assert audit(cohort, seed=3) == audit(cohort, seed=3)
