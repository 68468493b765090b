"""The evaluation as one self-contained HTML page: inline SVG, no address to fetch, light, dark and on paper."""

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.files import write_text
from models.evaluate import figures
from models.evaluate.estimates import words
from models.evaluate.evaluation import ATTAINABLE, FUSED
from models.evaluate.results import Difference, Estimate, Evaluation
from models.evaluate.subgroups import ALERT_BUDGET, SUBGROUP_METRICS

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup
    from matplotlib.figure import Figure

TEMPLATE = "report.html.j2"


def write_report(
    evaluation: Evaluation,
    path: Path,
    *,
    title: str,
    model_version: str,
    split_note: str = "",
    made: str = "",
) -> None:
    """Write the page. split_note: how the split was made, in words; made: when, in words. All texts are escaped."""
    write_text(path, render_report(evaluation, title, model_version, split_note, made))


def render_report(evaluation: Evaluation, title: str, model_version: str, split_note: str = "", made: str = "") -> str:
    """The page as text."""
    single = evaluation.best_single
    return (
        _environment()
        .get_template(TEMPLATE)
        .render(
            e=evaluation,
            fused=evaluation.model(FUSED),
            fused_name=FUSED,
            alert_budget=ALERT_BUDGET,
            subgroup_metrics=list(SUBGROUP_METRICS),
            attainable_name=ATTAINABLE,
            single=single,
            findings=findings(evaluation),
            streams=_streams(evaluation),
            title=title,
            model_version=model_version,
            split_note=split_note,
            made=made,
            svg={
                "forest": inline_svg(figures.forest_figure(evaluation), "forest"),
                "roc": inline_svg(figures.roc_figure(evaluation), "roc"),
                "pr": inline_svg(figures.precision_recall_figure(evaluation), "pr"),
                "reliability": inline_svg(figures.reliability_figure(evaluation), "reliability"),
                "decision": inline_svg(figures.decision_figure(evaluation), "decision"),
            },
        )
    )


def findings(evaluation: Evaluation) -> list[str]:
    """What the numbers say in plain sentences, never more than their intervals allow."""
    sentences = []
    if (single := evaluation.best_single) is not None:
        sentences.append(_compared(evaluation.difference(single), f"the best single modality ({single})"))
    sentences += [
        _compared(evaluation.difference(result.name), result.name)
        for result in evaluation.models
        if result.where_available is None and result.name not in (FUSED, ATTAINABLE)
    ]
    if evaluation.attained is not None:
        sentences.append(f"It reaches {_percent(evaluation.attained)} of the best attainable AUROC.")
    return sentences + _calibrated(evaluation)


def _calibrated(evaluation: Evaluation) -> list[str]:
    """What the calibration error says against its floor, then slope and intercept where they exclude the ideal."""
    sentences = []
    fused = evaluation.model(FUSED)
    error, floor = fused.metrics["calibration_error"], fused.calibration_error_floor
    if error.value is not None:
        verdict = "is within what chance gives" if error.value <= floor.high else "is more than chance gives"
        sentences.append(
            f"Its calibration error of {error.value:.3f} {verdict}: a perfectly calibrated model would show "
            f"{floor.mean:.3f} on average here, and less than {floor.high:.3f} in 95 of 100 samples."
        )
    for metric, ideal, below, above in (
        ("calibration_intercept", 0.0, "too high on the whole", "too low on the whole"),
        ("calibration_slope", 1.0, "too extreme", "too timid"),
    ):
        estimate = fused.metrics[metric]
        if estimate.low is not None and estimate.high is not None and not estimate.low <= ideal <= estimate.high:
            what = below if estimate.high < ideal else above
            name = metric.removeprefix("calibration_")
            sentences.append(f"Its risks are {what}: {name} {_number(estimate.value, 2)} ({_interval(estimate, 2)}).")
    return sentences


def inline_svg(figure: "Figure", key: str) -> "Markup":
    """A figure as SVG for the inside of a page, its colours as the page's variables, its ids prefixed by `key`."""
    import matplotlib
    from markupsafe import Markup

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": key}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    head, _, rest = text.partition(">")
    view = re.search(r'viewBox="[^"]*"', head)
    assert view is not None, "matplotlib writes a viewBox"
    rest = re.sub(r'\bid="', f'id="{key}-', rest)
    rest = re.sub(r'xlink:href="#', f'href="#{key}-', rest)
    rest = rest.replace("url(#", f"url(#{key}-")
    for name, colour in figures.COLOURS.items():
        rest = rest.replace(colour, f"var(--{name})")
    return Markup(f"<svg {view.group()} aria-hidden='true'>{rest}")  # noqa: S704 - matplotlib escapes its texts


def _compared(difference: Difference, other: str) -> str:
    estimate = difference.estimate
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return f"The fused model could not be compared with {other}: {estimate.reason}."
    by = f"AUROC {_signed(estimate.value)} ({_signed_interval(estimate)})"
    if estimate.low > 0:
        return f"The fused model separates the outcomes better than {other}: {by}."
    if estimate.high < 0:
        return f"The fused model separates the outcomes worse than {other}: {by}."
    return f"The fused model is not shown to be better or worse than {other}: {by}."


def _streams(evaluation: Evaluation) -> list[str]:
    """The streams that occur in the patterns, in the order of their first mention."""
    found: dict[str, None] = {}
    for result in evaluation.patterns:
        found.update(dict.fromkeys(part for part in result.pattern.split(" + ") if part != "none"))
    return list(found)


def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=_number,
        signed=_signed,
        interval=_interval,
        signed_interval=_signed_interval,
        p_value=_p_value,
        words=words,
    )
    return environment


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def _signed(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "−")


def _interval(estimate: Estimate, digits: int = 3) -> str:
    if estimate.low is None or estimate.high is None:
        return estimate.reason
    return f"{estimate.low:.{digits}f} to {estimate.high:.{digits}f}".replace("-", "−")


def _signed_interval(estimate: Estimate, digits: int = 3) -> str:
    if estimate.low is None or estimate.high is None:
        return estimate.reason
    return f"{_signed(estimate.low, digits)} to {_signed(estimate.high, digits)}"


def _percent(estimate: Estimate) -> str:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return estimate.reason
    return f"{estimate.value:.1%} ({estimate.low:.1%} to {estimate.high:.1%})".replace("%", " %")


def _p_value(p: float | None) -> str:
    if p is None:
        return "–"
    return "< 0.01" if p < 0.01 else f"{p:.2f}"
