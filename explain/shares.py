"""Each stream's share: exact Shapley values over the streams of a case, by masked passes."""

from collections.abc import Mapping

import numpy as np
import torch

from explain.explanation import Explanation
from explain.shapley import exact_values
from ingest.batch import Batch
from models.encoders.tokens import Tokens
from models.prediction import Predictor

FUSED_AT_ONCE = 512


def explain_streams(predictor: Predictor, batch: Batch) -> list[Explanation]:
    """The exact shares of every stream, for each case of a batch; tokens are computed once for all coalitions.

    The log-odds that they are held against come from a prediction of its own.
    """
    worth = coalition_worth(predictor, predictor.encode(batch))
    said = predictor.predict(batch)
    shares = exact_values(worth)
    return [
        _explanation(predictor, str(case_id), worth[row], shares[row], said.present[row], float(said.logit[row]))
        for row, case_id in enumerate(batch.case_ids)
    ]


def coalition_worth(predictor: Predictor, tokens: Mapping[str, Tokens]) -> np.ndarray:
    """(B, 2^M) float64: the calibrated log-odds of every coalition of streams, in the order of `shapley.subsets`.

    A stream that a case lacks changes nothing, so such coalitions are copies of those without it.
    """
    names = predictor.stream_names
    present = torch.stack([tokens[name].present.any(1) for name in names], 1).cpu().numpy()
    has = present @ (1 << np.arange(len(names)))
    worth = np.empty((len(present), 1 << len(names)))
    for code in range(worth.shape[1]):
        rows = np.flatnonzero(code & has == code)
        kept = [name for i, name in enumerate(names) if code >> i & 1]
        for start in range(0, len(rows), FUSED_AT_ONCE):
            some = rows[start : start + FUSED_AT_ONCE]
            index = torch.as_tensor(some, device=predictor.device)
            worth[some, code] = worth_of(predictor, {name: t.rows(index) for name, t in tokens.items()}, kept)
    codes = np.arange(worth.shape[1])
    return np.take_along_axis(worth, codes[None] & has[:, None], 1)


def worth_of(predictor: Predictor, tokens: Mapping[str, Tokens], kept: list[str]) -> np.ndarray:
    """(n,) float64: the log-odds of n cases with only the streams in `kept`.

    The tokens of the others are absent ones.
    """
    shown = {name: t if name in kept else t.absent() for name, t in tokens.items()}
    return predictor.logits(shown).cpu().numpy()


def coalition_name(names: list[str]) -> str:
    """How a coalition is called in `Explanation.coalitions`: "record+xray", or "" for none."""
    return "+".join(names)


def _explanation(
    predictor: Predictor, case_id: str, worth: np.ndarray, shares: np.ndarray, present: np.ndarray, logit: float
) -> Explanation:
    names = predictor.stream_names
    has = int(present @ (1 << np.arange(len(names))))
    coalitions = {
        coalition_name([name for i, name in enumerate(names) if code >> i & 1]): float(worth[code])
        for code in range(len(worth))
        if code & has == code
    }
    here = [(name, float(share)) for name, share, there in zip(names, shares, present, strict=True) if there]
    return Explanation(
        case_id=case_id,
        task=predictor.task.name,
        model_version=predictor.version,
        base_logit=float(worth[0]),
        logit=logit,
        streams=dict(here),
        coalitions=coalitions,
        kinds={name: predictor.statistics.streams[name].kind for name, _ in here},
    )
