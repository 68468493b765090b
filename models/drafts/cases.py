"""The cases that have a report: what a model makes of each, and the words of its report."""

from collections.abc import Sequence

import numpy as np
import torch

from ingest.align.report_texts import read_report_texts
from ingest.cohort import Cohort
from models.drafts.decoder import Memory, memory_of
from models.drafts.vocabulary import END, PAD, Vocabulary
from models.encoders.tokens import Tokens, concatenate
from models.prediction import Predictor

KEPT_AT_MOST = 20_000  # cases whose tokens are kept in memory; those of more are made anew each time
BATCH = 64


class CaseTokens:
    """What a predictor's encoders, which stay as they are, make of the cases at `rows` of a cohort.

    cohort: with the features of frozen encoders (`models.features.with_frozen_features`).
    """

    def __init__(self, predictor: Predictor, cohort: Cohort, rows: np.ndarray) -> None:
        self.predictor, self.cohort, self.rows = predictor, cohort, rows
        self._kept: dict[str, Tokens] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def memory(self, at: np.ndarray, keep: torch.Tensor | None = None) -> Memory:
        """The memory of the cases at these places of `rows`, with only the streams that keep (B, M) allows."""
        return memory_of(self.predictor.network, self._tokens(at), keep)

    def embedding(self, at: np.ndarray) -> np.ndarray:
        """(B, D) the fused vectors."""
        return self.memory(at).values[:, -1].cpu().numpy()

    def _tokens(self, at: np.ndarray) -> dict[str, Tokens]:
        if len(self.rows) > KEPT_AT_MOST:
            return self._encode(self.rows[at])
        if self._kept is None:
            starts = range(0, len(self.rows), BATCH)
            parts = [self._encode(self.rows[start : start + BATCH]) for start in starts]
            self._kept = {name: concatenate([part[name] for part in parts]) for name in self.predictor.stream_names}
        index = torch.from_numpy(np.asarray(at, np.int64)).to(self.predictor.device)
        return {name: tokens.rows(index) for name, tokens in self._kept.items()}

    @torch.no_grad()
    def _encode(self, rows: np.ndarray) -> dict[str, Tokens]:
        self.predictor.network.eval()
        # Not `Predictor.encode`: tensors of its inference mode may not be learnt from.
        batch = self.cohort.batch(rows, self.predictor.stream_names).to(self.predictor.device)
        return self.predictor.network.encode(batch.streams)


def rows_with_reports(cohort: Cohort, split: str) -> tuple[np.ndarray, list[str]]:
    """The positions of a split's cases that have a report, and the reports."""
    texts = read_report_texts(cohort)
    rows = cohort.rows(split)
    case_ids = cohort.index["case_id"].to_numpy(str)[rows]
    has = np.array([case in texts.index for case in case_ids], bool)
    return rows[has], [str(texts[case]) for case in case_ids[has]]


def encode_reports(vocabulary: Vocabulary, texts: Sequence[str], max_tokens: int) -> tuple[np.ndarray, int]:
    """(the words of each text and its end, (N, max_tokens) padded; how many were cut, which have no end)."""
    words = np.full((len(texts), max_tokens), PAD, np.int64)
    cut = 0
    for row, text in enumerate(texts):
        ids = [*vocabulary.encode(text), END]
        cut += len(ids) > max_tokens
        words[row, : len(ids)] = ids[:max_tokens]
    return words, cut
