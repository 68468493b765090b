"""The figures of an evaluation: values in, a matplotlib Figure out. Nothing here touches pyplot's global state.

Colours are of a fixed set (`COLOURS`), so that the report can turn them into variables of its light and dark theme.
Texts are never read as mathematics: a stream may be called `$x$`.
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from models.evaluate.curves import HISTOGRAM_BINS
from models.evaluate.evaluation import ATTAINABLE, FUSED
from models.evaluate.results import Evaluation, ModelResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "ink": "#1b2430",
    "muted": "#66727f",
    "grid": "#dfe4ea",
    "fused": "#1457d9",
    "baseline": "#b4560b",
    "attainable": "#0d7f6b",
    "single-1": "#8a63c9",
    "single-2": "#c2487f",
    "single-3": "#4d8fb0",
    "single-4": "#8b8a2a",
    "single-5": "#c0634f",
    "single-6": "#5c9a57",
    "single-7": "#7a7f94",
    "single-8": "#a07a45",
}
STYLE: dict[Any, Any] = {  # matplotlib types its keys as literals
    "text.parse_math": False,
    "font.size": 9.5,
    "axes.edgecolor": COLOURS["muted"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "xtick.labelcolor": COLOURS["ink"],
    "ytick.labelcolor": COLOURS["ink"],
    "text.color": COLOURS["ink"],
    "axes.grid": True,
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.title_fontsize": 8.5,
}


def _styled(draw: Callable[..., "Figure"]) -> Callable[..., "Figure"]:
    @functools.wraps(draw)
    def styled(*args: Any, **kwargs: Any) -> "Figure":
        import matplotlib

        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return styled


@_styled
def forest_figure(evaluation: Evaluation) -> "Figure":
    """AUROC with interval of every model, the best first; hollow: among the cases that have the stream."""
    results = sorted(evaluation.models, key=lambda m: m.metrics["auroc"].value or 0.0)
    figure, axes = _figure(9.6, 0.9 + 0.4 * len(results))
    for row, result in enumerate(results):
        look = _look(evaluation, result)
        _whisker(axes, row, result.metrics["auroc"], look["color"], filled=True)
        if result.where_available is not None and result.where_available.n < evaluation.n:
            _whisker(axes, row - 0.24, result.where_available.auroc, look["color"], filled=False)
    axes.axvline(0.5, color=COLOURS["muted"], lw=0.8, ls=(0, (3, 3)))
    axes.set_yticks(range(len(results)), [result.name for result in results])
    axes.set_ylim(-0.7, len(results) - 0.4)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("AUROC, with 95 % interval")
    return figure


@_styled
def roc_figure(evaluation: Evaluation) -> "Figure":
    """The ROC curves of all models."""
    figure, axes = _figure(4.9, 5.4)
    axes.plot([0, 1], [0, 1], color=COLOURS["muted"], lw=0.8, ls=(0, (3, 3)))
    for result in evaluation.models:
        axes.plot(result.roc.x, result.roc.y, label=_with_value(result, "auroc"), **_look(evaluation, result))
    _square(axes, "1 − specificity", "Sensitivity")
    figure.legend(loc="outside lower center", ncols=2, title="AUROC")
    return figure


@_styled
def precision_recall_figure(evaluation: Evaluation) -> "Figure":
    """The precision-recall curves of all models."""
    figure, axes = _figure(4.9, 5.4)
    axes.axhline(evaluation.prevalence, color=COLOURS["muted"], lw=0.8, ls=(0, (3, 3)))
    for result in evaluation.models:
        curve = result.precision_recall
        label = _with_value(result, "auprc")
        axes.plot(curve.x, curve.y, drawstyle="steps-post", label=label, **_look(evaluation, result))
    _square(axes, "Recall (sensitivity)", "Precision (positive predictive value)")
    figure.legend(loc="outside lower center", ncols=2, title="Average precision")
    return figure


@_styled
def reliability_figure(evaluation: Evaluation, name: str = FUSED) -> "Figure":
    """Observed frequency over predicted risk, with band and bins, above the histogram of the risks."""
    from matplotlib.figure import Figure

    data = evaluation.model(name).reliability
    figure = Figure(figsize=(4.7, 5.2), layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.6, 1])
    colour = COLOURS["fused"]
    axes.plot([0, 1], [0, 1], color=COLOURS["muted"], lw=0.8, ls=(0, (3, 3)))
    if len(data.risk) > 1:
        axes.fill_between(data.risk, data.low, data.high, color=colour, alpha=0.14, lw=0)
        axes.plot(data.risk, data.frequency, color=colour, lw=1.8)
    for point in data.bins:
        axes.plot([point.risk] * 2, [point.low, point.high], color=COLOURS["ink"], lw=0.9)
        axes.plot(point.risk, point.frequency, "o", ms=4.5, color=COLOURS["ink"])
    axes.set_ylabel("Observed frequency")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    width = 1 / HISTOGRAM_BINS
    middles = [(i + 0.5) * width for i in range(HISTOGRAM_BINS)]
    below.bar(middles, data.histogram_others, width * 0.86, color=COLOURS["muted"], alpha=0.45, label="no event")
    below.bar(middles, data.histogram_events, width * 0.86, bottom=data.histogram_others, color=colour, label="event")
    below.set(xlabel="Predicted risk", ylabel="Cases")
    below.legend(loc="upper right", ncols=2)
    figure.align_ylabels()
    return figure


@_styled
def decision_figure(evaluation: Evaluation) -> "Figure":
    """Net benefit over the threshold: fused, best single modality, baseline, against flagging all and nobody."""
    figure, axes = _figure(9.6, 3.9)
    every = evaluation.net_benefit_flag_all
    axes.plot(every.x, every.y, color=COLOURS["muted"], lw=1.1, ls=(0, (4, 2)), label="flag all")
    axes.axhline(0, color=COLOURS["muted"], lw=1.1, ls=(0, (1, 2)), label="flag nobody")
    shown = [m for m in evaluation.models if m.where_available is None or m.name == evaluation.best_single]
    for result in shown:
        curve = result.net_benefit
        axes.plot(curve.x, curve.y, label=result.name, **_look(evaluation, result))
    top = max(max(result.net_benefit.y) for result in shown)
    axes.set(xlim=(0, 0.6), ylim=(-0.12 * top, 1.12 * top), xlabel="Threshold risk", ylabel="Net benefit per case")
    axes.legend(loc="upper right")
    return figure


def _figure(width: float, height: float) -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _look(evaluation: Evaluation, result: ModelResult) -> dict[str, Any]:
    """Colour and line of a model: fused strong, baseline and attainable broken, single modalities thin."""
    if result.name == FUSED:
        return {"color": COLOURS["fused"], "lw": 2.4, "zorder": 3}
    if result.name == ATTAINABLE:
        return {"color": COLOURS["attainable"], "lw": 1.4, "ls": (0, (1, 1.4))}
    if result.where_available is None:
        return {"color": COLOURS["baseline"], "lw": 1.6, "ls": (0, (5, 2))}
    single = [m.name for m in evaluation.models if m.where_available is not None]
    return {"color": COLOURS[f"single-{single.index(result.name) % 8 + 1}"], "lw": 1.1, "alpha": 0.9}


def _whisker(axes: "Axes", row: float, estimate: Any, colour: str, *, filled: bool) -> None:
    if estimate.value is None:
        return
    axes.plot([estimate.low, estimate.high], [row, row], color=colour, lw=2.0 if filled else 1.0, solid_capstyle="butt")
    face = colour if filled else "none"
    size = 6.5 if filled else 4.5
    axes.plot(estimate.value, row, "o", ms=size, markerfacecolor=face, markeredgecolor=colour)


def _with_value(result: ModelResult, metric: str) -> str:
    value = result.metrics[metric].value
    return f"{result.name}  {value:.2f}" if value is not None else result.name


def _square(axes: "Axes", x: str, y: str) -> None:
    axes.set(xlim=(0, 1), ylim=(0, 1.005), xlabel=x, ylabel=y)
    axes.set_aspect("equal")
