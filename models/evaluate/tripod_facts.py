"""What is known of a model, together, and how it is put into Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ingest.cohort import Cohort
from models.evaluate.results import Estimate, Evaluation
from models.prediction import Predictor


@dataclass(frozen=True)
class Facts:
    """training: a version's training.json; align: the cohort's report.json, which says little in an old cohort."""

    predictor: Predictor
    cohort: Cohort
    training: Mapping[str, Any]
    evaluation: Evaluation | None
    align: Mapping[str, Any]


def shown(estimate: Estimate, digits: int = 3) -> str:
    """A number with its interval, or why there is none."""
    if estimate.value is None:
        return escaped(estimate.reason)
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.{digits}f} ({escaped(estimate.reason)})"
    return f"{estimate.value:.{digits}f} ({estimate.low:.{digits}f} to {estimate.high:.{digits}f})"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that begins a paragraph of its own; texts are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n\n" + "\n".join(f"| {' | '.join(escaped(str(cell)) for cell in line)} |" for line in lines)


def escaped(text: str) -> str:
    """A text of a task or a source as Markdown that shows it as it is: no table, tag or line of its own."""
    for special in ("\\", "|", "`", "*", "_", "[", "]", "#"):
        text = text.replace(special, f"\\{special}")
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())
