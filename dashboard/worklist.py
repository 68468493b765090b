"""The worklist as values: which scored cases fit the filters, and what its columns say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from dashboard import words
from serve.reviews import Review

ANY = "all"


@dataclass(frozen=True)
class Filters:
    """What a reader asks to see."""

    search: str = ""
    least_risk: float = 0.0
    state: str = ANY
    with_all: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    split: str = ANY


@dataclass(frozen=True)
class Listed:
    """The cases that fit, by risk, out of how many; with the review state of each case that has one.

    stale: case -> why its score no longer stands, of those whose does not.
    """

    frame: pd.DataFrame
    of: int
    states: Mapping[str, str]
    stale: Mapping[str, str] = field(default_factory=dict)

    def rows(self, some: pd.DataFrame, drivers: Mapping[str, tuple[str, float]]) -> pd.DataFrame:
        """The table's columns for some of the cases."""
        said = {case: f"{'▲' if share > 0 else '▼'} {words.label(name)}" for case, (name, share) in drivers.items()}
        cases = some["case_id"]
        columns: dict[str, object] = {
            "case_id": cases,
            "risk": 100 * some["risk"],
            "interval": [
                words.NO_RISK if pd.isna(a) else words.between(a, b)
                for a, b in zip(some["risk_low"], some["risk_high"], strict=True)
            ],
            "driver": [said.get(case, "") for case in cases],
            "state": [self.states.get(case, words.UNREVIEWED) for case in cases],
        }
        if self.stale:
            columns["stale"] = ["stale" if case in self.stale else "" for case in cases]
        for name in streams_of(some):
            columns[f"has_{name}"] = some[f"has_{name}"].map({True: "✓", False: "·"})
        if some["index_time"].notna().any():
            columns["index_time"] = some["index_time"]
        return pd.DataFrame(columns)


def listed(
    scores: pd.DataFrame,
    reviewed: Mapping[str, Review],
    filters: Filters,
    stale: Mapping[str, str] | None = None,
) -> Listed:
    """The scored cases that fit the filters, in the order of the scores. stale: case -> why its score is."""
    states = {case: words.VERDICTS[review.verdict] for case, review in reviewed.items()}
    fits = (scores["risk"] >= filters.least_risk) | scores["risk"].isna()  # no risk was given: somebody has to look
    if filters.search.strip():
        fits &= scores["case_id"].str.contains(filters.search.strip(), case=False, regex=False)
    if filters.split != ANY:
        fits &= scores["split"] == filters.split
    if filters.state != ANY:
        fits &= pd.Series(
            [states.get(case, words.UNREVIEWED) == filters.state for case in scores["case_id"]], scores.index
        )
    for name in filters.with_all:
        fits &= scores[f"has_{name}"]
    for name in filters.without:
        fits &= ~scores[f"has_{name}"]
    return Listed(scores[fits], len(scores), states, stale or {})


def counts(scores: pd.DataFrame, reviewed: Mapping[str, Review], threshold: float) -> list[tuple[str, str, str]]:
    """Name, number and meaning of what stands above the table."""
    known = int(scores["case_id"].isin(list(reviewed)).sum())
    above = scores["risk"] >= threshold
    waiting = int((above & ~scores["case_id"].isin(list(reviewed))).sum())
    at = words.percent(threshold)
    return [
        ("Cases", f"{len(scores):,}", "Cases that this model version has scored."),
        (
            f"At {at} or more",
            f"{int(above.sum()):,}",
            "Cases whose risk is at least the one set below (50 % if unset).",
        ),
        ("Of these unreviewed", f"{waiting:,}", "Cases at or above that risk which nobody has reviewed yet."),
        *_abstained(scores),
        ("Reviewed", f"{known:,}", "Cases that somebody agreed with or overrode."),
        ("Average risk", words.percent(float(scores["risk"].mean())), "The mean of the model's risk over all cases."),
    ]


def _abstained(scores: pd.DataFrame) -> list[tuple[str, str, str]]:
    none = int(scores["risk"].isna().sum())
    return [("No risk given", f"{none:,}", "Cases that the model cannot speak of; each says why.")] if none else []


def streams_of(scores: pd.DataFrame) -> list[str]:
    """The streams that the scores speak of, in the model's order."""
    return [column.removeprefix("has_") for column in scores.columns if column.startswith("has_")]


def neighbours(order: Sequence[str], case_id: str) -> tuple[str | None, str | None, int]:
    """The case before, the case after, and this one's place (from 1; 0 where it is not in the list)."""
    if case_id not in order:
        return None, None, 0
    at = list(order).index(case_id)
    return (order[at - 1] if at else None), (order[at + 1] if at + 1 < len(order) else None), at + 1
