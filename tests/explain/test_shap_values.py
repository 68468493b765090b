"""The shap library draws what we computed."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from explain.explain import explain_cases
from explain.explanation import Explanation
from explain.shap_values import to_shap
from ingest.cohort import Cohort
from ingest.errors import TelltaleError
from models.prediction import Predictor

pytestmark = [
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),  # shap's colour maps, on import
    pytest.mark.filterwarnings("ignore::FutureWarning:shap"),  # its beeswarm hands numpy a global seed
]


@pytest.fixture(scope="module")
def found(synthetic_cohort: Callable[..., Cohort], predictor: Predictor) -> list[Explanation]:
    cohort = synthetic_cohort(n=60)
    return list(explain_cases(predictor, cohort, cohort.rows("test")[:10], permutations=4, grid=(3, 3)))


@pytest.fixture(autouse=True)
def figures() -> Iterator[None]:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


@pytest.mark.parametrize("level", ["streams", "record", "vitals", "xray", "sound"])
def test_base_and_values_sum_to_the_log_odds(found: list[Explanation], level: str) -> None:
    values = to_shap(found, level)
    logits = [e.logit for e in found if level == "streams" or level in e.streams]
    np.testing.assert_allclose(values.base_values + values.values.sum(1), logits, atol=1e-5)
    assert values.values.shape == values.data.shape == (len(logits), len(values.feature_names))


@pytest.mark.parametrize("level", ["streams", "vitals", "record"])
def test_waterfall_bar_and_beeswarm_draw(found: list[Explanation], level: str) -> None:
    import matplotlib.pyplot as plt
    import shap
    from matplotlib.text import Text

    values = to_shap(found, level)
    shap.plots.waterfall(values[0], show=False)
    drawn = " ".join(text.get_text() for text in plt.gcf().findobj() if isinstance(text, Text))
    assert all(name in drawn for name in values.feature_names)
    plt.close("all")
    shap.plots.beeswarm(values, show=False)
    assert plt.gcf().axes
    plt.close("all")
    shap.plots.bar(values, show=False)
    assert plt.gcf().axes


def test_the_words_of_a_note_become_html(found: list[Explanation]) -> None:
    import shap

    values = to_shap(found, "notes")
    assert len(values) == sum("notes" in e.streams for e in found)
    html = shap.plots.text(values[0], display=False)
    explanation = next(e for e in found if "notes" in e.streams)
    assert all(word.name in html for word in explanation.elements["notes"])


def test_what_is_withheld_is_not_drawn(found: list[Explanation]) -> None:
    wrong = replace(found[0], logit=found[0].logit + 1)
    with pytest.raises(TelltaleError, match=f"{wrong.case_id} are withheld"):
        to_shap([wrong, *found[1:]])


def test_an_unknown_stream_is_named(found: list[Explanation]) -> None:
    with pytest.raises(TelltaleError, match="'mri'"):
        to_shap(found, "mri")
