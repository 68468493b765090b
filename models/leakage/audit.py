"""The audit of an aligned cohort: every check, one after another, before anybody believes a result."""

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from ingest.align.source import ObservationSource
from ingest.cohort import Cohort
from ingest.delivery.shown_names import Bearing
from models.leakage.borders import border_findings
from models.leakage.columns import alone_findings, column_findings, presence_findings
from models.leakage.duplicates import array_findings, input_findings, split_findings
from models.leakage.finding import Audit, Finding, gravest_first
from models.leakage.knowledge import late_findings, lead_findings
from models.leakage.near_images import near_image_findings
from models.leakage.near_notes import near_note_findings
from models.leakage.origins import origin_findings, origins_of
from models.leakage.scope import Scope, scope_of
from models.leakage.separation import LEAST_OF_A_CLASS
from models.leakage.shuffled import shuffled_findings
from models.leakage.timing import index_findings, window_findings
from models.leakage.words import word_findings

Step = Callable[[str], None]


def audit(
    cohort: Cohort,
    *,
    seed: int = 0,
    outcome_words: Mapping[str, Sequence[str]] | None = None,
    source: ObservationSource | None = None,
    catalogue: pa.Table | None = None,
    bearing: Bearing = lambda words: set(),
    on_step: Step | None = None,
) -> Audit:
    """Look for what tells the outcome in a cohort without being a sign of it. Nothing is changed, no model is kept.

    outcome_words: subject -> words of a domain that name outcomes, `*` for any ending. source: the observations that
    the cohort was aligned from; without them groups and the hours until the outcome are not looked at. catalogue: what
    is known of its images. bearing: what patients bear as names, which no finding shows.
    """
    say = on_step or (lambda _: None)
    scope = scope_of(cohort, seed)
    groups = groups_of_subjects(cohort, source)
    say("copies and splits")
    found = [*split_findings(cohort, groups), *input_findings(cohort), *array_findings(scope)]
    say("images that are nearly the same")
    found += near_image_findings(scope)
    say("notes that are nearly the same")
    found += near_note_findings(scope)
    say("what was known when")
    found += [*late_findings(cohort), *lead_findings(cohort, source)]
    if scope.comparable:
        found += _by_outcome(scope, groups, outcome_words or {}, catalogue, bearing, say)
    else:
        scope.note(
            f"fewer than {LEAST_OF_A_CLASS} subjects with the outcome or without: nothing that compares them was asked"
        )
    return Audit(
        cohort.task.name, cohort.task.title, len(cohort), int((cohort.target == 1).sum()), seed,
        gravest_first(found), tuple(scope.notes),
    )  # fmt: skip


def groups_of_subjects(cohort: Cohort, source: ObservationSource | None) -> Mapping[int, str]:
    """subject -> the first stated value of the task's `group_by`, for subjects of the cohort."""
    code = cohort.task.split.group_by
    if code is None or source is None:
        return {}
    ours = set(cohort.index["subject_id"].astype(int))
    groups: dict[int, str] = {}
    for table in source.chunks({code}):
        stated = table.filter(pc.is_valid(table["text_value"]))
        for subject, text in zip(stated["subject_id"].to_pylist(), stated["text_value"].to_pylist(), strict=True):
            if subject in ours:
                groups.setdefault(subject, text)
    return groups


def _by_outcome(
    scope: Scope, groups: Mapping[int, str], outcome_words: Mapping[str, Sequence[str]], catalogue: pa.Table | None,
    bearing: Bearing, say: Step,
) -> list[Finding]:  # fmt: skip
    """The checks that compare those with the outcome with those without."""
    say("single features")
    found = [*column_findings(scope), *presence_findings(scope), *alone_findings(scope)]
    say("words in notes")
    found += word_findings(scope, outcome_words, bearing)
    say("windows, counts and index times")
    found += [*window_findings(scope), *index_findings(scope)]
    say("origins and image borders")
    origins = origins_of(scope, groups, catalogue)
    found += [*origin_findings(scope, origins), *border_findings(scope, origins)]
    say("shuffled outcomes")
    return found + shuffled_findings(scope, groups)
