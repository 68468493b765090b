"""What no longer stands is found: by digest, by retired record, by who is whom."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest.align.build import align
from ingest.cohort import Cohort, open_cohort
from ingest.errors import TelltaleError
from ingest.identity.merges import subject_aliases
from ingest.run import ingest
from ingest.stale import MERGED, SUPERSEDED, changed_cases, stale_cases, stale_scores, superseded
from ingest.store import Observations
from ingest.task import parse_task
from ingest.workspace import Workspace

TASK = {
    "name": "stale",
    "title": "Stale",
    "index": {"event": "LOINC//8867-4", "which": "each"},
    "target": {"events": ["ENCOUNTER//IMP//START"], "horizon_hours": 48},
    "streams": {"pulse": {"kind": "series", "channels": [{"name": "pulse", "codes": ["LOINC//8867-4"]}]}},
    "split": {"train": 0.999998, "validation": 1e-6, "test": 1e-6},
}


@pytest.fixture
def ward(
    workspace: Workspace, delivery: Path, write_lines: Any, patient: Any, observation: Any
) -> Callable[..., dict[str, str]]:
    """Six patients with two heart rates each, half of whom are admitted; aligned; gives patient -> subject."""
    people = [patient(str(n), family=f"F{n}") for n in range(1, 7)]
    pulses = [
        observation(f"o{n}{hour}", f"p{n}", 70.0 + n, effectiveDateTime=f"2026-03-01T1{hour}:00:00Z", issued=None)
        for n in range(1, 7)
        for hour in (0, 1)
    ]
    stays = [
        {"resourceType": "Encounter", "id": f"e{n}", "status": "in-progress", "class": {"code": "IMP"},
         "subject": {"reference": f"Patient/p{n}"}, "period": {"start": "2026-03-02T09:00:00Z"}}
        for n in (1, 3, 5)
    ]  # fmt: skip
    resources = [{k: v for k, v in each.items() if v is not None} for each in (*people, *pulses, *stays)]
    write_lines(delivery / "all.ndjson", resources)
    ingest(workspace, [delivery])
    return lambda: aligned(workspace)


def aligned(workspace: Workspace) -> Cohort:
    merged = subject_aliases(workspace.identities)
    align(Observations(workspace), parse_task(TASK, "test"), workspace.cohort("stale"), merged=merged)
    return open_cohort(workspace.cohort("stale"))


def scores_of(cohort: Cohort) -> pd.DataFrame:
    return cohort.index[["case_id", "inputs"]].copy()


def test_a_cohort_is_fresh_until_a_record_of_it_is_corrected(
    ward: Any, workspace: Workspace, tmp_path: Path, write_lines: Any, observation: Any
) -> None:
    """FAULTS 14, told of the cases that rest on the record and of no other."""
    cohort = ward()
    scores = scores_of(cohort)
    assert stale_cases(workspace, "stale") == {}
    assert stale_scores(workspace, "stale", scores) == {}
    later = observation("o20", "p2", 99.0, status="corrected", effectiveDateTime="2026-03-01T10:00:00Z")
    later = {**later, "issued": "2026-03-03T00:00:00Z", "meta": {"lastUpdated": "2026-03-03T00:00:00Z"}}
    write_lines(tmp_path / "second" / "more.ndjson", [{**later, "issued": "2026-03-01T10:00:00Z"}])
    ingest(workspace, [tmp_path / "second"])
    stale = stale_cases(workspace, "stale")
    mine = cohort.index[cohort.index["case_id"].isin(list(stale))]
    assert len(stale) == 2, "both cases of the patient saw the first heart rate"
    assert mine["subject_id"].nunique() == 1
    assert all(why.startswith("rests on delivery/all.ndjson@") and "corrected since" in why for why in stale.values())
    assert stale_scores(workspace, "stale", scores) == stale
    assert set(changed_cases(workspace, "stale")) == set(stale)
    after = aligned(workspace)
    assert stale_cases(workspace, "stale") == {}
    assert stale_scores(workspace, "stale", scores) == dict.fromkeys(stale, SUPERSEDED)
    assert stale_scores(workspace, "stale", scores_of(after)) == {}


def test_a_merge_of_subjects_makes_their_cases_stale_and_so_does_parting_them(ward: Any, workspace: Workspace) -> None:
    """FAULTS 7."""
    cohort = ward()
    one, other, *rest = sorted(set(cohort.index["subject_id"]))
    pq.write_table(pa.table({"other": [other], "kept": [one]}), workspace.identities / "merges.parquet")
    stale = stale_cases(workspace, "stale")
    assert set(stale.values()) == {MERGED}
    assert set(cohort.index.set_index("case_id")["subject_id"][list(stale)]) == {one, other}
    merged = aligned(workspace)
    assert set(merged.index["subject_id"]) == {one, *rest}
    assert stale_cases(workspace, "stale") == {}
    (workspace.identities / "merges.parquet").unlink()
    stale = stale_cases(workspace, "stale")
    assert set(merged.index.set_index("case_id")["subject_id"][list(stale)]) == {one}


def test_digests_say_which_scores_rest_on_what_is_no_more(ward: Any) -> None:
    cohort = ward()
    scores = scores_of(cohort)
    scores.loc[0, "inputs"] = "something else"
    scores.loc[1, "inputs"] = ""
    scores = pd.concat([scores, pd.DataFrame({"case_id": ["gone"], "inputs": ["x"]})], ignore_index=True)
    found = superseded(scores, cohort)
    assert found.tolist()[:3] == [True, pd.NA, False]
    assert found.tolist()[-1] is True
    assert superseded(scores[["case_id"]], cohort).isna().all(), "unknown, not fine"
    old = replace(cohort, index=cohort.index.drop(columns="inputs"))
    assert superseded(scores, old).isna().all()


def test_a_cohort_without_digests_cannot_be_compared_and_says_so(
    workspace: Workspace, synthetic_cohort: Callable[..., Cohort]
) -> None:
    import shutil

    folder = synthetic_cohort(20, 1).folder
    shutil.copytree(folder, workspace.cohort("deterioration-small"))
    assert stale_cases(workspace, "deterioration-small") == {}
    with pytest.raises(TelltaleError):
        changed_cases(workspace, "deterioration-small")
