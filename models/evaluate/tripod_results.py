"""Abstract, results and discussion of the TRIPOD+AI checklist: each function says one item, or nothing."""

from ingest.cohort import SPLITS
from models.evaluate.characteristics import characteristics
from models.evaluate.estimates import words
from models.evaluate.evaluation import FUSED
from models.evaluate.subgroups import ALERT_BUDGET, PATTERNS, SUBGROUP_METRICS
from models.evaluate.task_words import outcome_in_words
from models.evaluate.tripod_facts import Facts, escaped, markdown_table, shown

ENOUGH_OF_A_CLASS = 100  # events, and non-events, to evaluate with: Collins et al. 2016, doi:10.1002/sim.6787


def abstract(facts: Facts) -> str:
    """Item 2."""
    e = facts.evaluation
    if e is None:
        return ""
    area, slope = (e.model(FUSED).metrics[name] for name in ("auroc", "calibration_slope"))
    return (
        f"{len(facts.predictor.stream_names)} kinds of data of {len(facts.cohort):,} cases, risk of: "
        f"{escaped(outcome_in_words(facts.predictor.task.target))}. On {e.n:,} held-back cases with {e.events:,} "
        f"events the AUROC is {shown(area)} and the calibration slope {shown(slope, 2)}. "
        "Background and conclusions: *not reported*."
    )


def flow(facts: Facts) -> str:
    """Item 20a."""
    known = facts.align
    if "candidates" not in known:
        return ""
    rows = [
        ("subjects", f"{known.get('subjects', 0):,}"),
        ("subjects without the index event", f"{known.get('subjects_without_index', 0):,}"),
        ("candidate cases", f"{known['candidates']:,}"),
        *((f"excluded: {reason}", f"{count:,}") for reason, count in known.get("excluded", {}).items()),
        ("cases", f"{known.get('cases', 0):,}"),
        ("of them without anything observed", f"{known.get('nothing_observed', 0):,}"),
    ]
    grown = int(facts.cohort.index["shard"].nunique()) > 1
    said = "The counts are of the latest delivery; the cohort has grown." if grown else "From the alignment's account:"
    return said + markdown_table(["", "number"], rows)


def who(facts: Facts) -> str:
    """Item 20b."""
    lines = characteristics(facts.cohort)
    rows = [(line.name, *line.values) for line in lines]
    return "Median (quartiles), or number (share of those known):" + markdown_table(["", *SPLITS], rows)


def both(_facts: Facts) -> str:
    """Item 20c."""
    return "Train and validation are the development data, test the evaluation data, in the table of 20b."


def analysed(facts: Facts) -> str:
    """Item 21."""
    cases, events = facts.training.get("cases", {}), facts.training.get("events", {})
    rows = [(split, f"{cases[split]:,}", f"{events.get(split, 0):,}") for split in cases]
    if facts.evaluation is not None:
        rows.append((facts.evaluation.split, f"{facts.evaluation.n:,}", f"{facts.evaluation.events:,}"))
    return markdown_table(["split", "cases", "with the risk event"], rows) if rows else ""


def specification(facts: Facts) -> str:
    """Item 22."""
    parameters = sum(p.numel() for p in facts.predictor.network.parameters())
    return (
        f"{parameters:,} parameters. Version {facts.predictor.version} keeps weights, task, configuration, statistics "
        "and calibration under one manifest of SHA-256 sums, and gives the same risks wherever it is loaded."
    )


def performance(facts: Facts) -> str:
    """Item 23a."""
    e = facts.evaluation
    if e is None:
        return ""
    measured = markdown_table(
        ["model", *(words(name) for name in ("auroc", "auprc", "brier", "calibration_slope", "calibration_error"))],
        [
            (
                m.name,
                *(shown(m.metrics[name]) for name in ("auroc", "auprc", "brier")),
                shown(m.metrics["calibration_slope"], 2),
                shown(m.metrics["calibration_error"]),
            )
            for m in e.models
        ],
    )
    alerts = markdown_table(
        ["alert budget", "alerts", "PPV", "sensitivity", "number needed to evaluate"],
        [
            (
                f"{a.budget:.0%}",
                f"{a.alerts:,}",
                shown(a.positive_predictive_value, 2),
                shown(a.sensitivity, 2),
                shown(a.number_needed_to_evaluate, 1),
            )
            for a in e.alerts
        ],
    )
    return "Estimates with 95 % intervals:" + measured + (alerts if e.alerts else "") + _subgroups(facts)


