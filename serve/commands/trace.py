"""`telltale trace`: where the numbers of a case came from."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serve.options import DEFAULT_WORKSPACE, TaskOption, WorkspaceOption

if TYPE_CHECKING:
    from ingest.cohort import Cohort
    from ingest.trace import TracedElement
    from ingest.workspace import Workspace


def trace(
    task: TaskOption,
    subject: Annotated[str, typer.Option(help="A case, a subject, or with --identifier what its issuer calls it.")],
    stream: Annotated[str, typer.Option(help="A stream of the task.")],
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    identifier: Annotated[
        bool, typer.Option("--identifier", help="SUBJECT is an identifier, looked up in the restricted register.")
    ] = False,
    issuer: Annotated[str, typer.Option(help="Who issued that identifier.")] = "local",
    element: Annotated[int | None, typer.Option(min=0, help="Only this element, counted from 0.")] = None,
    feature: Annotated[str | None, typer.Option(help="Only this feature or channel.")] = None,
    absent: Annotated[bool, typer.Option("--absent", help="Also list what is not observed.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Print file, record and times behind every element of a case's stream."""
    from ingest.cohort import open_cohort
    from ingest.identity.bearing import bearing_of
    from ingest.trace import said_of, without_names
    from ingest.trace import trace as find
    from ingest.workspace import open_workspace
    from serve.console import say
    from serve.options import task_name

    opened = open_workspace(workspace)
    cohort = open_cohort(opened.cohort(task_name(task)))
    found = (
        _cases(cohort, str(_numbered(opened, issuer, subject)), "--identifier")
        if identifier
        else _cases(cohort, subject)
    )
    answers: list[dict[str, Any]] = []
    for case_id in found:
        traced = [each for each in find(cohort, case_id, stream, element, feature) if each.observed or absent]
        traced = without_names(traced, bearing_of(opened.identities))
        said = said_of(cohort, case_id, stream)
        if as_json:
            answers.append({"case_id": case_id, **said, "elements": [each.to_json() for each in traced]})
        else:
            _print(case_id, stream, traced, said)
    if as_json:
        say(json.dumps(answers, indent=2))


def _cases(cohort: "Cohort", subject: str, shown: str = "") -> list[str]:
    """The case of that name, else all cases of that subject. shown: what to call it in an error, if not by itself."""
    from ingest.errors import TelltaleError

    index = cohort.index
    found = index["case_id"][index["case_id"] == subject]
    if found.empty:
        found = index["case_id"][index["subject_id"].astype(str) == subject]
    if found.empty:
        where = shown or f"subject {subject}"
        raise TelltaleError(f"{where}: expected a case or subject of the cohort of {cohort.task.name}, got another")
    return [str(case_id) for case_id in found]


def _numbered(workspace: "Workspace", issuer: str, identifier: str) -> int:
    """The subject of an identifier, which no message repeats: it may be a person's number. Nothing is written."""
    from ingest.identity.merges import subject_aliases
    from ingest.identity.register import IdentityRegister

    number = IdentityRegister(workspace.identities).subject_id(issuer, identifier)
    return subject_aliases(workspace.identities).get(number, number)


def _print(case_id: str, stream: str, traced: "list[TracedElement]", said: dict[str, str]) -> None:
    from serve.console import say, table

    say(f"case {case_id}, stream {stream}: {len(traced):,} elements")
    for what, line in said.items():
        say(f"  {what}: {line}")
    rows = []
    for each in traced:
        first = [each.element, each.feature or "-", each.shown or "-", each.unit or "-", f"{each.hours:.2f}"]
        for source in each.sources or (None,):
            if source is None:
                rows.append([*first, "not observed" if not each.observed else "no record of it", "", "", ""])
            else:
                times = (source.time, source.available_time)
                rows.append(
                    [*first, source.file or "-", source.record or "-", *("-" if t is None else f"{t}" for t in times)]
                )
            first = ["", "", "", "", ""]
    if rows:
        table("", ["element", "feature", "value", "unit", "hours", "file", "record", "time", "available"], rows)
