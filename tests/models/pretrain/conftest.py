"""Cohorts whose streams share what is behind them, or whose images hold something to be learnt."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ingest.cohort import Cohort, open_cohort
from ingest.statistics import StreamStatistics


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Cohort], Cohort]:
    """A factory: the same cohort in a folder that a test may change."""

    def make(cohort: Cohort) -> Cohort:
        folder = tmp_path / f"cohort-{len(list(tmp_path.iterdir()))}"
        shutil.copytree(cohort.folder, folder)
        return open_cohort(folder)

    return make


@pytest.fixture
def related(
    synthetic_cohort: Callable[..., Cohort],
    copied: Callable[[Cohort], Cohort],
    module_of_tests: Callable[..., ModuleType],
) -> Cohort:
    """300 cases whose vitals, labs and record are all driven by one latent number."""
    synthetic = module_of_tests("synthetic")
    cohort = copied(synthetic_cohort(n=300))
    rng = np.random.default_rng(3)
    latent = 1.5 * rng.normal(size=len(cohort))
    for name in ("record", "vitals", "labs"):
        arrays: Mapping[str, np.ndarray] = synthetic.stream_arrays(cohort.task.streams[name], name, latent, rng)
        has = cohort.index[f"{name}_row"].to_numpy() >= 0
        for part in ("values", "observed", "hours"):
            np.save(cohort.shard_folder(0) / f"{name}.{part}.npy", arrays[part][has])
    return open_cohort(cohort.folder)


@pytest.fixture
def shapes(synthetic_cohort: Callable[..., Cohort], copied: Callable[[Cohort], Cohort]) -> Cohort:
    """600 noisy images, each of a disc or of a ring of about its size and light; the outcome says which."""
    cohort = copied(synthetic_cohort(n=600, absent={"xray": 0.0}))
    rng = np.random.default_rng(0)
    n, side = len(cohort), 32
    ring = rng.integers(0, 2, n)
    centre = rng.uniform(10, 22, (2, n, 1, 1))
    y, x = np.mgrid[:side, :side]
    radius = np.hypot(y - centre[0], x - centre[1]) / rng.uniform(0.8, 1.2, (n, 1, 1))
    light = np.where(
        ring[:, None, None] == 1, np.exp(-(((radius - 5.5) / 1.6) ** 2)), 0.75 * np.exp(-((radius / 5) ** 4))
    )
    pixels = 0.3 + 0.3 * light * rng.uniform(0.7, 1.3, (n, 1, 1)) + 0.08 * rng.normal(size=(n, side, side))
    np.save(cohort.shard_folder(0) / "xray.values.npy", np.clip(pixels, 0, 1).astype(np.float32)[:, None, None])
    scaled: StreamStatistics = replace(
        cohort.statistics.streams["xray"], mean=(float(pixels.mean()),), std=(float(pixels.std()),)
    )
    statistics = replace(cohort.statistics, streams={**cohort.statistics.streams, "xray": scaled})
    return replace(cohort, index=cohort.index.assign(target=ring.astype(np.float32)), statistics=statistics)
