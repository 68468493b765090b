"""Title, introduction and methods of the TRIPOD+AI checklist: each function says one item, or nothing."""

from collections.abc import Callable

from ingest.cohort import SPLITS
from ingest.task import ImageStream, TableStream
from models.evaluate.characteristics import count_of
from models.evaluate.evaluation import THRESHOLDS
from models.evaluate.task_words import condition_in_words, moment_in_words, outcome_in_words, stream_in_words
from models.evaluate.tripod_facts import Facts, escaped, markdown_table

Say = Callable[[Facts], str]


def title(facts: Facts) -> str:
    """Item 1."""
    inner = "and internal evaluation " if facts.evaluation is not None else ""
    return f"Development {inner}of a multimodal prediction model: {escaped(facts.predictor.task.title)}."


def purpose(facts: Facts) -> str:
    """Item 3b."""
    task = facts.predictor.task
    who = "; ".join(condition_in_words(c) for c in task.include) or "every case with the index event"
    return (
        f"Asked {escaped(moment_in_words(task))}, for: {escaped(who)}. Purpose: decision support for people who review "
        "its reasons; it does not decide by itself. Intended users and their place in the pathway: *not reported*."
    )


def objectives(facts: Facts) -> str:
    """Item 4."""
    task = facts.predictor.task
    did = "develop and evaluate" if facts.evaluation is not None else "develop"
    return f"To {did} a model of the risk of: {escaped(outcome_in_words(task.target))}."


def source(facts: Facts) -> str:
    """Item 5a."""
    index = facts.cohort.index
    return (
        f"{len(index):,} cases of {index['subject_id'].nunique():,} subjects, from the observations of one workspace; "
        "the evaluation data are other subjects of the same source. Kind of source (records, registry, trial): "
        "*not reported*."
    )


def dates(facts: Facts) -> str:
    """Item 5b."""
    times = facts.cohort.index["index_time"].dropna()
    if not facts.predictor.task.timed or not len(times):
        return ""
    return f"Index times from {times.min():%Y-%m} to {times.max():%Y-%m}. End of follow-up: *not reported*."


def eligibility(facts: Facts) -> str:
    """Item 6b."""
    task = facts.predictor.task
    must = [f"must have: {condition_in_words(c)}" for c in task.include]
    must += [f"must not have: {condition_in_words(c)}" for c in task.exclude]
    return f"Index: {escaped(moment_in_words(task))}. " + (f"{escaped('; '.join(must))}." if must else "No exclusions.")


def preparation(facts: Facts) -> str:
    """Item 7."""
    task = facts.predictor.task
    known = "had become available" if task.known_by == "available_time" else "had been measured"
    read = f"Only values that {known} by the index time are read" if task.timed else "Only a case's own record is read"
    images = any(isinstance(task.streams[name], ImageStream) for name in facts.predictor.stream_names)
    text = (
        f"{read}, and only what lies within the plausible range of its code. Units are converted to the task's; "
        "numbers are standardised by mean and standard deviation of the training split; categories are those that the "
        "task or the training split knows."
    ) + (" Images are brought to one size." if images else "")
    left_out = [
        (name, reason, f"{count:,}")
        for name, found in facts.align.get("streams", {}).items()
        for reason, count in found.get("left_out", {}).items()
    ]
    return text + (markdown_table(["stream", "left out", "values"], left_out) if left_out else "")


def outcome(facts: Facts) -> str:
    """Item 8a."""
    return f"{escaped(outcome_in_words(facts.predictor.task.target))}. Why this outcome was chosen: *not reported*."


def predictors(facts: Facts) -> str:
    """Item 9b."""
    task = facts.predictor.task
    rows = [
        (name, task.streams[name].kind, stream_in_words(task.streams[name])) for name in facts.predictor.stream_names
    ]
    return markdown_table(["stream", "kind", "what, counted back from the index time"], rows)


def sample_size(facts: Facts) -> str:
    """Item 10."""
    cases, events = facts.training.get("cases", {}), facts.training.get("events", {})
    if not cases:
        return ""
    parts = [f"{split}: {cases[split]:,} cases, {events.get(split, 0):,} with the risk event" for split in cases]
    if facts.evaluation is not None:
        e = facts.evaluation
        parts.append(f"{e.split}: {e.n:,} cases, {e.events:,} with the risk event")
    return f"Every eligible case was used ({'; '.join(parts)}). A calculation of the sample size: *not reported*."


def missing(facts: Facts) -> str:
    """Item 11."""
    cohort = facts.cohort
    rows = [
        (name, *(count_of(~cohort.present[cohort.rows(split), place]) for split in SPLITS))
        for place, name in enumerate(cohort.stream_names)
    ]
    return (
        "Nothing is imputed: what was not measured is masked, whole streams and single elements are hidden at random "
        "in training, and a case without a stream is predicted from the others. Cases without a known outcome are left "
        "out of fitting and of measures. Cases without a stream:"
    ) + markdown_table(["stream", *SPLITS], rows)


