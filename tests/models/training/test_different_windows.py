"""Training refuses a cohort whose windows give the outcome away."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest.cohort import Cohort, open_cohort
from ingest.errors import TaskError
from models.training.train import train


def test_training_refuses_windows_that_tell_the_outcome(
    synthetic_cohort: Callable[..., Cohort], tiny_config: Callable[..., Any], tmp_path: Path
) -> None:
    """FAULTS 9: the vitals of those with the outcome reach ten times as far back."""
    import shutil

    folder = tmp_path / "cohort"
    shutil.copytree(synthetic_cohort(n=160).folder, folder)
    cohort = open_cohort(folder)
    path = folder / "shards" / "00000" / "vitals.hours.npy"
    hours = np.load(path)
    with_outcome = cohort.index["vitals_row"][cohort.target == 1].to_numpy()
    hours[with_outcome] *= 10
    np.save(path, hours)
    with pytest.raises(TaskError, match=r"stream vitals, .* expected windows that do not depend on the outcome"):
        train(open_cohort(folder), tiny_config(cohort), seed=1, version="v0001")
