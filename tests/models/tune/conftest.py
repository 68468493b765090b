"""A cohort of three quick streams whose task trains for an epoch."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ingest.cohort import Cohort

STREAMS = ("record", "labs", "notes")
BRIEF = {"alone_epochs": 2, "epochs": 2, "warmup_epochs": 0}


@pytest.fixture(scope="session")
def brief_cohort(synthetic_cohort: Callable[..., Cohort]) -> Callable[..., Cohort]:
    """A factory: `brief_cohort(n=120, strength=1.0, **training)`: record, labs and notes, width 16, brief."""

    def make(n: int = 120, strength: float = 1.0, **training: Any) -> Cohort:
        whole = synthetic_cohort(n=n, strength=strength)
        model = {"width": 16, "members": 3, "fusion": {"heads": 2}, "experts": (), "training": {**BRIEF, **training}}
        streams = {name: whole.task.streams[name] for name in STREAMS}
        statistics = replace(whole.statistics, streams={name: whole.statistics.streams[name] for name in STREAMS})
        task = whole.task.model_copy(update={"model": model, "streams": streams})
        return replace(whole, task=task, statistics=statistics, _mapped={})

    return make
