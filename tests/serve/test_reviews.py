"""Reviews are kept as they were given, by task and case, and never changed."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ingest.errors import InputError
from serve.reviews import Review, add_review, reviews


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "app.db"


def review(database: Path, **other: Any) -> Review:
    given = {
        "task": "t",
        "case_id": "7-0",
        "model_version": "v0001",
        "reviewer": "Dr A",
        "verdict": "agree",
        "risk": 0.3,
    }
    return add_review(database, **{**given, **other})


def test_what_was_given_comes_back_oldest_first(database: Path) -> None:
    first = review(database, comment="  as I thought \n")
    second = review(database, verdict="override", own_risk=0.8, reviewer="Dr B")
    assert reviews(database, "t") == [first, second]
    assert (first.comment, first.own_risk, second.own_risk) == ("as I thought", None, 0.8)
    assert first.reviewed_at.endswith("+00:00")


def test_tasks_and_cases_do_not_mix(database: Path) -> None:
    mine = review(database, case_id="8-0")
    review(database, case_id="8-1")
    review(database, task="other", case_id="8-0")
    assert reviews(database, "t", "8-0") == [mine]
    assert len(reviews(database, "t")) == 2


def test_before_the_first_review_there_is_none_and_no_database(database: Path) -> None:
    assert reviews(database, "t") == []
    assert not database.exists()


def test_an_override_says_why_or_what_instead(database: Path) -> None:
    for comment in ("", "  \n"):
        with pytest.raises(InputError, match="7-0, comment: expected a reason or a risk of your own, got neither"):
            review(database, verdict="override", comment=comment)
    review(database, verdict="override", comment="artefact")
    assert len(reviews(database, "t")) == 1


@pytest.mark.parametrize("risk", [-0.01, 1.01, float("nan")])
def test_a_risk_of_ones_own_is_from_0_to_1(database: Path, risk: float) -> None:
    with pytest.raises(InputError, match="own_risk: expected a risk from 0 to 1, got"):
        review(database, verdict="override", own_risk=risk)
    assert reviews(database, "t") == []


def test_no_other_verdict_is_kept(database: Path) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        review(database, verdict="maybe")
    assert reviews(database, "t") == []


def test_text_is_kept_as_text(database: Path) -> None:
    hostile = "'); DROP TABLE reviews; -- <img src=x onerror=alert(1)>"
    review(database, comment=hostile, reviewer=hostile)
    assert [(r.comment, r.reviewer) for r in reviews(database, "t")] == [(hostile, hostile)]


def test_eight_reviewers_at_once_lose_nothing(database: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: review(database, case_id=str(i)), range(40)))
    assert {r.case_id for r in reviews(database, "t")} == {str(i) for i in range(40)}
