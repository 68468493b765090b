"""Drafts beside what costs nothing: word counts, the nearest case, one text for all. And the files of drafts."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from ingest.cohort import Cohort
from ingest.errors import TaskError
from models.drafts.cases import rows_with_reports
from models.drafts.draft import NOTICE
from models.drafts.evaluate import evaluate_drafter, mean_difference, nearest, unigram_perplexity
from models.drafts.measures import bleu, rouge_l, words_of
from models.drafts.train import DraftTraining
from models.drafts.write import COLUMNS, write_drafts
from models.training.train import TrainingOutcome


def test_the_evaluation_is_that_of_the_texts(
    training: DraftTraining, outcome: TrainingOutcome, reported: Cohort, tmp_path: Path
) -> None:
    drafter = training.drafter
    found = evaluate_drafter(outcome.predictor, drafter, reported)
    rows, texts = rows_with_reports(reported, "test")
    assert (found.split, found.reports) == ("test", len(rows))
    files = write_drafts(outcome.predictor, drafter, reported, tmp_path, rows=rows)
    drafts = [json.loads(line) for line in files.jsonl.read_text().splitlines()]
    said = [words_of(drafter.vocabulary.write(drafter.vocabulary.encode(plain(draft["text"])))) for draft in drafts]
    references = [words_of(text) for text in texts]
    assert found.rouge_l["draft"] == pytest.approx(
        np.mean([rouge_l(*pair) for pair in zip(said, references, strict=True)])
    )
    assert found.bleu_4["draft"] == pytest.approx(bleu(said, references))
    mean, low, high = found.difference
    assert mean == pytest.approx(found.rouge_l["draft"] - found.rouge_l["nearest"])
    assert low <= mean <= high
    assert found.perplexity["decoder"] > 1
    assert found.unknown == 0
    assert json.loads(json.dumps(found.to_json()))["rouge_l"] == dict(found.rouge_l)


def plain(text: str) -> str:
    notice, _, body = text.partition("\n")
    assert notice == NOTICE
    return body.replace("(?)", "").replace(" [cut]", "")


def test_a_split_without_reports_is_refused(
    training: DraftTraining, outcome: TrainingOutcome, reported: Cohort
) -> None:
    from dataclasses import replace

    empty = replace(reported, index=reported.index.assign(split="train"))
    with pytest.raises(TaskError, match="expected reports in the test split, got none"):
        evaluate_drafter(outcome.predictor, training.drafter, empty)


def test_the_unigram_perplexity_by_hand() -> None:
    training = np.array([[4, 4, 3, 0], [5, 3, 0, 0]])  # 4 twice, 5 once, the end twice; 6 words that count, each plus 1
    words = np.array([[4, 3, 0], [6, 3, 0]])
    chances = [3 / 11, 3 / 11, 1 / 11, 3 / 11]  # 5 counted + 6 added, of <unk>, <bos>, <eos>, 4, 5, 6
    expected = math.exp(-sum(map(math.log, chances)) / 4)
    assert unigram_perplexity(training, words, 7) == pytest.approx(expected)


def test_a_uniform_text_has_the_perplexity_of_its_words() -> None:
    words = np.arange(1, 9)[None]
    assert unigram_perplexity(words, words, 9) == pytest.approx(8)


def test_the_nearest_is_so_in_the_spread_of_each_dimension() -> None:
    among = np.array([[0.0, 0.0, 7.0], [1.0, 1000.0, 7.0], [-1.0, -1000.0, 7.0], [4.0, 0.0, 7.0]])
    cases = np.array([[0.1, 900.0, 3.0], [3.9, 90.0, 3.0]])
    assert nearest(cases, among).tolist() == [1, 3]
    rng = np.random.default_rng(0)
    cases, among = rng.normal(size=(20, 5)), rng.normal(size=(40, 5)) * [1, 5, 0.1, 1, 1]
    scaled = (cases[:, None] - among[None]) / among.std(0)
    assert nearest(cases, among).tolist() == np.linalg.norm(scaled, axis=2).argmin(1).tolist()


def test_the_interval_of_a_mean_is_that_of_a_normal_where_there_are_many_subjects() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0.3, 1, 900)
    mean, low, high = mean_difference(values, np.arange(900), 0)
    error = values.std(ddof=1) / 30
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((mean - 1.96 * error, mean + 1.96 * error), abs=0.15 * error)
    _, apart_low, apart_high = mean_difference(np.repeat(values[:90], 10), np.repeat(np.arange(90), 10), 0)
    assert apart_high - apart_low > 2.5 * (high - low), "ten cases of one subject are not ten subjects"


def test_every_written_draft_is_marked_and_no_cell_is_a_formula(
    training: DraftTraining, outcome: TrainingOutcome, reported: Cohort, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    files = write_drafts(outcome.predictor, training.drafter, reported, tmp_path, progress=lambda *at: told.append(at))
    assert told[-1] == (160, 160)
    assert files.cases == 160
    assert (files.jsonl.name, files.csv.name) == ("v0001.jsonl", "v0001.csv")
    drafts = [json.loads(line) for line in files.jsonl.read_text(encoding="utf-8").splitlines()]
    assert [draft["case_id"] for draft in drafts] == reported.index["case_id"].tolist()
    for draft in drafts:
        assert draft["draft"] is True
        assert draft["status"] == "preliminary"
        assert draft["text"].splitlines()[0] == NOTICE
        assert draft["model_version"] == "v0001"
        assert 0 < draft["probability"] <= 1
    with files.csv.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["case_id"] for row in rows] == [draft["case_id"] for draft in drafts]
    assert tuple(rows[0]) == COLUMNS
    assert {row["draft"] for row in rows} == {"True"}
    for row, draft in zip(rows, drafts, strict=True):
        assert row["text"] == draft["text"]
        assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row.values())


def test_no_cases_are_files_without_drafts(
    training: DraftTraining, outcome: TrainingOutcome, reported: Cohort, tmp_path: Path
) -> None:
    files = write_drafts(outcome.predictor, training.drafter, reported, tmp_path, rows=np.zeros(0, int))
    assert files.jsonl.read_text() == ""
    assert files.csv.read_text() == ",".join(COLUMNS) + "\n"