def split(facts: Facts) -> str:
    """Item 12a."""
    how = facts.predictor.task.split
    by = "by index time, the latest for the test" if how.by == "time" else "at random by subject"
    grouped = f", keeping groups of {escaped(how.group_by)} together" if how.group_by else ""
    stratified = ", with the same share of the outcome in each" if how.stratify else ""
    return (
        f"Split {by}{grouped}{stratified}: {how.train:.0%} to fit the model, {how.validation:.0%} to stop and "
        f"calibrate it, {how.test:.0%} to evaluate it. No subject is in two of them."
    )


def handling(facts: Facts) -> str:
    """Item 12b."""
    tables = [n for n in facts.predictor.stream_names if isinstance(facts.predictor.task.streams[n], TableStream)]
    text = "Each stream is encoded into tokens by a network of its own; none was selected by its effect in training."
    return text + (" Numbers enter as they are, standardised, not cut into classes." if tables else "")


def model(facts: Facts) -> str:
    """Item 12c."""
    config = facts.predictor.config
    encoders = ", ".join(
        f"{escaped(name)}: {escaped(config.encoders[name].network)}"
        for name in facts.predictor.stream_names
        if name in config.encoders
    )
    t = config.training
    epochs = len(facts.training.get("history", ()))
    return (
        f"A neural network: an encoder for each stream ({encoders or 'defaults'}), {escaped(config.fusion.kind)} "
        f"fusion, width {config.width}, {config.members} members that saw different bootstraps of the cases. "
        f"AdamW, learning rate {t.learning_rate:g} (fusion {t.fusion_learning_rate:g}), weight decay "
        f"{t.weight_decay:g}, batches of {t.batch_size}, at most {t.alone_epochs} epochs for single streams and "
        f"{t.epochs} for the fusion, stopped after {t.patience} without a better loss on the validation split; "
        f"{epochs} were made. Seed {facts.training.get('seed', '*not reported*')}. Search for these settings: *not "
        "reported*."
    )


def clusters(facts: Facts) -> str:
    """Item 12d."""
    grouped = facts.predictor.task.split.group_by
    kept = f"Groups of {escaped(grouped)} were not split between training and evaluation. " if grouped else ""
    return kept + "Cases of one subject stay together: in the split, and in every resample of the intervals."


def measures(facts: Facts) -> str:
    """Item 12e."""
    if facts.evaluation is None:
        return ""
    return (
        "AUROC, average precision, Brier score, log loss, calibration slope and intercept, calibration error (the "
        "integrated calibration index, and of ten bins), sensitivity, specificity, predictive value and net benefit at "
        "thresholds and at alert budgets. Differences to each single stream and to the rivals, paired. Intervals: "
        f"{facts.evaluation.bootstrap.resamples:,} resamples; {escaped(facts.evaluation.bootstrap.method)}."
    )


def recalibration(_facts: Facts) -> str:
    """Item 12f."""
    return "The log-odds are calibrated on the validation split by an affine map; nothing is fitted on the test split."


def predictions(_facts: Facts) -> str:
    """Item 12g."""
    return "By the saved model itself, with all streams that a case has."


def imbalance(facts: Facts) -> str:
    """Item 13."""
    share = facts.predictor.statistics.prevalence
    return (
        f"{share:.1%} of the training cases have the risk event. Cases were neither weighted nor resampled by their "
        "outcome; risks were calibrated on the validation split."
    )


def fairness(facts: Facts) -> str:
    """Item 14."""
    names = list(dict.fromkeys(r.grouping for r in facts.evaluation.subgroups)) if facts.evaluation is not None else []
    if not names:
        return ""
    return (
        f"Measures were compared between groups of: {escaped(', '.join(names))}; see 23a and 23b. Nothing in the "
        "training aims at equal measures."
    )


def output(_facts: Facts) -> str:
    """Item 15."""
    thresholds = ", ".join(f"{threshold:.0%}" for threshold in THRESHOLDS)
    return (
        "A probability from 0 to 1 with a 90 % interval, and the share of each stream in it. No threshold is part of "
        f"the model; {thresholds} and alert budgets are evaluated."
    )


def training_versus_evaluation(facts: Facts) -> str:
    """Item 16."""
    later = "later index times" if facts.predictor.task.split.by == "time" else "other subjects"
    return f"Same source, eligibility, outcome and predictors; {later}. See 20c."


def code(_facts: Facts) -> str:
    """Item 18f."""
    return "Telltale, Apache-2.0; task, configuration, statistics and seed are kept with the model's version."
