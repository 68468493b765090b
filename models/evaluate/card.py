"""The model card: what a version is for, what it was made from, and how good it is, in one page of Markdown.

With the sections of Mitchell et al. 2019, "Model cards for model reporting", doi:10.1145/3287560.3287596. What nobody
has written down says that it is not reported.
"""

from collections.abc import Mapping
from typing import Any

from models.evaluate.task_words import condition_in_words, moment_in_words, outcome_in_words
from models.prediction import Predictor

NOT_REPORTED = "*not reported*"
FUSED = "fused"


def model_card(predictor: Predictor, training: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """The card as Markdown. metrics: an evaluation as JSON, empty before there is one."""
    fused = next((m for m in metrics.get("models", []) if m.get("name") == FUSED), None)
    lines = [
        f"# {predictor.task.title}: {predictor.version}",
        "",
        "Decision support for people who review its reasons; not a device that decides by itself, and not validated",
        "for clinical use.",
        *_details(predictor, training),
        *_intended_use(predictor),
        *_factors(predictor, metrics),
        *_metrics(fused),
        *_data(predictor, training, metrics),
    ]
    if fused is not None:
        lines += _analyses(fused, metrics)
    lines += _considerations(metrics)
    return "\n".join([*lines, "", *([] if fused is not None else ["Not evaluated yet.", ""])])


def _details(predictor: Predictor, training: Mapping[str, Any]) -> list[str]:
    parameters = sum(p.numel() for p in predictor.network.parameters())
    note = str(training.get("note") or "")
    return [
        *_section("Model details"),
        f"- **Made of**: {predictor.config.fusion.kind} fusion, width {predictor.config.width}, "
        f"{predictor.config.members} bagged members, {parameters:,} parameters",
        f"- **Seed** {training['seed']}, {len(training['history'])} epochs, parent {training['parent'] or 'none'}",
        f"- **Calibration**: {_calibration(predictor)}",
        f"- **Made by, on, and under which licence**: {NOT_REPORTED}",
        *([f"- **Note**: {note}"] if note else []),
    ]


def _intended_use(predictor: Predictor) -> list[str]:
    task = predictor.task
    asked = outcome_in_words(task.target) + (f", {moment_in_words(task)}" if task.timed else "")
    included = "; ".join(condition_in_words(c) for c in task.include) or "every case with the index event"
    excluded = "".join(f"{condition_in_words(c)}; " for c in task.exclude)
    return [
        *_section("Intended use"),
        f"- **Asks**: {asked}",
        f"- **Reads**: {', '.join(f'{n} ({task.streams[n].kind})' for n in predictor.stream_names)}; any may be absent",
        f"- **For**: {included}",
        f"- **Not for**: {excluded}any decision without a person who reviews it",
        f"- **Users**: {NOT_REPORTED}",
    ]


def _factors(predictor: Predictor, metrics: Mapping[str, Any]) -> list[str]:
    groupings = list(dict.fromkeys(r["grouping"] for r in metrics.get("subgroups", [])))
    return [
        *_section("Factors"),
        f"- **Evaluated by**: {', '.join(groupings) or NOT_REPORTED}",
        f"- **Known to matter**: which of {', '.join(predictor.stream_names)} are present; each absent one widens the "
        "interval",
        f"- **Others, such as instruments and sites**: {NOT_REPORTED}",
    ]


def _metrics(fused: Mapping[str, Any] | None) -> list[str]:
    return [
        *_section("Metrics"),
        f"- **Measures**: {', '.join(fused['metrics']) if fused is not None else NOT_REPORTED}",
        "- **Intervals**: 95 %, by resampling whole subjects",
        "- **Threshold**: none is part of the model; an alert budget sets one",
    ]


def _data(predictor: Predictor, training: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    split = predictor.task.split
    evaluated = (
        f"{metrics['n']} cases of {metrics['subjects']} subjects, {metrics['events']} events ({metrics['split']} split)"
        if metrics.get("models")
        else NOT_REPORTED
    )
    return [
        *_section("Evaluation data"),
        f"- **Cases**: {evaluated}",
        f"- **Held back**: {split.test:.0%}, by {split.by}; the same source as the training data",
        *_section("Training data"),
        *[
            f"- **{part.capitalize()} split**: {training['cases'][part]} cases, {training['events'][part]} events"
            for part in training["cases"]
        ],
        f"- **Where the data come from**: {NOT_REPORTED}",
    ]


def _analyses(fused: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    lines = ["", "## On the held-back test split", "", "| measure | estimate | 95 % interval |", "|---|---|---|"]
    for name, value in fused["metrics"].items():
        shown = value["reason"] if value["value"] is None else f"{value['value']:.3f}"
        interval = "" if value["low"] is None else f"{value['low']:.3f} to {value['high']:.3f}"
        lines.append(f"| {name} | {shown} | {interval} |")
    if alerts := metrics.get("alerts"):
        lines += ["", "| alert budget | PPV | sensitivity | number needed to evaluate |", "|---|---|---|---|"]
        names = ("positive_predictive_value", "sensitivity", "number_needed_to_evaluate")
        lines += [f"| {a['budget']:.0%} | {' | '.join(_shown(a[name]) for name in names)} |" for a in alerts]
    if subgroups := metrics.get("subgroups"):
        names = tuple(next((r["metrics"] for r in subgroups if r["metrics"]), {}))
        lines += ["", "### By subgroup", "", f"| group | cases | events | {' | '.join(names) or 'measures'} |"]
        lines += ["|---" * (3 + max(1, len(names))) + "|"]
        lines += [_subgroup(r, names) for r in subgroups]
    return lines


def _subgroup(result: Mapping[str, Any], names: tuple[str, ...]) -> str:
    group = f"{result['grouping']}: {result['group']}".replace("|", "\\|")
    found = result["metrics"]
    cells = [_shown(found[name]) for name in names] if found else [result["reason"], *[""] * (len(names) - 1)]
    return f"| {group} | {result['n']} | {result['events']} | {' | '.join(cells)} |"


def _considerations(metrics: Mapping[str, Any]) -> list[str]:
    small = sum(bool(r.get("reason")) for r in metrics.get("subgroups", []))
    return [
        *_section("Ethical considerations"),
        f"- **Approval, consent, and harms that were thought of**: {NOT_REPORTED}",
        *_section("Caveats and recommendations"),
        "- How it does elsewhere, or later, is not known from data of the same source: watch its drift, and evaluate "
        "it where it is to be used.",
        "- An attribution says what the model rests on, not what causes the outcome.",
        *([f"- {small} subgroups are too small to say anything of them."] if small else []),
    ]


def _section(title: str) -> list[str]:
    return ["", f"## {title}", ""]


def _calibration(predictor: Predictor) -> str:
    maps = [f"log-odds × {part.scale:.3f} + {part.shift:.3f}" for part in predictor.calibration.parts]
    return "; ".join(maps)


def _shown(estimate: Mapping[str, Any]) -> str:
    if estimate["value"] is None:
        return str(estimate["reason"])
    if estimate["low"] is None:
        return f"{estimate['value']:.2f} ({estimate['reason']})"
    return f"{estimate['value']:.2f} ({estimate['low']:.2f} to {estimate['high']:.2f})"
