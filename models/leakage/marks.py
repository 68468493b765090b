"""Marks that a case has or has not (a word, a value that is there, an origin): which of them settle the outcome."""

from dataclasses import dataclass

import numpy as np

from models.leakage.finding import Verdict

SETTLES, LEANS = 0.95, 0.9  # the share of one outcome among those with the mark
LEAST_ODDS = np.log(10)  # of the mark with that outcome against the other
CHANCE = {"alarm": 1e-3, "look": 1e-2}  # of a share like this, over all marks that were asked
REACH = {"alarm": 0.05, "look": 0.02}  # how much of the outcome must have the mark
COMMON = 0.8  # an outcome that most cases have anyway is settled by little
LEAST_MARKED = 10


@dataclass(frozen=True)
class Marks:
    """K marks, each counted among the cases with and without the outcome.

    having (2, K): cases without and with the outcome that have the mark, of cases (2,). weight (2,): how many cases of
    the cohort each of them stands for, where one outcome was sampled more than the other.
    """

    having: np.ndarray
    cases: np.ndarray
    weight: np.ndarray

    def of(self, chosen: np.ndarray) -> "Marks":
        """Some of the marks, by their places."""
        return Marks(self.having[:, chosen], self.cases, self.weight)

    @property
    def outcome(self) -> np.ndarray:
        """(K,) the outcome that the mark speaks for: 1 or 0."""
        share = self.having / np.maximum(self.cases, 1)[:, None]
        return np.asarray(share[1] >= share[0], int)

    @property
    def share(self) -> np.ndarray:
        """(K,) the share of that outcome among the cohort's cases with the mark."""
        weighed = self.having * self.weight[:, None]
        chosen = weighed[self.outcome, np.arange(weighed.shape[1])]
        return np.asarray(chosen / np.maximum(weighed.sum(0), 1e-12))

    @property
    def base(self) -> np.ndarray:
        """(K,) the share of that outcome among all cases of the cohort."""
        weighed = self.cases * self.weight
        return np.asarray((weighed / max(weighed.sum(), 1e-12))[self.outcome])

    @property
    def reach(self) -> np.ndarray:
        """(K,) how much of that outcome has the mark."""
        chosen = self.having[self.outcome, np.arange(self.having.shape[1])]
        return np.asarray(chosen / np.maximum(self.cases[self.outcome], 1))

    @property
    def log_odds(self) -> np.ndarray:
        """(K,) how much more likely the mark is with that outcome, as the log of the odds ratio; halves are added."""
        odds = (self.having + 0.5) / (self.cases[:, None] - self.having + 0.5)
        return np.asarray(np.abs(np.log(odds[1] / odds[0])))

    @property
    def p(self) -> np.ndarray:
        """(K,) the chance of so many of that outcome, or more, among those with the mark (hypergeometric)."""
        from scipy.stats import hypergeom

        marked = self.having.sum(0)
        hits = self.having[self.outcome, np.arange(self.having.shape[1])]
        return np.asarray(hypergeom.sf(hits - 1, int(self.cases.sum()), self.cases[self.outcome], marked))

    @property
    def chance(self) -> np.ndarray:
        """(K,) the same for any of the K marks: p times K, at most 1 (Bonferroni)."""
        return np.asarray(np.minimum(self.p * max(len(self.p), 1), 1.0))

    def verdicts(self) -> list[Verdict]:
        """(K,) an alarm for a mark that settles the outcome, beyond chance and beyond how common the outcome is."""
        enough = (self.having.sum(0) >= LEAST_MARKED) & (self.log_odds >= LEAST_ODDS)
        alarm = enough & (self.share >= SETTLES) & (self.chance < CHANCE["alarm"]) & (self.base <= COMMON)
        alarm &= self.reach >= REACH["alarm"]
        look = enough & (self.share >= LEANS) & (self.chance < CHANCE["look"]) & (self.reach >= REACH["look"])
        return ["alarm" if a else "look" if b else "fine" for a, b in zip(alarm, look, strict=True)]

    def said(self, k: int) -> str:
        """The counts of a mark in words."""
        without, with_ = self.having[:, k]
        return f"in {with_} of {self.cases[1]} with the outcome, {without} of {self.cases[0]} without"


def count_marks(marked: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None) -> Marks:
    """marked (n, K) bool or a sparse matrix of 0 and 1, target (n,) 0 or 1; weight (2,) as of `Marks`."""
    having = np.stack([np.asarray(marked[target == label].sum(0)).ravel() for label in (0, 1)])
    return Marks(having.astype(int), np.bincount(target, minlength=2), np.ones(2) if weight is None else weight)
