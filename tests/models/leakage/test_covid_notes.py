"""Real notes that were written after the outcome: the audit finds the words that tell it."""

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import yaml

from ingest.cohort import open_cohort
from ingest.workspace import open_workspace
from models.leakage.finding import Audit
from serve.commands.align import run_align
from serve.commands.audit import run_audit
from serve.commands.ingest import run_ingest

ROOT = Path(__file__).parents[3]
DATA = Path("/work/shared/data/covid-cxr")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA}: the covid-chestxray-dataset is not here"),
]


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Audit]:
    """The built-in task, and the same with its notes as they were written."""
    folder = tmp_path_factory.mktemp("covid")
    raw = yaml.safe_load((ROOT / "clinical" / "tasks" / "covid-icu.yaml").read_text())
    del raw["streams"]["notes"]["redact"]
    (folder / "plain.yaml").write_text(yaml.safe_dump({**raw, "name": "covid-icu-plain"}))
    workspace = folder / "workspace"
    found = {}
    with redirect_stdout(io.StringIO()):
        run_ingest([DATA], workspace, mapping="covid-cxr", secret=b"the same split every time")
        for task in ("covid-icu", str(folder / "plain.yaml")):
            run_align(workspace, task)
            result = run_audit(workspace, task, words=[])
            found[result.task] = result
    assert len(open_cohort(open_workspace(workspace).cohort("covid-icu-plain"))) > 100
    return found


def test_the_words_that_tell_the_outcome_are_found_in_notes_as_they_were_written(audited: dict[str, Audit]) -> None:
    alarms = {finding.check: finding for finding in audited["covid-icu-plain"].of("alarm")}
    assert "words of the outcome" in alarms
    assert re.search(r"\b(icu|intensive|intubat\w+|ventilat\w+)\b", alarms["words of the outcome"].figure)


def test_after_redaction_none_is_left(audited: dict[str, Audit]) -> None:
    of_words = [f for f in audited["covid-icu"].findings if f.check in ("words of the outcome", "words in notes")]
    assert {finding.verdict for finding in of_words} <= {"fine", "look"}
    assert audited["covid-icu"].counts["alarm"] == 0
