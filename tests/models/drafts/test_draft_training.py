"""Training: it learns what is to be learnt, goes on after a kill, and leaves the model as it is."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ingest.cohort import Cohort
from ingest.errors import TaskError
from ingest.task import Task
from models.drafts.cases import CaseTokens, encode_reports, rows_with_reports
from models.drafts.config import DraftConfig, draft_config
from models.drafts.decoder import before
from models.drafts.draft import Drafter
from models.drafts.train import DraftEpoch, DraftRun, DraftTraining, Reports, mean_loss, new_decoder, train_drafter
from models.drafts.vocabulary import END, PAD, UNKNOWN, fit_vocabulary
from models.training.train import TrainingOutcome

PLACES = ("heart", "left lung", "right lung", "liver", "spine")
SIGNS = ("is clear", "is opaque", "has a mass", "was not seen")
Reported = Callable[..., Cohort]


def state_of(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_it_overfits_twenty_reports(outcome: TrainingOutcome, synthetic_cohort: Reported) -> None:
    cohort = synthetic_cohort(n=160)
    texts = [f"The {PLACES[n % 5]} {SIGNS[n // 5]}. Compared with film {n}." for n in range(20)]
    config = DraftConfig(
        width=32, layers=2, heads=2, dropout=0, label_smoothing=0, hide_streams=0, least_reports=1, epochs=200,
        patience=200, batch_size=20, learning_rate=3e-3, weight_decay=0, warmup_epochs=5,
    )  # fmt: skip
    vocabulary = fit_vocabulary(texts, config.vocabulary)
    words = torch.from_numpy(encode_reports(vocabulary, texts, 24)[0])
    reports = Reports(CaseTokens(outcome.predictor, cohort, cohort.rows("train")[:20]), words)
    run = DraftRun(
        new_decoder(outcome.predictor, config, vocabulary, 24, 0), config, {"train": reports, "validation": reports}, 0
    )
    run.fit()
    memory = reports.tokens.memory(np.arange(20))
    with torch.no_grad():
        right = run.decoder.eval()(before(words), memory).argmax(-1) == words
    assert right[words != PAD].float().mean() > 0.95
    found = Drafter("v0001", (), config, vocabulary, run.decoder).find(memory, 1)
    assert np.mean([vocabulary.write(f.words) == text for f, text in zip(found, texts, strict=True)]) > 0.9


def test_drafts_depend_on_what_is_there_and_are_one_text_where_nothing_is(
    training: DraftTraining, outcome: TrainingOutcome, reported: Cohort
) -> None:
    tokens, drafter = CaseTokens(outcome.predictor, reported, reported.rows("test")), training.drafter
    at = np.arange(8)
    nothing = tokens.memory(at, torch.zeros(8, 6, dtype=torch.bool))
    drafts = drafter.draft([str(n) for n in at], nothing)
    assert len({draft.text for draft in drafts}) == 1
    assert len(drafts[0].words) > 0
    words = torch.tensor([drafter.vocabulary.encode("Man seen. The lungs are clear.")] * 8)
    with torch.no_grad():
        seen = drafter.decoder(before(words), tokens.memory(at))
        generic = drafter.decoder(before(words), nothing)
    assert torch.allclose(generic, generic[:1].expand_as(generic), atol=1e-5)
    assert (seen - generic).abs().amax((1, 2)).min() > 1e-3


def test_training_moves_the_decoder_and_nothing_of_the_model(
    outcome: TrainingOutcome, reported: Cohort, small: Callable[..., DraftConfig]
) -> None:
    network = outcome.predictor.network
    held = state_of(network)
    told: list[DraftEpoch] = []
    made = train_drafter(outcome.predictor, reported, small(epochs=4), seed=1, on_epoch=told.append)
    assert same(state_of(network), held)
    assert told == list(made.history)
    assert [epoch.number for epoch in told] == [1, 2, 3, 4]
    assert told[-1].training_loss < told[0].training_loss
    assert made.cases == {split: len(rows_with_reports(reported, split)[0]) for split in ("train", "validation")}
    assert made.cut == 0


def test_the_same_seed_gives_the_same_decoder_and_another_seed_another(
    outcome: TrainingOutcome, reported: Cohort, training: DraftTraining
) -> None:
    torch.manual_seed(99)
    asked = training.drafter.config
    again = train_drafter(outcome.predictor, reported, asked, seed=training.seed)
    assert same(state_of(again.drafter.decoder), state_of(training.drafter.decoder))
    other = train_drafter(outcome.predictor, reported, asked, seed=training.seed + 1)
    assert not same(state_of(other.drafter.decoder), state_of(training.drafter.decoder))


def test_a_killed_run_goes_on_to_the_same_end(
    outcome: TrainingOutcome, reported: Cohort, small: Callable[..., DraftConfig], tmp_path: Path
) -> None:
    config = small(epochs=4)
    whole = train_drafter(outcome.predictor, reported, config, seed=2)

    def kill(epoch: DraftEpoch) -> None:
        if epoch.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_drafter(outcome.predictor, reported, config, seed=2, run_folder=tmp_path / "run", on_epoch=kill)
    told: list[DraftEpoch] = []
    rest = train_drafter(outcome.predictor, reported, config, seed=2, run_folder=tmp_path / "run", on_epoch=told.append)
    assert [epoch.number for epoch in told] == [3, 4]
    assert rest.history == whole.history
    assert same(state_of(rest.drafter.decoder), state_of(whole.drafter.decoder))
    fresh: list[DraftEpoch] = []
    other = small(epochs=4, dropout=0.2)
    train_drafter(outcome.predictor, reported, other, seed=2, run_folder=tmp_path / "run", on_epoch=fresh.append)
    assert len(fresh) == 4, "another configuration begins anew"


def test_it_stops_when_the_validation_loss_falls_no_more_and_keeps_the_best(
    outcome: TrainingOutcome, reported: Cohort, small: Callable[..., DraftConfig]
) -> None:
    config = small(epochs=40, patience=2, learning_rate=0.05, hide_streams=0.0)
    made = train_drafter(outcome.predictor, reported, config, seed=1)
    losses = [epoch.validation_loss for epoch in made.history]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + config.patience < 40
    rows, texts = rows_with_reports(reported, "validation")
    words = torch.from_numpy(encode_reports(made.drafter.vocabulary, texts, 24)[0])
    reports = Reports(CaseTokens(outcome.predictor, reported, rows), words)
    assert mean_loss(made.drafter.decoder, reports) == pytest.approx(min(losses), abs=1e-6)


def test_the_mean_loss_is_the_mean_over_all_words_of_all_reports(
    training: DraftTraining, outcome: TrainingOutcome, reported: Cohort
) -> None:
    decoder = training.drafter.decoder
    rows, texts = rows_with_reports(reported, "train")
    words = torch.from_numpy(encode_reports(training.drafter.vocabulary, texts, 24)[0])
    reports = Reports(CaseTokens(outcome.predictor, reported, rows), words)
    assert len(reports) > 64, "or one batch would be all of them"
    total, counted = 0.0, 0
    with torch.no_grad():
        chances = decoder(before(words), reports.tokens.memory(np.arange(len(rows)))).double().softmax(-1)
    for case, row in enumerate(words.tolist()):
        for at, word in enumerate(row):
            if word != PAD:
                total, counted = total - math.log(float(chances[case, at, word])), counted + 1
    assert mean_loss(decoder, reports) == pytest.approx(total / counted, abs=1e-5)


def test_tokens_that_are_not_kept_are_the_same(
    outcome: TrainingOutcome, reported: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, at = reported.rows("test"), np.array([4, 1, 1])
    kept = CaseTokens(outcome.predictor, reported, rows).memory(at)
    monkeypatch.setattr("models.drafts.cases.KEPT_AT_MOST", 3)
    anew = CaseTokens(outcome.predictor, reported, rows).memory(at)
    assert torch.equal(kept.present, anew.present)
    assert torch.allclose(kept.values, anew.values, atol=1e-5)


def test_a_long_report_is_cut_and_has_no_end() -> None:
    vocabulary = fit_vocabulary(["one two three four"], 9)
    words, cut = encode_reports(vocabulary, ["one two three", "one two three four", "zebra"], 4)
    assert cut == 1
    assert words[0].tolist() == [*vocabulary.encode("one two three"), END]
    assert words[1].tolist() == vocabulary.encode("one two three four")
    assert words[2].tolist() == [UNKNOWN, END, PAD, PAD]


def test_reports_of_other_splits_are_not_learnt_from(outcome: TrainingOutcome, reported: Cohort) -> None:
    rows, texts = rows_with_reports(reported, "validation")
    assert set(reported.index["split"].iloc[rows]) == {"validation"}
    assert len(rows) == len(texts) > 5


def test_too_few_reports_are_refused(
    outcome: TrainingOutcome,
    synthetic_cohort: Reported,
    with_reports: Reported,
    small: Callable[..., DraftConfig],
) -> None:
    cohort = synthetic_cohort(n=160)
    texts = np.full(160, "", object)
    texts[cohort.rows("train")[:9]] = "Clear."
    with pytest.raises(TaskError, match=r"at least 10 reports in the training split and 1 in the .*, got 9 and 0"):
        train_drafter(outcome.predictor, with_reports(cohort, texts.tolist()), small(), seed=0)


def test_the_configuration_comes_from_the_task(reported: Cohort, synthetic_cohort: Reported) -> None:
    task = reported.task
    assert task.report is not None
    asked = replace_decoder(task, {"width": 32, "beams": 2})
    assert (draft_config(asked).width, draft_config(asked).beams) == (32, 2)
    with pytest.raises(TaskError, match=r"report\.decoder\.widht: "):
        draft_config(replace_decoder(task, {"widht": 32}))
    with pytest.raises(TaskError, match=r"width 30: expected a multiple of heads 4"):
        draft_config(replace_decoder(task, {"width": 30}))
    with pytest.raises(TaskError, match=r"expected a report that is to be drafted, got none"):
        draft_config(synthetic_cohort(n=160).task)


def replace_decoder(task: Task, decoder: dict[str, int]) -> Task:
    assert task.report is not None
    return task.model_copy(update={"report": task.report.model_copy(update={"decoder": decoder})})
