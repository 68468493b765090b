"""The options that several commands share, and how their texts become tasks and workspaces."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ingest.errors import TaskError, TelltaleError

if TYPE_CHECKING:
    from ingest.cohort import Cohort
    from ingest.meaning.vocabulary import Vocabulary
    from ingest.task import Task
    from ingest.workspace import Workspace
    from models.prediction import Predictor

WorkspaceOption = Annotated[
    Path, typer.Option("--workspace", "-w", envvar="TELLTALE_WORKSPACE", help="The folder that keeps everything.")
]
TaskOption = Annotated[str, typer.Option("--task", "-t", help="A built-in task's name or a task file's path.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Makes the run repeatable.")]
VersionOption = Annotated[str | None, typer.Option("--version", help="A model version; the default is the champion.")]
DEFAULT_WORKSPACE = Path("workspace")


def built_in_tasks() -> dict[str, Path]:
    """The task files that come with Telltale, by name."""
    return _built_in("tasks")


def find_task(name: str) -> "Task":
    """A built-in task by name, or a task file by path."""
    from ingest.task import load_task

    known = built_in_tasks()
    if name in known:
        return load_task(known[name])
    if name.endswith((".yaml", ".yml")) or Path(name).is_file():
        return load_task(Path(name))
    raise TaskError(f"task {name!r}: expected a task file's path or one of {', '.join(known)}")


def find_mapping(name: str | None) -> Path | None:
    """A built-in mapping by name, or a mapping file by path."""
    if name is None:
        return None
    known = _built_in("mappings")
    if name in known:
        return known[name]
    if not Path(name).is_file():
        raise TaskError(f"mapping {name!r}: expected a mapping file's path or one of {', '.join(known)}")
    return Path(name)


def vocabulary() -> "Vocabulary":
    """What codes and units mean, in all domains that come with Telltale. Raises InputError where two disagree."""
    from ingest.meaning.vocabulary_file import load_vocabulary, merge_vocabularies

    return merge_vocabularies([load_vocabulary(path) for path in _beside("vocabulary.yaml")])


def task_name(name: str) -> str:
    """The name under which a task's cohort, models and scores are kept."""
    return find_task(name).name


def find_version(workspace: "Workspace", task: str, version: str | None) -> str:
    """The version asked for, or the champion."""
    from models import aliases, store

    if version is None:
        return aliases.champion(workspace.database, task)
    if version not in store.versions(workspace.models(task)):
        known = ", ".join(store.versions(workspace.models(task))) or "none"
        raise TelltaleError(f"task {task}, version {version!r}: expected one of the versions there are ({known})")
    return version


def find_model(workspace: "Workspace", task: str, version: str | None) -> "Predictor":
    """Load the version asked for, or the champion."""
    from models import store

    return store.load(workspace.models(task) / find_version(workspace, task, version))


def find_cohort(workspace: "Workspace", name: str) -> "Cohort":
    """A cohort by its folder's path, or by its name in the workspace."""
    from ingest.cohort import open_cohort

    if (Path(name) / "task.json").is_file():
        return open_cohort(Path(name))
    return open_cohort(workspace.cohort(name))


def _built_in(kind: str) -> dict[str, Path]:
    return {path.stem: path for folder in _beside(kind) for path in sorted(folder.glob("*.yaml"))}


def _beside(name: str) -> list[Path]:
    """The file or folder of that name in each domain that has one."""
    import clinical
    import driving

    places = [Path(str(domain.__file__)).parent / name for domain in (clinical, driving)]
    return [place for place in places if place.exists()]
