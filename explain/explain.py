"""Explaining cases: every stream's share, and within each stream every element's, adding up to the log-odds."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from explain.elements import Facts, stream_players
from explain.explanation import FEATURES_TOLERANCE, Element, Explanation
from explain.owen import owen_values
from explain.shares import explain_streams
from ingest.cohort import Cohort
from models.prediction import Predictor

STREAMS_AT_ONCE = 128  # cases
GRID = (8, 8)

Progress = Callable[[int, int], None]


def explain_cases(
    predictor: Predictor,
    cohort: Cohort,
    rows: Sequence[int] | np.ndarray,
    *,
    elements: bool = True,
    permutations: int = 8,
    seed: int = 0,
    grid: tuple[int, int] = GRID,
    progress: Progress | None = None,
) -> Iterator[Explanation]:
    """The explanations of the cases at these positions, one after another, in bounded memory.

    elements: also within streams; this reads raw values, whatever features the cohort keeps. permutations: orders
    per stream of more elements than are enumerated. seed: of those orders, which each case and stream has of its own,
    so that neither the order of cases nor their number matters. grid: (rows, columns) of an image's patches.
    progress hears (cases done, cases in all).
    """
    rows = np.asarray(rows, np.int64)
    done = 0
    for start in range(0, len(rows), STREAMS_AT_ONCE):
        some = rows[start : start + STREAMS_AT_ONCE].tolist()
        if elements:
            texts = _texts(predictor, cohort, some)
            found: Iterable[Explanation] = (
                _with_elements(predictor, cohort, row, texts, permutations, seed, grid) for row in some
            )
        else:
            found = explain_streams(predictor, cohort.batch(some, predictor.stream_names))
        for row, explanation in zip(some, found, strict=True):
            done += 1
            if progress is not None:
                progress(done, len(rows))
            yield replace(explanation, inputs=cohort.inputs(row))


def _with_elements(
    predictor: Predictor,
    cohort: Cohort,
    row: int,
    texts: dict[str, dict[str, str]],
    permutations: int,
    seed: int,
    grid: tuple[int, int],
) -> Explanation:
    batch = cohort.with_features({}).batch([row], predictor.stream_names)
    explanation = explain_streams(predictor, batch)[0]
    tokens = predictor.encode(batch)
    found: dict[str, tuple[Element, ...]] = {}
    for name in explanation.streams:
        stream = batch.streams[name].to(predictor.device)
        facts = Facts(
            predictor.task.streams[name],
            predictor.statistics.streams[name],
            texts.get(name, {}).get(explanation.case_id, ""),
            grid,
        )
        key = [seed, zlib.crc32(explanation.case_id.encode()), zlib.crc32(name.encode())]
        found[name] = owen_values(
            predictor,
            tokens,
            stream,
            name,
            stream_players(stream, facts),
            permutations=permutations,
            rng=np.random.default_rng(key),
        )
    return replace(explanation, elements=found, logit_from_features=_from_features(predictor, cohort, row, explanation))


def _from_features(predictor: Predictor, cohort: Cohort, row: int, explanation: Explanation) -> float | None:
    if not cohort.features:
        return None
    said = float(predictor.predict(cohort.batch([row], predictor.stream_names)).logit[0])
    return said if abs(said - explanation.logit) > FEATURES_TOLERANCE else None


def _texts(predictor: Predictor, cohort: Cohort, rows: list[int]) -> dict[str, dict[str, str]]:
    """Stream -> case_id -> text, of these cases only."""
    some = replace(cohort, index=cohort.index.iloc[rows])
    names = [n for n in predictor.stream_names if predictor.statistics.streams[n].kind == "text"]
    return {name: {str(case): str(text) for case, text in some.texts(name).items()} for name in names}


def _streams_only(
    predictor: Predictor, cohort: Cohort, rows: Sequence[int] | np.ndarray, progress: Progress | None = None
) -> Iterator[Explanation]:
    return explain_cases(predictor, cohort, rows, elements=False, progress=progress)


# name -> (predictor, cohort, rows, progress=) -> explanations
EXPLAINERS: dict[str, Callable[..., Iterator[Explanation]]] = {"owen": explain_cases, "streams": _streams_only}