def _subgroups(facts: Facts) -> str:
    e = facts.evaluation
    if e is None or not e.subgroups:
        return ""
    rows = [
        (
            f"{r.grouping}: {r.group}",
            f"{r.n:,}",
            f"{r.events:,}",
            *((r.reason,) + ("",) * (len(SUBGROUP_METRICS) - 1) if r.reason else
              (shown(r.metrics[name], 2) for name in SUBGROUP_METRICS)),
        )
        for r in e.subgroups
        if r.grouping != PATTERNS
    ]  # fmt: skip
    head = ["group", "cases", "events", *(words(name) for name in SUBGROUP_METRICS)]
    said = f"\n\nSensitivity and predictive value where the riskiest {ALERT_BUDGET:.0%} of all cases are flagged:"
    return said + markdown_table(head, rows) if rows else ""


def heterogeneity(facts: Facts) -> str:
    """Item 23b."""
    e = facts.evaluation
    if e is None or not e.subgroups:
        return ""
    apart = [
        (f"{r.grouping}: {r.group}", words(name), shown(d))
        for r in e.subgroups
        for name, d in r.differences.items()
        if d.excludes_zero
    ]
    compared = sum(d.value is not None for r in e.subgroups for d in r.differences.values())
    said = (
        f"{compared} differences of a group to the rest of the cases were estimated, without correction for their "
        f"number; {len(apart) or 'none'} of their intervals exclude{'' if len(apart) > 1 else 's'} 0"
    )
    if not apart:
        return said + "."
    return said + ":" + markdown_table(["group", "measure", "difference to the rest"], apart)


def updating(facts: Facts) -> str:
    """Item 24."""
    parent = facts.training.get("parent")
    if not parent:
        return "Trained from the beginning; no earlier model was updated."
    note = facts.training.get("note")
    return f"Trained further from {escaped(str(parent))}." + (f" {escaped(str(note))}" if note else "")


def interpretation(facts: Facts) -> str:
    """Item 25."""
    from models.evaluate.report import findings

    if facts.evaluation is None:
        return ""
    said = "".join(f"\n- {escaped(finding)}" for finding in findings(facts.evaluation))
    return f"What the numbers say:\n{said}\n\nIn the light of other studies, and as a whole: *not reported*."


def limitations(facts: Facts) -> str:
    """Item 26."""
    e = facts.evaluation
    said = ["The evaluation data come from the same source as the training data: how the model does elsewhere is open."]
    if facts.predictor.task.split.by != "time":
        said.append("They are of the same period: how it does later is open.")
    if e is not None and min(e.events, e.n - e.events) < ENOUGH_OF_A_CLASS:
        said.append(
            f"They hold {e.events:,} events and {e.n - e.events:,} cases without; fewer than {ENOUGH_OF_A_CLASS} of "
            "either make estimates unsure (Collins et al. 2016, doi:10.1002/sim.6787)."
        )
    if e is not None and any(r.reason for r in e.subgroups):
        said.append(f"{sum(bool(r.reason) for r in e.subgroups)} subgroups are too small to say anything of them.")
    return " ".join(said) + " Bias, generalisability and what else limits the study: *not reported*."


def poor_input(_facts: Facts) -> str:
    """Item 27a."""
    return (
        "A stream that is absent or fails its checks is left out, which is noted with the case and widens its "
        "interval; values outside their plausible range are not read. A case of which nothing can be used gets the "
        "model's prior."
    )
