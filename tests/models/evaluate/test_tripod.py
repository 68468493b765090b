"""The TRIPOD+AI checklist has every item, says what is known as it is, and that the rest is not reported."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ingest.cohort import Cohort, open_cohort
from ingest.errors import TelltaleError
from models.assess import assess
from models.evaluate import Evaluation
from models.evaluate.characteristics import characteristics, count_of
from models.evaluate.tripod import ITEMS, tripod_report
from models.evaluate.tripod_facts import escaped
from models.training.train import TrainingOutcome

PARTS = {3: "abc", 5: "ab", 6: "abc", 8: "abc", 9: "abc", 12: "abcdefg", 18: "abcdef", 20: "abc", 23: "ab", 27: "abc"}
NUMBERS = [f"{item}{part}" for item in range(1, 28) for part in PARTS.get(item, [""])]
NOBODY_WROTE = ["3a", "3c", "6a", "6c", "8b", "8c", "9a", "9c", "17", "18a", "18b", "18c", "18d", "18e", "19"]


@pytest.fixture(scope="module")
def cohort(synthetic_cohort: Callable[..., Cohort]) -> Cohort:
    return synthetic_cohort(n=160)


@pytest.fixture(scope="module")
def training(outcome: TrainingOutcome) -> dict[str, object]:
    return {
        "cases": dict(outcome.cases), "events": dict(outcome.events), "seed": 1, "parent": None, "note": "",
        "history": [vars(epoch) for epoch in outcome.history],
    }  # fmt: skip


@pytest.fixture(scope="module")
def evaluation(outcome: TrainingOutcome, cohort: Cohort) -> Evaluation:
    return assess(outcome.predictor, cohort, baseline=False)


def items(text: str) -> dict[str, str]:
    """number -> what is said under it."""
    found = re.split(r"^\*\*(\d+[a-g]?)\. [^*]+\.\*\* ", re.sub(r"^## .*$", "", text, flags=re.MULTILINE), flags=re.M)
    return {number: said.strip() for number, said in zip(found[1::2], found[2::2], strict=True)}


def test_every_item_of_the_checklist_is_there_once_and_in_order() -> None:
    assert [number for _, number, _, _ in ITEMS] == NUMBERS
    assert len({number.rstrip("abcdefg") for number in NUMBERS}) == 27


def test_what_no_file_knows_is_not_reported_and_the_rest_is_filled(
    outcome: TrainingOutcome, cohort: Cohort, training: dict[str, object], evaluation: Evaluation
) -> None:
    said = items(tripod_report(outcome.predictor, cohort, training, evaluation))
    assert list(said) == NUMBERS
    empty = [number for number, text in said.items() if text == "*not reported*"]
    # 20a: the cohort of this test has no account of an alignment
    assert empty == sorted([*NOBODY_WROTE, "20a", "27b", "27c"], key=NUMBERS.index)
    assert f"{52 - len(empty)} of 52 items are filled" in tripod_report(outcome.predictor, cohort, training, evaluation)


def test_numbers_are_those_of_training_cohort_and_evaluation(
    outcome: TrainingOutcome, cohort: Cohort, training: dict[str, object], evaluation: Evaluation
) -> None:
    said = items(tripod_report(outcome.predictor, cohort, training, evaluation))
    auroc = evaluation.model("fused").metrics["auroc"]
    assert f"{auroc.value:.3f} ({auroc.low:.3f} to {auroc.high:.3f})" in said["23a"]
    assert f"| test | {evaluation.n} | {evaluation.events} |" in said["21"]
    assert f"| train | {outcome.cases['train']} | {outcome.events['train']} |" in said["21"]
    assert "MEDS\\_DEATH within 48 h" in said["8a"]
    assert "60% to fit the model, 15% to stop and calibrate it, 25% to evaluate it" in said["12a"]
    absent = (~cohort.present[cohort.rows("train"), cohort.stream_names.index("notes")]).sum()
    assert f"| notes | {absent} (" in said["11"]
    assert "age, sex, streams present" in said["14"]
    for result in evaluation.subgroups:
        if result.grouping in ("age", "sex"):
            assert f"| {result.grouping}: {result.group} | {result.n} | {result.events} |" in said["23a"]
    assert f"hold {evaluation.events} events" in said["26"]
    assert "2024-01 to 2024-01" in said["5b"]


def test_without_an_evaluation_its_items_are_not_reported(
    outcome: TrainingOutcome, cohort: Cohort, training: dict[str, object]
) -> None:
    said = items(tripod_report(outcome.predictor, cohort, training, None))
    for number in ("2", "12e", "14", "23a", "23b", "25"):
        assert said[number] == "*not reported*"
    assert said["1"].startswith("Development of a multimodal")


def test_the_account_of_the_alignment_becomes_the_flow_of_participants(
    outcome: TrainingOutcome, cohort: Cohort, training: dict[str, object], tmp_path: Path
) -> None:
    report = {
        "subjects": 1200, "subjects_without_index": 3, "candidates": 1197, "excluded": {"in <the> ICU | before": 37},
        "cases": 1160, "streams": {"labs": {"left_out": {"implausible": 12}}},
    }  # fmt: skip
    shutil.copytree(cohort.folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "report.json").write_text(json.dumps(report))
    said = items(tripod_report(outcome.predictor, open_cohort(tmp_path), training, None))
    for line in ("| subjects | 1,200 |", "| excluded: in &lt;the&gt; ICU \\| before | 37 |", "| cases | 1,160 |"):
        assert line in said["20a"]
    assert "| labs | implausible | 12 |" in said["7"]
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(TelltaleError, match=r"report\.json: expected JSON, got .*align the cohort anew"):
        tripod_report(outcome.predictor, open_cohort(tmp_path), training, None)


def test_characteristics_are_medians_and_counts_by_split(cohort: Cohort) -> None:
    table = {line.name: line.values for line in characteristics(cohort)}
    rows = [cohort.rows(split) for split in ("train", "validation", "test")]
    assert table["cases"] == tuple(str(len(r)) for r in rows)
    stream = [cohort.batch(r, ["record"]).streams["record"] for r in rows]
    for place, s in enumerate(stream):
        age, sex = s.values[:, 0].numpy(), s.values[:, 1].numpy()[s.observed[:, 1].numpy()]
        low, middle, high = np.percentile(age, [25, 50, 75])
        assert table["age (a)"][place] == f"{middle:.3g} ({low:.3g} to {high:.3g})"
        assert table["sex: male"][place] == f"{int((sex == 1).sum())} ({100 * (sex == 1).mean():.0f} %)"
    events = [cohort.target[r].sum() for r in rows]
    assert [value.split()[0] for value in table["with the risk event"]] == [str(int(e)) for e in events]


def test_a_count_of_few_people_is_not_told() -> None:
    assert count_of(np.arange(40) < 4) == "< 5"
    assert count_of(np.arange(40) < 5) == "5 (12 %)"
    assert count_of(np.zeros(3, bool)) == "0 (0 %)"
    assert count_of(np.zeros(0, bool)) == "0"


def test_a_text_of_a_source_cannot_make_a_table_a_tag_or_a_line() -> None:
    assert escaped("a | b\n# <b>*x*</b> `y`") == "a \\| b \\# &lt;b&gt;\\*x\\*&lt;/b&gt; \\`y\\`"


def test_unknown_outcomes_are_counted_apart(cohort: Cohort) -> None:
    index: pd.DataFrame = cohort.index.assign(target=cohort.index["target"].where(np.arange(160) > 2))
    table = {line.name: line.values for line in characteristics(replace(cohort, index=index))}
    assert (
        sum(int(found.group(1)) for v in table["with the risk event"] if (found := re.search(r"(\d+) unknown", v))) == 3
    )
