"""What the pages read: the workspace's files, kept in memory for as long as they do not change.

Every cached read is keyed by the file's path, time and size, so that a page shows what is on disk. Nothing here depends
on who is looking; whatever will must carry the user in its key, for the cache is shared by all of them.
"""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from explain.explanation import Explanation
from explain.kept import explanation_path, read_explanation
from ingest.cohort import Cohort, open_cohort
from ingest.errors import TelltaleError
from ingest.task import Task, load_task, parse_task
from ingest.workspace import Workspace
from models.aliases import AliasChange, history
from serve.reviews import Review, reviews

if TYPE_CHECKING:
    from models.evaluate.results import Evaluation

Stamp = tuple[int, int]
PLACE = "place"


@dataclass(frozen=True)
class Place:
    """Where the pages look: a workspace, one of its tasks, and the model version whose scores are shown."""

    workspace: Workspace
    task: str
    version: str | None


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments that follow `--` in `streamlit run dashboard/app.py -- --workspace W --task T`."""
    parser = argparse.ArgumentParser(prog="telltale dashboard")
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    parser.add_argument("--task", default=None)
    return parser.parse_args(argv)


def current() -> Place:
    """The place that app.py chose for this run."""
    place: Place = st.session_state[PLACE]
    return place


def tasks(workspace: Workspace) -> list[str]:
    """The tasks that have scores, or else those that have a cohort."""
    folder = workspace.root / "scores"
    scored = sorted(p.name for p in folder.iterdir() if any(p.glob("*.parquet"))) if folder.is_dir() else []
    return scored or workspace.tasks()


def open_place(workspace: Workspace, task: str) -> Place:
    """The champion's scores where there are some, else those of the newest version that scored."""
    scored = scored_versions(workspace, task)
    champion = next((change.version for change in reversed(champions(workspace, task))), None)
    return Place(workspace, task, champion if champion in scored else (scored[-1] if scored else None))


def scored_versions(workspace: Workspace, task: str) -> list[str]:
    """The model versions that scored this task's cases, oldest first."""
    return sorted(path.stem for path in workspace.scores(task).glob("*.parquet") if not path.name.startswith("."))


def champions(workspace: Workspace, task: str) -> list[AliasChange]:
    """Which version has been champion, and why, oldest first."""
    return history(workspace.database, task)


def scores(place: Place) -> pd.DataFrame:
    """The scored cases: those for whom the model gave no risk, then by risk, highest first. Shared: never change it."""
    if place.version is None:
        return pd.DataFrame()
    path = place.workspace.scores(place.task) / f"{place.version}.parquet"
    return _scores(str(path), stamp(path))


def cohort(place: Place) -> Cohort | None:
    """The aligned cohort of the task, or None where there is none."""
    folder = place.workspace.cohort(place.task)
    shards = folder / "shards"
    if not (folder / "task.json").is_file() or not shards.is_dir():
        return None
    return _cohort(str(folder), stamp(folder / "task.json"), stamp(shards))


def positions(place: Place) -> dict[str, int]:
    """case_id -> row in the cohort."""
    folder = place.workspace.cohort(place.task)
    held = cohort(place)
    return {} if held is None else _positions(str(folder), stamp(folder / "task.json"), stamp(folder / "shards"), held)


def task_of(place: Place) -> Task:
    """The task as its model was trained on it, else as its cohort was aligned with it."""
    if place.version is not None:
        config = place.workspace.models(place.task) / place.version / "config.json"
        if config.is_file():
            return parse_task(_json(str(config), stamp(config))["task"], str(config))
    held = cohort(place)
    if held is None:
        return load_task(place.workspace.cohort(place.task) / "task.json")
    return held.task


def explanation(place: Place, case_id: str) -> Explanation | None:
    """Why this case has its risk, where that has been worked out. case_id must be that of a scored case."""
    if place.version is None:
        return None
    path = explanation_path(place.workspace.explanations(place.task, place.version), case_id)
    return _explanation(str(path), stamp(path)) if path.is_file() else None


def top_drivers(place: Place, case_ids: Sequence[str]) -> dict[str, tuple[str, float]]:
    """case_id -> the stream with the largest share and that share, for those of the cases that are explained."""
    if place.version is None:
        return {}
    folder = place.workspace.explanations(place.task, place.version)
    if not folder.is_dir():
        return {}
    known = _drivers(str(folder))
    found = {}
    with os.scandir(folder) as entries:
        files = {entry.name: entry for entry in entries if entry.name.endswith(".json")}
    for case_id in case_ids:
        entry = files.get(explanation_path(folder, case_id).name)
        if entry is None:
            continue
        state = entry.stat()
        key = (state.st_mtime_ns, state.st_size)
        if known.get(case_id, (None, None))[0] != key:
            known[case_id] = (key, _driver(Path(entry.path)))
        if (driver := known[case_id][1]) is not None:
            found[case_id] = driver
    return found


