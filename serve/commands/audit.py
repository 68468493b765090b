"""`telltale audit`: what tells the outcome in a cohort without being a sign of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serve.options import DEFAULT_WORKSPACE, SeedOption, TaskOption, WorkspaceOption

if TYPE_CHECKING:
    from models.leakage.finding import Audit

OUTCOME_WORDS = "outcome_words.yaml"  # of a domain


def audit(
    task: TaskOption,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    words: Annotated[
        list[str] | None, typer.Option("--word", help="A word that names the outcome in notes; * for any ending.")
    ] = None,
    seed: SeedOption = 0,
) -> None:
    """Look for leakage in an aligned cohort. Exit code 2 where there is an alarm."""
    from serve.exits import Refused

    if run_audit(workspace, task, words=words or [], seed=seed).counts["alarm"]:
        raise Refused


def run_audit(workspace: Path, task: str, *, words: list[str], seed: int = 0) -> "Audit":
    """Audit, print the findings, and write JSON and HTML."""
    from ingest.catalogue import read_catalogue
    from ingest.cohort import open_cohort
    from ingest.files import write_json
    from ingest.identity.bearing import bearing_of
    from ingest.store import Observations
    from ingest.workspace import open_workspace
    from models.leakage.audit import audit as look
    from models.leakage.report import write_page
    from serve.console import progress, say
    from serve.options import task_name

    opened = open_workspace(workspace)
    cohort = open_cohort(opened.cohort(task_name(task)))
    with progress("auditing") as bar:
        found = look(
            cohort,
            seed=seed,
            outcome_words={**outcome_words(), "those given": words},
            source=Observations(opened),
            catalogue=read_catalogue(opened.images),
            bearing=bearing_of(opened.identities),
            on_step=lambda step: bar(0, None, step),
        )
    reports = opened.reports(cohort.task.name)
    write_json(reports / "audit.json", found.to_json())
    write_page(reports / "audit.html", found)
    show(found)
    say(f"\nthe whole report: {reports / 'audit.html'}")
    return found


def outcome_words() -> dict[str, list[str]]:
    """Subject -> the words that name outcomes in notes, of all domains that come with Telltale."""
    import yaml

    import clinical
    import driving

    places = [Path(str(domain.__file__)).parent / OUTCOME_WORDS for domain in (clinical, driving)]
    found = [yaml.safe_load(place.read_text(encoding="utf-8")) for place in places if place.is_file()]
    return {subject: words for each in found for subject, words in each.items()}


def show(found: "Audit") -> None:
    """All findings in a table, then what to do next; the gravest last, where the eye is."""
    from serve.console import say, table

    rows = [[f"{f.verdict}: {f.check}", f.where, f.figure] for f in reversed(found.findings)]
    table(f"{found.task}: {found.cases:,} cases, {found.events:,} with the outcome", COLUMNS, rows)
    for note in found.notes:
        say(note)
    for finding in reversed([*found.of("alarm"), *found.of("look")]):
        say(f"{finding.verdict}: {finding.check}, {finding.where}: {finding.step}")
    say(", ".join(f"{count} {verdict}" for verdict, count in found.counts.items()))


COLUMNS = ["check", "stream or feature", "figure"]
