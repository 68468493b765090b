"""`telltale audit` on a cohort that is there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest.cohort import open_cohort
from ingest.workspace import open_workspace
from serve.commands.audit import outcome_words

TASK = "deterioration-small"


def test_an_honest_cohort_ends_with_0_and_a_report(telltale: Callable[..., Any], aligned: Path) -> None:
    ran = telltale("audit", "--task", aligned.parent / "task.yaml", "--workspace", aligned)
    assert (ran.code, ran.err) == (0, "")
    assert "100 cases" in ran.out
    assert "\n0 alarm, " in ran.out
    reports = open_workspace(aligned).reports(TASK)
    assert json.loads((reports / "audit.json").read_text())["counts"]["alarm"] == 0
    assert "ICU transfer or death within 48 h" in (reports / "audit.html").read_text()


def test_an_alarm_is_exit_2_and_says_what_to_do(telltale: Callable[..., Any], aligned: Path) -> None:
    cohort = open_cohort(open_workspace(aligned).cohort(TASK))
    path = cohort.shard_folder(0) / "record.values.npy"
    values = np.load(path)
    values[:, 0] += 90 * (cohort.target == 1)
    np.save(path, values)
    ran = telltale("audit", "--task", aligned.parent / "task.yaml", "--workspace", aligned)
    assert (ran.code, ran.err) == (2, "")
    assert "alarm: single features, record: age: ask when and why this value is made" in ran.out


def test_a_word_may_be_given(telltale: Callable[..., Any], aligned: Path) -> None:
    where = ("audit", "--task", aligned.parent / "task.yaml", "--workspace", aligned)
    assert "no word of the outcome is in the notes" in telltale(*where).out
    assert "'worsening" in telltale(*where, "--word", "worsen*").out


def test_a_task_that_was_not_aligned_is_a_failure(telltale: Callable[..., Any], aligned: Path) -> None:
    ran = telltale("audit", "--task", "deterioration", "--workspace", aligned)
    assert ran.code == 1
    assert "run `telltale align` first" in ran.err


@pytest.mark.parametrize("word", ["died", "icu", "intubat*", "hospice"])
def test_the_domains_words_are_read(word: str) -> None:
    assert word in [each for words in outcome_words().values() for each in words]