def stale(place: Place) -> Mapping[str, str]:
    """case_id -> why its score no longer stands: what it rests on has been corrected since. Shared: never change it."""
    if place.version is None or cohort(place) is None:
        return {}
    scored = place.workspace.scores(place.task) / f"{place.version}.parquet"
    folder = place.workspace.cohort(place.task)
    rests_on = (scored, folder / "task.json", folder / "shards", place.workspace.observations,
                place.workspace.ingests, place.workspace.identities)  # fmt: skip
    stamps = tuple(stamp(path) if path.exists() else (0, 0) for path in rests_on)
    return _stale(str(place.workspace.root), place.task, place.version, stamps)


def latest_reviews(place: Place) -> dict[str, Review]:
    """case_id -> its latest review. Read anew each time: reviews change while people work."""
    return {review.case_id: review for review in reviews(place.workspace.database, place.task)}


def case_reviews(place: Place, case_id: str) -> list[Review]:
    """All reviews of a case, newest first."""
    return reviews(place.workspace.database, place.task, case_id)[::-1]


def evaluation(place: Place, version: str) -> "Evaluation | None":
    """The evaluation of a version, from its report or its own folder; None before there is one."""
    from models.evaluate.results import Evaluation

    report = place.workspace.reports(place.task) / f"{version}.json"
    kept = place.workspace.models(place.task) / version / "metrics.json"
    for path in (report, kept):
        if path.is_file() and (found := _json(str(path), stamp(path))).get("models"):
            try:
                return Evaluation.from_json(found)
            except ValueError as error:
                hint = f"run `telltale evaluate --task {place.task}` again"
                raise TelltaleError(
                    f"{path}: expected an evaluation, got {str(error).splitlines()[0]}; {hint}"
                ) from None
    return None


def model_versions(place: Place) -> list[str]:
    """The versions of the task's model, oldest first."""
    folder = place.workspace.models(place.task)
    there = (p.name for p in folder.iterdir() if (p / "manifest.json").is_file()) if folder.is_dir() else ()
    return sorted(there)


def training_json(place: Place, version: str) -> dict[str, Any]:
    """What is written down of a version's training; empty where nothing is."""
    path = place.workspace.models(place.task) / version / "training.json"
    return _json(str(path), stamp(path)) if path.is_file() else {}


def phases(facts: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The passes of a training by phase, in the order in which they were made."""
    found: dict[str, list[dict[str, Any]]] = {}
    for made in facts.get("history", ()):
        found.setdefault(made.get("phase", "together"), []).append(made)
    return found


def model_card(place: Place, version: str) -> str | None:
    """The model card as Markdown."""
    path = place.workspace.models(place.task) / version / "card.md"
    return path.read_text(encoding="utf-8") if path.is_file() else None


def ingests(place: Place) -> list[dict[str, Any]]:
    """The reconciliations of all ingests, newest first."""
    files = sorted(place.workspace.ingests.glob("*.json")) if place.workspace.ingests.is_dir() else []
    return [_json(str(path), stamp(path)) for path in reversed(files)]


def align_report(place: Place) -> dict[str, Any] | None:
    """What alignment did with the observations; None before there is a cohort."""
    path = place.workspace.cohort(place.task) / "report.json"
    return _json(str(path), stamp(path)) if path.is_file() else None


def stamp(path: Path) -> Stamp:
    """When a file was written and how long it is: what a cached read of it is keyed by."""
    state = path.stat()
    return state.st_mtime_ns, state.st_size


@st.cache_resource(show_spinner=False, max_entries=4)
def _scores(path: str, written: Stamp) -> pd.DataFrame:
    frame = pd.read_parquet(path)
    return frame.sort_values("risk", ascending=False, kind="stable", ignore_index=True, na_position="first")


@st.cache_resource(show_spinner=False, max_entries=4)
def _stale(root: str, task: str, version: str, written: tuple[Stamp, ...]) -> Mapping[str, str]:
    from ingest.stale import stale_scores

    workspace = Workspace(Path(root))
    return stale_scores(workspace, task, pd.read_parquet(workspace.scores(task) / f"{version}.parquet"))


@st.cache_resource(show_spinner=False, max_entries=2)
def _cohort(folder: str, task: Stamp, shards: Stamp) -> Cohort:
    return open_cohort(Path(folder))


@st.cache_resource(show_spinner=False, max_entries=2)
def _positions(folder: str, task: Stamp, shards: Stamp, _held: Cohort) -> dict[str, int]:
    return {case_id: row for row, case_id in enumerate(_held.index["case_id"])}


@st.cache_resource(show_spinner=False, max_entries=256)
def _json(path: str, written: Stamp) -> dict[str, Any]:
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TelltaleError(f"{path}: expected JSON, got {error}") from None
    if not isinstance(value, dict):
        raise TelltaleError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value


@st.cache_resource(show_spinner=False, max_entries=64)
def _explanation(path: str, written: Stamp) -> Explanation:
    return read_explanation(Path(path))


@st.cache_resource(show_spinner=False, max_entries=4)
def _drivers(folder: str) -> dict[str, tuple[Stamp, tuple[str, float] | None]]:
    """Filled by `top_drivers`, file by file."""
    return {}


def _driver(path: Path) -> tuple[str, float] | None:
    made = read_explanation(path)
    if made.withheld or not made.streams:
        return None
    name = max(made.streams, key=lambda stream: abs(made.streams[stream]))
    return name, made.streams[name]
