"""`telltale trace` and `telltale stale` on a cohort that is there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from ingest.cohort import open_cohort
from ingest.delivery.shown_names import mask
from ingest.identity.register import Claim, IdentityRegister
from ingest.workspace import open_workspace

TASK = "deterioration-small"


def test_a_case_is_traced_by_its_name_or_its_subject(telltale: Callable[..., Any], aligned: Path) -> None:
    cohort = open_cohort(open_workspace(aligned).cohort(TASK))
    case = cohort.index.iloc[0]
    where = ("trace", "--task", aligned.parent / "task.yaml", "--workspace", aligned, "--stream", "vitals")
    ran = telltale(*where, "--subject", case["case_id"])
    assert ran.code == 0, ran.err
    assert f"case {case['case_id']}, stream vitals:" in ran.out
    for word in ("heart rate", "/min", "vitals.ndjson"):
        assert word in ran.out
    by_case, by_subject = (
        json.loads(telltale(*where, "--subject", who, "--json", "--feature", "heart rate", "--element", 0).out)
        for who in (case["case_id"], case["subject_id"])
    )
    assert by_case == by_subject
    (element,) = by_case[0]["elements"]
    assert element["feature"] == "heart rate"
    assert element["sources"][0]["record"] == f"vitals-{int(case['vitals_row'])}"
    seen, every = (
        json.loads(telltale(*where, "--subject", case["case_id"], "--json", *more).out) for more in ((), ("--absent",))
    )
    assert len(every[0]["elements"]) == 12 * 3 > len(seen[0]["elements"])


def test_a_path_that_bears_an_identifier_is_masked(telltale: Callable[..., Any], aligned: Path) -> None:
    """FAULTS 37"""
    workspace = open_workspace(aligned)
    register = IdentityRegister(workspace.identities)
    register.register([("ward", "2019")], Claim())
    register.save()
    cohort = open_cohort(workspace.cohort(TASK))
    path = cohort.shard_folder(0) / "vitals.source.parquet"
    sources = pd.read_parquet(path)
    sources["source_file"], sources["asset"] = "ward/2019/labs.csv@0123456789ab", "/data/2019/Archer_Ann.wav"
    sources.to_parquet(path)
    where = ("trace", "--task", aligned.parent / "task.yaml", "--workspace", aligned, "--stream", "vitals")
    ran = telltale(*where, "--subject", cohort.index["case_id"].iloc[0], "--json")
    (source,) = json.loads(ran.out)[0]["elements"][0]["sources"]
    assert source["file"] == f"ward/{mask('2019')}/labs.csv@0123456789ab"
    assert source["asset"] == f"/data/{mask('2019')}/{mask('Archer_Ann.wav')}"
    assert mask("2019") in telltale(*where, "--subject", cohort.index["case_id"].iloc[0]).out


def test_an_identifier_that_is_nobodys_is_not_repeated(telltale: Callable[..., Any], aligned: Path) -> None:
    where = ("trace", "--task", aligned.parent / "task.yaml", "--workspace", aligned, "--stream", "vitals")
    ran = telltale(*where, "--subject", "4711-SECRET", "--identifier")
    assert ran.code == 1
    assert (
        ran.err
        == "telltale: --identifier: expected a case or subject of the cohort of deterioration-small, got another\n"
    )
    assert "no such" not in telltale(*where, "--subject", "nobody").err
    assert "subject nobody: expected a case or subject" in telltale(*where, "--subject", "nobody").err


def test_scores_of_which_nothing_is_kept_are_not_called_stale(telltale: Callable[..., Any], aligned: Path) -> None:
    workspace = open_workspace(aligned)
    cohort = open_cohort(workspace.cohort(TASK))
    workspace.scores(TASK).mkdir(parents=True)
    pd.DataFrame({"case_id": cohort.index["case_id"]}).to_parquet(workspace.scores(TASK) / "v0001.parquet")
    words = ("stale", "--task", aligned.parent / "task.yaml", "--workspace", aligned)
    assert telltale(*words).out == "0 cases of the cohort and 0 scores no longer stand\n"
    assert "version v0002: expected one that has scored (v0001)" in telltale(*words, "--version", "v0002").err
