"""How good drafts are on held-back cases, beside what costs nothing: word counts, the nearest case, one text for all.

Whether what a draft states is true of the patient is not measured here; only people, or a labeller of facts, can say.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from ingest.cohort import Cohort
from ingest.errors import TaskError
from models.drafts.cases import CaseTokens, encode_reports, rows_with_reports
from models.drafts.draft import Drafter
from models.drafts.measures import bleu, rouge_l, words_of
from models.drafts.train import Reports, mean_loss
from models.drafts.vocabulary import PAD, UNKNOWN
from models.features import with_frozen_features
from models.prediction import Predictor

BATCH = 64
RESAMPLES = 1000


@dataclass(frozen=True)
class DraftEvaluation:
    """Of the reports of a split. perplexity: per word and mark, by what the decoder is given.

    rouge_l, bleu_4: of the drafts; of the report of the nearest training case, by the fused vector; of the one text
    that the decoder writes where no stream is there. difference: of ROUGE-L, drafts less nearest, with its 95 %
    interval over subjects. unknown: the share of words that the vocabulary lacks; verbatim: of drafts that are word
    for word a training report.
    """

    split: str
    reports: int
    perplexity: Mapping[str, float]
    rouge_l: Mapping[str, float]
    bleu_4: Mapping[str, float]
    difference: tuple[float, float, float]
    unknown: float
    verbatim: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def evaluate_drafter(
    predictor: Predictor, drafter: Drafter, cohort: Cohort, *, split: str = "test", seed: int = 0
) -> DraftEvaluation:
    """Evaluate on the reports of a split. Raises TaskError where it has none."""
    length = drafter.decoder.max_tokens
    cohort = with_frozen_features(cohort, predictor.network, predictor.device)
    (rows, texts), (train_rows, train_texts) = (rows_with_reports(cohort, part) for part in (split, "train"))
    if not len(rows):
        raise TaskError(f"task {cohort.task.name}, report: expected reports in the {split} split, got none")
    here, train = (CaseTokens(predictor, cohort, some) for some in (rows, train_rows))
    words, train_words = (encode_reports(drafter.vocabulary, some, length)[0] for some in (texts, train_texts))
    reports = Reports(here, torch.from_numpy(words).to(predictor.device))
    nothing = torch.zeros(1, len(predictor.stream_names), dtype=torch.bool, device=predictor.device)
    one_for_all = _written(drafter, here.memory(np.zeros(1, int), nothing))
    parts = [here.memory(np.arange(start, min(start + BATCH, len(rows)))) for start in range(0, len(rows), BATCH)]
    said = {
        "draft": [words_of(text) for part in parts for text in _written(drafter, part)],
        "nearest": [words_of(train_texts[place]) for place in nearest(_embedded(here), _embedded(train))],
        "without streams": [words_of(one_for_all[0])] * len(rows),
    }
    references = [words_of(text) for text in texts]
    likeness = {
        name: np.array([rouge_l(*pair) for pair in zip(mine, references, strict=True)]) for name, mine in said.items()
    }
    subjects = cohort.index["subject_id"].to_numpy()[rows]
    known = {tuple(words_of(text)) for text in train_texts}
    return DraftEvaluation(
        split=split,
        reports=len(rows),
        perplexity={
            "decoder": math.exp(mean_loss(drafter.decoder, reports)),
            "without streams": math.exp(mean_loss(drafter.decoder, reports, blind=True)),
            "unigram": unigram_perplexity(train_words, words, len(drafter.vocabulary)),
        },
        rouge_l={name: float(values.mean()) for name, values in likeness.items()},
        bleu_4={name: bleu(mine, references) for name, mine in said.items()},
        difference=mean_difference(likeness["draft"] - likeness["nearest"], subjects, seed),
        unknown=float((words == UNKNOWN).sum() / (words != PAD).sum()),
        verbatim=float(np.mean([tuple(text) in known for text in said["draft"]])),
    )


def unigram_perplexity(training: np.ndarray, words: np.ndarray, vocabulary: int) -> float:
    """Of padded words (N, L), by how often each is in the training ones, with one added (Laplace)."""
    counts = np.bincount(training[training != PAD], minlength=vocabulary) + 1.0
    counts[PAD] = 0
    chances = counts / counts.sum()
    return float(np.exp(-np.log(chances[words[words != PAD]]).mean()))


def nearest(cases: np.ndarray, among: np.ndarray) -> np.ndarray:
    """(N,) the place of the nearest of `among` (M, D) to each of `cases` (N, D), each dimension in its own spread."""
    spread = among.std(0)
    used = spread > 0
    scaled, against = cases[:, used] / spread[used], among[:, used] / spread[used]
    squares = (against**2).sum(1)
    return np.array([int(np.argmin(squares - 2 * against @ one)) for one in scaled], int)


def mean_difference(differences: np.ndarray, subjects: np.ndarray, seed: int) -> tuple[float, float, float]:
    """(mean, low, high): the 95 % percentile interval over resampled subjects, all cases of whom go together."""
    _, place = np.unique(subjects, return_inverse=True)
    sums, counts = np.bincount(place, differences), np.bincount(place).astype(float)
    rng = np.random.default_rng([seed, 7])
    weights = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), RESAMPLES)
    means = (weights @ sums) / (weights @ counts)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(differences.mean()), float(low), float(high)


def _written(drafter: Drafter, memory: Any) -> Sequence[str]:
    return [drafter.vocabulary.write(found.words) for found in drafter.find(memory)]


def _embedded(tokens: CaseTokens) -> np.ndarray:
    starts = range(0, len(tokens), BATCH)
    return np.concatenate([tokens.embedding(np.arange(start, min(start + BATCH, len(tokens)))) for start in starts])
