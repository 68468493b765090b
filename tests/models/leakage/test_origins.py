"""Where data came from, and whether that tells the outcome."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ingest.catalogue import SCHEMA
from ingest.cohort import Cohort
from models.leakage.finding import Finding
from models.leakage.origins import RatePerOrigin, first_sources, origin_findings, origins_of, strongest
from models.leakage.scope import Scope, scope_of


def findings(cohort: Cohort, groups: dict[int, str] | None = None, catalogue: pa.Table | None = None) -> list[Finding]:
    scope = scope_of(cohort, 0)
    return origin_findings(scope, origins_of(scope, groups or {}, catalogue))


def filed(garden: Any, where: Callable[[int, bool], str], n: int = 160) -> Cohort:
    """A cohort whose images lie where their number and outcome say."""
    planted = garden(n)
    cohort = planted.cohort
    outcome = dict(zip(cohort.index["xray_row"], cohort.target == 1, strict=True))
    planted.change_table(
        "xray.source",
        lambda sources: sources.assign(
            asset=pd.array([where(int(row), bool(outcome[row])) for row in sources["row"]], dtype="str")
        ),
    )
    opened: Cohort = planted.cohort
    return opened


@pytest.mark.parametrize(
    ("where", "what"),
    [
        (lambda row, event: f"/data/{'sick' if event else 'well'}/{row}.png", "folder of the file"),
        (lambda row, event: f"/data/{'sick' if event else 'well'}/{row}/1.png", "folder above that"),
        (lambda row, event: f"/data/{'covid' if event else 'normal'}-{row}.png", "form of the file's name"),
        (lambda row, event: f"/data/{row}.{'jpg' if event else 'png'}", "form of the file's name"),
    ],
)
def test_files_kept_apart_by_outcome_are_an_alarm(garden: Any, where: Any, what: str) -> None:
    found = [finding for finding in findings(filed(garden, where)) if finding.verdict == "alarm"]
    assert (found[0].where, found[0].figure.split(",")[0]) == ("xray", what)
    assert "`group_by`" in found[0].step


def test_a_delivery_of_its_own_for_each_outcome_is_an_alarm(garden: Any) -> None:
    planted = garden()
    outcome = planted.cohort.target == 1  # every case has a record, so that its rows are the cases
    files = pd.array(np.where(outcome, "dead.csv@0123456789ab", "alive.csv@ba9876543210"), dtype="str")
    planted.change_table("record.source", lambda sources: sources.assign(source_file=files))
    found = findings(planted.cohort)
    assert ("record", "alarm") in [(f.where, f.verdict) for f in found if f.figure.startswith("source file")]
    assert "dead" not in str(found)  # a path may bear a name


def test_a_hospital_that_has_most_of_the_outcomes_is_found(synthetic_cohort: Callable[..., Cohort]) -> None:
    cohort = synthetic_cohort(n=300)
    rng = np.random.default_rng(0)
    of = {
        int(subject): "referral centre" if (rng.random() < (0.95 if event else 0.05)) else "clinic"
        for subject, event in zip(cohort.index["subject_id"], cohort.target == 1, strict=True)
    }
    told = [finding for finding in findings(cohort, of) if finding.where == "cohort"]
    assert [finding.verdict for finding in told] == ["alarm"]
    alike = {subject: str(subject % 3) for subject in of}
    assert [finding.verdict for finding in findings(cohort, alike) if finding.where == "cohort"] == ["fine"]


def test_what_the_catalogue_knows_is_asked(garden: Any) -> None:
    cohort = filed(garden, lambda row, event: f"/data/{row}.dcm")
    outcome = dict(zip(cohort.index["xray_row"], cohort.target == 1, strict=True))
    facts = [
        {"asset_sha256": f"{row}", "asset": f"/data/{row}.dcm", "kind": "image", "columns": 1000,
         "rows": 2000 if outcome[row] else 1024, "photometric": f"MONOCHROME{1 + row % 2}"}
        for row in range((cohort.index["xray_row"] >= 0).sum())
    ]  # fmt: skip
    found = findings(cohort, catalogue=pa.Table.from_pylist(facts, SCHEMA))
    told = [(finding.figure.split(",")[0], finding.verdict) for finding in found]
    assert told == [("photometric", "fine"), ("size in pixels", "alarm")]
    assert findings(cohort) == []


def test_a_rate_is_that_of_the_other_folds_drawn_to_the_whole() -> None:
    columns = np.repeat(np.eye(2), (8, 2), axis=0)
    target = np.array([1] * 6 + [0] * 2 + [0, 0])
    fitted = RatePerOrigin().fit(columns, target)
    said = fitted.predict_proba(np.array([[1.0, 0], [0, 1], [0, 0]]))[:, 1]
    np.testing.assert_allclose(said, [(6 + 0.6) / 9, 0.6 / 3, 0.6])


def test_origins_that_part_the_cases_alike_are_asked_once(garden: Any) -> None:
    cohort = filed(garden, lambda row, event: f"/data/{'left' if row % 2 else 'right'}/image-{row % 2}.png")
    scope = scope_of(cohort, 0)
    found = origins_of(scope, {}, None)
    assert [(origin.where, origin.what) for origin in found] == [("xray", "folder of the file")]
    assert set(found[0].kinds) == {"", "/data/left", "/data/right"}


def test_the_most_telling_origin_comes_first(synthetic_cohort: Callable[..., Cohort]) -> None:
    from models.leakage.origins import Origin

    scope = scope_of(synthetic_cohort(n=160), 0)
    telling = Origin("cohort", "telling", np.where(scope.target == 1, "a", "b"))
    idle = Origin("cohort", "idle", np.where(np.arange(len(scope.rows)) % 2, "a", "b"))
    assert [origin.what for origin in strongest(scope, [idle, telling])] == ["telling", "idle"]


def test_a_source_is_that_of_the_case(synthetic_cohort: Callable[..., Cohort]) -> None:
    cohort = synthetic_cohort(n=100, shards=2)
    found = first_sources(cohort, cohort.rows(), "xray")
    by_case = cohort.sources("xray").groupby("case_id")["asset"].first()
    expected = [by_case.get(case, "") for case in cohort.index["case_id"]]
    assert found["asset"].tolist() == expected


def test_honest_origins_raise_no_alarm(synthetic_cohort: Callable[..., Cohort]) -> None:
    for seed in range(3):
        scope: Scope = scope_of(synthetic_cohort(n=240, seed=seed), seed)
        assert {f.verdict for f in origin_findings(scope, origins_of(scope, {}, None))} <= {"fine"}
