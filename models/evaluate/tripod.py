"""The TRIPOD+AI checklist of a model, filled from what is known of it; the rest says that it is not reported.

Collins et al. 2024, doi:10.1136/bmj-2023-078378: 27 items, 52 with their parts, named here in few words. A person adds
what no file knows (ethics, funding, setting) before the document goes anywhere.
"""

import json
from collections.abc import Mapping
from typing import Any

from ingest.cohort import Cohort
from ingest.errors import TelltaleError
from models.evaluate import tripod_methods as methods
from models.evaluate import tripod_results as results
from models.evaluate.results import Evaluation
from models.evaluate.tripod_facts import Facts
from models.prediction import Predictor

NOT_REPORTED = "*not reported*"

# Section, number, item in few words, and what says it (None: no file of a workspace can know it).
ITEMS: tuple[tuple[str, str, str, methods.Say | None], ...] = (
    ("Title and abstract", "1", "Title", methods.title),
    ("Title and abstract", "2", "Abstract", results.abstract),
    ("Introduction", "3a", "Background and rationale", None),
    ("Introduction", "3b", "Target population, intended purpose and users", methods.purpose),
    ("Introduction", "3c", "Known health inequalities", None),
    ("Introduction", "4", "Objectives", methods.objectives),
    ("Methods", "5a", "Source of data", methods.source),
    ("Methods", "5b", "Dates of the data", methods.dates),
    ("Methods", "6a", "Setting", None),
    ("Methods", "6b", "Eligibility of participants", methods.eligibility),
    ("Methods", "6c", "Treatments received", None),
    ("Methods", "7", "Data preparation", methods.preparation),
    ("Methods", "8a", "Outcome and time horizon", methods.outcome),
    ("Methods", "8b", "Who assessed the outcome, where that needs judgement", None),
    ("Methods", "8c", "Blinding of the assessment of the outcome", None),
    ("Methods", "9a", "Choice of initial predictors", None),
    ("Methods", "9b", "Predictors, how and when measured", methods.predictors),
    ("Methods", "9c", "Who assessed predictors, where that needs judgement", None),
    ("Methods", "10", "Sample size", methods.sample_size),
    ("Methods", "11", "Missing data", methods.missing),
    ("Methods", "12a", "How the data were used and split", methods.split),
    ("Methods", "12b", "Handling of predictors in the analysis", methods.handling),
    ("Methods", "12c", "Type of model and how it was built", methods.model),
    ("Methods", "12d", "Heterogeneity between clusters", methods.clusters),
    ("Methods", "12e", "Measures of performance", methods.measures),
    ("Methods", "12f", "Model updating in the analysis", methods.recalibration),
    ("Methods", "12g", "How predictions were computed for the evaluation", methods.predictions),
    ("Methods", "13", "Class imbalance", methods.imbalance),
    ("Methods", "14", "Fairness", methods.fairness),
    ("Methods", "15", "Model output", methods.output),
    ("Methods", "16", "Training versus evaluation", methods.training_versus_evaluation),
    ("Methods", "17", "Ethical approval", None),
    ("Open science", "18a", "Funding", None),
    ("Open science", "18b", "Conflicts of interest", None),
    ("Open science", "18c", "Protocol", None),
    ("Open science", "18d", "Registration", None),
    ("Open science", "18e", "Data sharing", None),
    ("Open science", "18f", "Code sharing", methods.code),
    ("Patient and public involvement", "19", "Patient and public involvement", None),
    ("Results", "20a", "Flow of participants", results.flow),
    ("Results", "20b", "Characteristics of participants", results.who),
    ("Results", "20c", "Development against evaluation data", results.both),
    ("Results", "21", "Participants and events of each analysis", results.analysed),
    ("Results", "22", "Specification of the full model", results.specification),
    ("Results", "23a", "Performance, with intervals", results.performance),
    ("Results", "23b", "Heterogeneity of performance", results.heterogeneity),
    ("Results", "24", "Results of model updating", results.updating),
    ("Discussion", "25", "Interpretation", results.interpretation),
    ("Discussion", "26", "Limitations", results.limitations),
    ("Discussion", "27a", "Input of poor quality, or none", results.poor_input),
    ("Discussion", "27b", "Users' interaction and expertise", None),
    ("Discussion", "27c", "Next steps of research", None),
)


def tripod_report(
    predictor: Predictor, cohort: Cohort, training: Mapping[str, Any], evaluation: Evaluation | None
) -> str:
    """The document as Markdown. training: a version's training.json; evaluation: None before there is one."""
    facts = Facts(predictor, cohort, training, evaluation, _align_report(cohort))
    said = [(section, number, name, say(facts) if say is not None else "") for section, number, name, say in ITEMS]
    reported = sum(bool(text) for _, _, _, text in said)
    lines = [
        f"# TRIPOD+AI: {predictor.task.title}, {predictor.version}",
        "",
        "After the checklist of Collins et al. 2024, doi:10.1136/bmj-2023-078378, filled from what is known here.",
        f"{reported} of {len(said)} items are filled, some in part; a person adds the others, and checks these.",
    ]
    for place, (section, number, name, text) in enumerate(said):
        if place == 0 or section != said[place - 1][0]:
            lines += ["", f"## {section}"]
        lines += ["", f"**{number}. {name}.** {text or NOT_REPORTED}"]
    return "\n".join([*lines, ""])


def _align_report(cohort: Cohort) -> dict[str, Any]:
    path = cohort.folder / "report.json"
    if not path.is_file():
        return {}
    try:
        read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise TelltaleError(f"{path}: expected JSON, got {error}; align the cohort anew") from None
    return read
