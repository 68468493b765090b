"""`telltale draft` on a workspace: a decoder for the champion, then drafts that all say what they are."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from ingest.align.report_texts import FILE, SCHEMA
from ingest.cohort import open_cohort
from ingest.workspace import open_workspace
from models.drafts.draft import NOTICE

TASK = "deterioration-small"
DECODER = {"width": 16, "layers": 1, "heads": 2, "epochs": 2, "beams": 2}


@pytest.fixture
def with_reports(aligned: Path) -> Path:
    """The aligned workspace, whose task asks for a report that every case has."""
    cohort = open_cohort(open_workspace(aligned).cohort(TASK))
    texts = [f"The lungs are {'opaque' if ill else 'clear'}. =1+1" for ill in cohort.target == 1]
    table = pa.table(
        [pa.array(cohort.index["case_id"], pa.string()), pa.array(texts, pa.large_string())], schema=SCHEMA
    )
    pq.write_table(table, cohort.shard_folder(0) / FILE)
    for path in (cohort.folder / "task.json", aligned.parent / "task.yaml"):
        task = yaml.safe_load(path.read_text())
        task["report"] = {"codes": ["REPORT"], "max_tokens": 16, "decoder": DECODER}
        path.write_text(json.dumps(task))
    return aligned


def test_a_decoder_is_trained_and_every_draft_is_marked(telltale: Callable[..., Any], with_reports: Path) -> None:
    where = ("--task", with_reports.parent / "task.yaml", "--workspace", with_reports)
    assert telltale("train", *where).code == 0
    without = telltale("draft", *where)
    assert without.code == 1
    assert "expected a decoder of drafts, found none; `telltale draft --train` makes one" in without.err
    ran = telltale("draft", *where, "--train")
    assert (ran.code, ran.err) == (0, "")
    for said in (NOTICE, "ROUGE-L", "the nearest training case's report", "100 drafts by v0001", "not say whether"):
        assert said in ran.out
    folder = open_workspace(with_reports).drafts(TASK)
    assert sorted(path.name for path in folder.iterdir()) == ["v0001.csv", "v0001.jsonl"]
    drafts = [json.loads(line) for line in (folder / "v0001.jsonl").read_text().splitlines()]
    assert len(drafts) == 100
    assert {(draft["draft"], draft["status"], draft["text"].splitlines()[0]) for draft in drafts} == {
        (True, "preliminary", NOTICE)
    }
    with (folder / "v0001.csv").open(newline="") as file:
        assert {row["text"].splitlines()[0] for row in csv.DictReader(file)} == {NOTICE}
    models = open_workspace(with_reports).models(TASK)
    assert (models / ".drafts" / "v0001" / "decoder.safetensors").is_file()
    assert not (models / ".runs" / "draft-v0001").exists()
    some = telltale("draft", *where, "--split", "test", "--beams", 1)
    cohort = open_cohort(open_workspace(with_reports).cohort(TASK))
    assert f"{len(cohort.rows('test'))} drafts by v0001" in some.out


def test_a_task_without_a_report_is_told_what_to_add(telltale: Callable[..., Any], aligned: Path) -> None:
    where = ("--task", aligned.parent / "task.yaml", "--workspace", aligned)
    assert telltale("train", *where).code == 0
    ran = telltale("draft", *where, "--train")
    assert ran.code == 1
    assert "expected a report that is to be drafted, got none" in ran.err


def test_nothing_switches_the_notice_off(telltale: Callable[..., Any]) -> None:
    options = telltale("draft", "--help").out
    assert "--train" in options
    for word in ("notice", "mark", "final", "reviewed "):
        assert f"--{word}" not in options
        assert f"--no-{word}" not in options
