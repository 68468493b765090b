"""Everything at once, as `make demo` does it, and then what people do with the result. Minutes, so: slow."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from explain.explanation import Explanation
from ingest.cohort import open_cohort
from ingest.store import read_observations
from ingest.workspace import open_workspace
from models import aliases, store

TASK = "deterioration"


@pytest.mark.slow
def test_a_demo_hospital_from_files_to_a_retrained_model(telltale_process: Callable[..., Any], tmp_path: Path) -> None:
    def run(*words: object) -> Any:
        ran = telltale_process(*words, cwd=tmp_path, timeout=1500)
        assert ran.code == 0, ran.err
        assert ran.err == ""
        return ran.out

    said = run("demo", "run", "small", "--patients", 120)
    where = ("--workspace", "small/workspace")
    workspace = open_workspace(tmp_path / "small" / "workspace")
    account = re.search(r"in ([\d,]+) = used ([\d,]+) \+ refused ([\d,]+) \+ skipped ([\d,]+); ([\d,]+) observations",
                        said)  # fmt: skip
    assert account is not None
    seen, used, refused, skipped, observations = (int(number.replace(",", "")) for number in account.groups())
    assert seen == used + refused + skipped
    assert refused == 0
    assert len(read_observations(workspace)) == observations
    cohort = open_cohort(workspace.cohort(TASK))
    scores = pd.read_parquet(workspace.scores(TASK) / "v0001.parquet")
    assert scores["case_id"].tolist() == cohort.index["case_id"].tolist()
    explained = sorted((workspace.explanations(TASK, "v0001")).glob("*.json"))
    assert len(explained) == len(cohort.rows("test"))
    assert "fused AUROC / best attainable AUROC" in said

    assert "v0001 (champion)" in run("models", "list", "--task", TASK, *where)
    card = run("models", "show", "v0001", "--task", TASK, *where)
    facts = store.read_facts(workspace.models(TASK) / "v0001")
    assert f"**Train split**: {facts['cases']['train']} cases, {facts['events']['train']} events" in card
    assert f"{len(cohort)} cases scored by v0001" in run("score", "--cohort", TASK, *where)
    case = scores["case_id"].iloc[0]
    assert "1 cases explained by stream" in run("explain", "--task", TASK, *where, "--case", case)
    explanation = Explanation.from_json(
        json.loads((workspace.explanations(TASK, "v0001") / f"{case}.json").read_text())
    )
    assert explanation.logit == pytest.approx(scores["logit"].iloc[0], abs=1e-3)

    run("demo", "make", "second", "--patients", 60, "--seed", 2)
    retrained = run("retrain", "--task", TASK, "--with", "second", *where, "--seed", 1)
    assert "On the same" in retrained
    for measure in ("auroc", "log_loss", "brier"):
        assert re.search(rf"^ *{measure} .* (not )?worse *$", retrained, re.MULTILINE), retrained
    verdict = re.search(r"^(not )?promoted: (v0002 is .*)$", retrained, re.MULTILINE)
    assert verdict is not None
    history = [change.version for change in aliases.history(workspace.database, TASK)]
    assert history == (["v0001"] if verdict[1] else ["v0001", "v0002"])
    challenger = store.read_facts(workspace.models(TASK) / "v0002")
    assert challenger["parent"] == "v0001"
    assert challenger["note"] == verdict[2]
    assert challenger["cases"]["train"] > facts["cases"]["train"]
    grown = open_cohort(workspace.cohort(TASK)).index.set_index("case_id")
    assert grown.loc[cohort.index["case_id"], "split"].tolist() == cohort.index["split"].tolist()
    assert len(read_observations(workspace)) > observations
