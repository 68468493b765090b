"""The Python of docs/explanations.md runs as it is printed, on a workspace of that name."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from explain.explain import explain_cases
from explain.explanation import TOLERANCE
from explain.kept import write_explanation
from ingest.cohort import Cohort
from ingest.statistics import Statistics
from ingest.workspace import create_workspace
from models.config import model_config
from models.network import build_network
from models.prediction import Predictor
from models.trust.logits import LogitCalibration

PAGE = Path(__file__).parents[2] / "docs" / "explanations.md"

pytestmark = [
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),  # shap's colour maps, on import
    pytest.mark.filterwarnings("ignore::FutureWarning:shap"),
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the example is run: pictures are drawn without a screen and closed afterwards."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    yield tmp_path
    plt.close("all")


def test_the_example_draws_a_case_of_a_workspace(folder: Path, synthetic_cohort: Callable[..., Cohort]) -> None:
    cohort = synthetic_cohort(n=60)
    predictor = untrained(cohort, ["record", "vitals", "labs"])
    place = create_workspace(folder / "my-workspace").explanations("my-task", predictor.version)
    for explanation in explain_cases(predictor, cohort, cohort.rows("test")[:3], permutations=4):
        write_explanation(place, explanation)
    names: dict[str, Any] = {}
    exec(compile(example(), str(PAGE), "exec"), names)  # noqa: S102  # our own page

    kept, to_shap = names["kept"], names["to_shap"]
    assert len(kept) == 3
    streams, vitals = to_shap(kept), to_shap(kept, "vitals")
    said = [e.logit for e in kept]
    np.testing.assert_allclose(streams.base_values + streams.values.sum(1), said, atol=TOLERANCE)
    np.testing.assert_allclose(vitals.base_values + vitals.values.sum(1), said, atol=TOLERANCE)
    with Image.open(folder / "why.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 0, "the picture is blank"


def example() -> str:
    """The page's one block of Python."""
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return str(block)


def untrained(cohort: Cohort, streams: list[str]) -> Predictor:
    """A small model of some streams with random weights: attributions add up whatever it has learnt."""
    config = model_config(cohort.task, {"width": 16})
    statistics = Statistics({name: cohort.statistics.streams[name] for name in streams}, 100, 0.2)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = build_network(config, statistics, cohort.task).eval()
    calibration = LogitCalibration.identity(network.meaning)
    return Predictor("v0001", cohort.task, config, statistics, network, calibration, torch.device("cpu"))
