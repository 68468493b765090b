"""Cross-validation and learning curve as one self-contained HTML page, in the manner of `models.evaluate.report`."""

from pathlib import Path
from typing import TYPE_CHECKING

from ingest.files import write_text
from models.evaluate.figures import COLOURS, STYLE
from models.evaluate.learning_curve import LearningCurve, learning_curve_figure
from models.evaluate.pooled import CrossValidation
from models.evaluate.report import inline_svg
from models.evaluate.results import Estimate
from models.evaluate.rivals import DESCRIBED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPLATE = "validation.html.j2"
SHOWN = ("auroc", "auprc", "brier", "log_loss", "calibration_slope", "calibration_error")


def write_page(result: CrossValidation, curve: LearningCurve | None, path: Path, *, title: str) -> None:
    """Write the page. All texts are escaped."""
    write_text(path, render_page(result, curve, title))


def render_page(result: CrossValidation, curve: LearningCurve | None, title: str) -> str:
    """The page as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(cell=_cell, number=_number)
    return environment.get_template(TEMPLATE).render(
        r=result,
        curve=curve,
        title=title,
        colours=COLOURS,
        shown=SHOWN,
        described=DESCRIBED,
        folds_svg=inline_svg(folds_figure(result), "folds"),
        curve_svg=None if curve is None else inline_svg(learning_curve_figure(curve), "curve"),
    )


def folds_figure(result: CrossValidation, measure: str = "auroc") -> "Figure":
    """Every model's measure in each fold (dots) and over all left-out cases (whisker), the best first."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        from matplotlib.figure import Figure

        models = sorted(result.models, key=lambda model: model.pooled[measure].value or 0.0)
        figure = Figure(figsize=(9.6, 0.9 + 0.4 * len(models)), layout="constrained")
        axes = figure.subplots()
        for row, model in enumerate(models):
            colour = COLOURS["fused" if model.name == "fused" else "muted"]
            found = model.pooled[measure]
            dots = [value for value in model.folds[measure].by_fold if value is not None]
            axes.plot(dots, [row - 0.22] * len(dots), "o", ms=3.5, color=colour, alpha=0.6)
            if found.value is not None and found.low is not None and found.high is not None:
                axes.plot([found.low, found.high], [row, row], color=colour, lw=2.0, solid_capstyle="butt")
                axes.plot(found.value, row, "o", ms=6.5, color=colour)
        axes.set_yticks(range(len(models)), [model.name for model in models])
        axes.set_ylim(-0.7, len(models) - 0.4)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("AUROC of all left-out cases, with 95 % interval; below it, of each fold by itself")
    return figure


def _cell(estimate: Estimate) -> str:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return estimate.reason
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})".replace("-", "−")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".replace("-", "−")
