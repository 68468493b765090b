"""Working out the explanation of one case while a reader waits. Everything heavy is imported only then."""

from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from dashboard.session import Place, cohort, positions
from explain.explanation import Explanation
from ingest.errors import TelltaleError

if TYPE_CHECKING:
    from models.prediction import Predictor


def can_explain(place: Place, case_id: str) -> bool:
    """Whether the model and the case's inputs are here."""
    return case_id in positions(place) and (_folder(place) / "manifest.json").is_file()


def explain_now(place: Place, case_id: str) -> Explanation:
    """Explain a case with the model that scored it, and keep the result beside the others."""
    from explain.explain import explain_cases
    from explain.kept import write_explanation

    held = cohort(place)
    if held is None or case_id not in positions(place):
        raise TelltaleError(f"case {case_id}: expected its inputs in the cohort of {place.task}, found none")
    made = next(iter(explain_cases(_predictor(str(_folder(place))), held, [positions(place)[case_id]])))
    write_explanation(place.workspace.explanations(place.task, _folder(place).name), made)
    return made


@st.cache_resource(show_spinner=False, max_entries=1)
def _predictor(folder: str) -> "Predictor":
    from models.store import load

    return load(Path(folder))


def _folder(place: Place) -> Path:
    return place.workspace.models(place.task) / (place.version or "")
