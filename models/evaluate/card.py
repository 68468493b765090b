"""The model card: what a version is for, what it was made from, and how good it is, in one page of Markdown.

After Mitchell et al. 2019, "Model cards for model reporting".
"""

from collections.abc import Mapping
from typing import Any

from models.prediction import Predictor


def model_card(predictor: Predictor, training: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """The card as Markdown. metrics: an evaluation as JSON, empty before there is one."""
    task = predictor.task
    parameters = sum(p.numel() for p in predictor.network.parameters())
    target = task.target
    asked = f"{', '.join(target.events)} within {target.horizon_hours:g} h" if target.events else f"{target.label}"
    lines = [
        f"# {task.title}: {predictor.version}",
        "",
        "Decision support for people who review its reasons; not a device that decides by itself, and not validated",
        "for clinical use.",
        "",
        f"- **Asks**: {asked}" + (f", {task.index.offset_hours:g} h after {task.index.event}" if task.timed else ""),
        f"- **Reads**: {', '.join(f'{n} ({task.streams[n].kind})' for n in predictor.stream_names)}; any may be absent",
        f"- **Made of**: {predictor.config.fusion.kind} fusion, width {predictor.config.width}, "
        f"{predictor.config.members} bagged members, {parameters:,} parameters",
        *[
            f"- **{split.capitalize()} split**: {training['cases'][split]} cases, {training['events'][split]} events"
            for split in training["cases"]
        ],
        f"- **Seed** {training['seed']}, {len(training['history'])} epochs, parent {training['parent'] or 'none'}",
        f"- **Calibration**: log-odds × {predictor.calibration.scale:.3f} + {predictor.calibration.shift:.3f}",
        "",
    ]
    if training.get("note"):
        lines += [str(training["note"]), ""]
    fused = next((m for m in metrics.get("models", []) if m.get("name") == "fused"), None)
    if fused is None:
        return "\n".join([*lines, "Not evaluated yet.", ""])
    lines += ["## On the held-back test split", "", "| measure | estimate | 95 % interval |", "|---|---|---|"]
    for name, value in fused["metrics"].items():
        shown = value["reason"] if value["value"] is None else f"{value['value']:.3f}"
        interval = "" if value["low"] is None else f"{value['low']:.3f} to {value['high']:.3f}"
        lines.append(f"| {name} | {shown} | {interval} |")
    return "\n".join([*lines, ""])
