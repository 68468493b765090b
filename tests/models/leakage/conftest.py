"""A cohort of one's own to plant a leak in."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ingest.cohort import Cohort, open_cohort
from models.leakage.finding import Finding


@dataclass(frozen=True)
class Garden:
    """A copy of a synthetic cohort of one shard, whose files may be changed; `cohort` opens it anew."""

    folder: Path

    @property
    def cohort(self) -> Cohort:
        return open_cohort(self.folder)

    @property
    def shard(self) -> Path:
        return self.folder / "shards" / "00000"

    def change(self, name: str, by: Callable[[np.ndarray], np.ndarray]) -> None:
        """Replace an array, such as "xray.values", by what is made of it."""
        path = self.shard / f"{name}.npy"
        np.save(path, by(np.load(path)))

    def change_table(self, name: str, by: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
        """Replace a table, such as "index" or "notes.text"."""
        path = self.shard / f"{name}.parquet"
        by(pd.read_parquet(path)).to_parquet(path)

    def rows(self, stream: str, cases: np.ndarray) -> np.ndarray:
        """The rows of cases (a mask) in a stream's arrays, of those that have it."""
        held = self.cohort.index[f"{stream}_row"].to_numpy()[cases]
        return np.asarray(held[held >= 0])

    def two_apart(self, stream: str) -> tuple[int, int]:
        """Rows of a stream: of the case in training of which most is observed, and of one in the test split."""
        split = self.cohort.index["split"].to_numpy()
        observed = self.cohort.arrays(0, stream).observed
        train = self.rows(stream, split == "train")
        fullest = train[observed[train].reshape(len(train), -1).sum(1).argmax()]
        return int(fullest), int(self.rows(stream, split == "test")[0])


@pytest.fixture
def garden(synthetic_cohort: Callable[..., Cohort], tmp_path: Path) -> Callable[..., Garden]:
    """A factory: `garden(n=160, seed=0, **options of synthetic.write_cohort)`."""

    def make(n: int = 160, seed: int = 0, **options: Any) -> Garden:
        folder = tmp_path / f"cohort-{n}-{seed}"
        shutil.copytree(synthetic_cohort(n=n, seed=seed, **options).folder, folder)
        return Garden(folder)

    return make


@pytest.fixture(scope="session")
def alarms() -> Callable[[Sequence[Finding]], list[tuple[str, str]]]:
    """(check, where) of the findings that are alarms."""
    return lambda findings: [(f.check, f.where) for f in findings if f.verdict == "alarm"]
