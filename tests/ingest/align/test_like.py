"""Another hospital's observations take the form of a model that exists, whatever they hold and lack."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ingest.align.like import align_like
from ingest.align.refit import groups_of
from ingest.align.source import TableSource
from ingest.cohort import Cohort, open_cohort
from ingest.errors import TaskError
from ingest.task import Task

SITE, NOTE = "SITE", "NOTE"


@pytest.fixture
def streams(pulse: dict[str, Any]) -> dict[str, Any]:
    sex = {"name": "sex", "codes": ["GENDER"], "levels": ["female", "male"]}
    site = {"name": "site", "codes": [SITE], "levels": "auto"}
    notes = {"kind": "text", "codes": [NOTE], "max_tokens": 8}
    return {"record": {"kind": "table", "features": [sex, site]}, "pulse": pulse, "notes": notes}


@pytest.fixture
def home(
    streams: dict[str, Any], task_of: Callable[..., Task], people: Callable[..., list[Any]], aligned: Callable[..., Any]
) -> Cohort:
    """The cohort that a model was trained on: sites arm and leg, a note for each."""
    rows = people(30)
    for subject in range(1, 31):
        rows.append({"subject": subject, "code": SITE, "hours": 1, "text_value": "arm" if subject % 4 else "leg"})
        rows.append({"subject": subject, "code": NOTE, "hours": 2, "text_value": "stable today"})
    _, cohort = aligned(rows, task_of(streams))
    assert isinstance(cohort, Cohort)
    return cohort


def test_levels_and_statistics_are_the_models_and_every_case_is_a_test_case(
    home: Cohort, people: Callable[..., list[Any]], table_of: Callable[..., pa.Table], tmp_path: Path
) -> None:
    rows = people(12)  # without any note at all: a stream that the other hospital does not have
    sites = ["leg", "neck", "arm"]
    rows += [{"subject": s, "code": SITE, "hours": 1, "text_value": sites[s % 3]} for s in range(1, 13)]
    report = align_like(table_of(rows), home.task, home.statistics, tmp_path / "away")
    away = open_cohort(tmp_path / "away")
    assert away.statistics == home.statistics
    assert set(away.index["split"]) == {"test"}
    assert (report.cases, len(away)) == (12, 12)
    assert home.statistics.streams["record"].levels["site"] == ("arm", "leg")
    batch = away.batch(away.rows())
    site = batch.streams["record"]
    expected = {"arm": 0.0, "leg": 1.0}
    for row, subject in enumerate(batch.subject_ids):
        text = sites[subject % 3]
        assert bool(site.observed[row, 1]) == (text != "neck")
        assert float(site.values[row, 1]) == expected.get(text, 0.0)
    assert report.streams["record"].left_out["unknown level"] == 4
    assert not away.present[:, away.stream_names.index("notes")].any()
    assert away.present[:, away.stream_names.index("pulse")].all()
    np.testing.assert_array_equal(away.target, batch.subject_ids % 2)


def test_observations_that_give_no_case_are_refused_with_the_counts(
    home: Cohort, people: Callable[..., list[Any]], table_of: Callable[..., pa.Table], tmp_path: Path
) -> None:
    rows = [row for row in people(5) if row["code"] != "ADMISSION"]
    with pytest.raises(
        TaskError, match=r"expected cases in these observations, got none of 5 subjects \(0 candidates\)"
    ):
        align_like(table_of(rows), home.task, home.statistics, tmp_path / "away")
    assert not (tmp_path / "away").exists()


def test_groups_are_the_earliest_that_is_stated_and_else_the_subject(
    people: Callable[..., list[Any]],
    table_of: Callable[..., pa.Table],
    task_of: Callable[..., Task],
    pulse: dict[str, Any],
    aligned: Callable[..., Any],
) -> None:
    rows = people(30)
    for subject in range(1, 29):
        rows.append({"subject": subject, "code": "WARD", "hours": 1, "text_value": f"W{subject % 4}"})
        rows.append({"subject": subject, "code": "WARD", "hours": 9, "text_value": "later"})
    _, cohort = aligned(rows, task_of({"pulse": pulse}, split={"group_by": "WARD", "seed": 3}))
    groups = groups_of(cohort, TableSource(table_of(rows)))
    for subject, group in zip(cohort.index["subject_id"], groups, strict=True):
        assert group == (f"group W{subject % 4}" if subject < 29 else f"subject {subject}")
