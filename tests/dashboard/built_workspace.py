"""A workspace as the pipeline would leave it, made in a second: a synthetic cohort, scores, explanations, evaluation.

Nothing is trained. The scores are the known risk with noise; the attributions are those of a game that is additive
but for one pair of streams, so that they and every coalition are known in closed form.
"""

import datetime as dt
import json
from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from explain.explanation import Element, Explanation
from explain.kept import write_explanation
from ingest.cohort import Cohort, open_cohort, presence_pattern
from ingest.task import AudioStream, ImageStream, SeriesStream, TableStream, Task
from ingest.workspace import Workspace, create_workspace
from models.aliases import set_alias
from models.evaluate.evaluation import evaluate

TASK = "deterioration-small"
VERSION = "v0002"
PAIR = ("vitals", "labs")  # the two streams that interact
TOGETHER = 0.3  # log-odds that only both of them bring
BASE_LOGIT = -1.1
GRID = (4, 4)
HOSTILE = "<img src=x onerror=\"document.title='hacked'\"> walking & stable <script>document.title='hacked'</script>"


def build_workspace(
    root: Path, write_cohort: Callable[..., Path], n: int = 120, *, explained: int = 40, image_size: int = 32
) -> Workspace:
    """A workspace with one task of n cases, of which those with the highest risk are explained."""
    workspace = create_workspace(root)
    write_cohort(workspace.cohort(TASK), n, 3, image_size=image_size)
    cohort = open_cohort(workspace.cohort(TASK))
    scores = scores_of(cohort, np.random.default_rng(5))
    folder = workspace.scores(TASK)
    folder.mkdir(parents=True)
    scores.to_parquet(folder / f"{VERSION}.parquet")
    rows = {case_id: row for row, case_id in enumerate(cohort.index["case_id"])}
    for score in scores.sort_values("risk", ascending=False).head(explained).to_dict("records"):
        made = explanation_of(cohort, rows[score["case_id"]], float(score["logit"]))
        write_explanation(workspace.explanations(TASK, VERSION), made)
    _write_model(workspace, cohort, scores)
    _write_ingest(workspace)
    return workspace


def scores_of(cohort: Cohort, rng: np.random.Generator) -> pd.DataFrame:
    """Scores in the columns of `models.score`."""
    truth = pd.read_parquet(cohort.folder / "truth.parquet").set_index("case_id")["risk"]
    known = truth.loc[cohort.index["case_id"]].to_numpy()
    logit = np.log(known / (1 - known)) + 0.5 * rng.normal(size=len(known))
    std = 0.25 + 0.12 * (~cohort.present).sum(1)
    names = cohort.stream_names
    return pd.DataFrame(
        {
            "case_id": cohort.index["case_id"],
            "subject_id": cohort.index["subject_id"],
            "index_time": cohort.index["index_time"],
            "split": cohort.index["split"],
            "target": cohort.target,
            "risk": _expit(logit),
            "risk_low": _expit(logit - 1.6449 * std),
            "risk_high": _expit(logit + 1.6449 * std),
            "logit": logit,
            "logit_std": std,
            "model_version": VERSION,
            "pattern": presence_pattern(cohort.present, names),
            **{f"has_{name}": cohort.present[:, i] for i, name in enumerate(names)},
            "scored_at": dt.datetime(2026, 1, 2, 3, 4, 5),  # noqa: DTZ001  # as models.score writes it: UTC, no zone
        }
    )


def explanation_of(cohort: Cohort, row: int, logit: float) -> Explanation:
    """Shares that sum to the log-odds exactly, elements that sum to their streams, and every coalition."""
    rng = np.random.default_rng(row)
    case_id = str(cohort.index["case_id"].iloc[row])
    present = [name for i, name in enumerate(cohort.stream_names) if cohort.present[row, i]]
    alone = dict(zip(present, rng.normal(size=len(present)), strict=True))
    pair = all(name in present for name in PAIR)
    gap = logit - BASE_LOGIT - sum(alone.values()) - (TOGETHER if pair else 0)
    alone = {name: value + gap / len(present) for name, value in alone.items()}
    shares = {name: value + (TOGETHER / 2 if pair and name in PAIR else 0) for name, value in alone.items()}
    coalitions = {
        "+".join(kept): BASE_LOGIT + sum(alone[name] for name in kept) + (TOGETHER if set(PAIR) <= set(kept) else 0)
        for size in range(len(present) + 1)
        for kept in combinations(present, size)
    }
    elements = {name: _elements(cohort, row, name, shares[name], rng) for name in present}
    kinds = {name: cohort.task.streams[name].kind for name in present}
    return Explanation(case_id, TASK, VERSION, BASE_LOGIT, logit, shares, coalitions, elements, kinds)


def change_note(workspace: Workspace, case_id: str, text: str) -> None:
    """Put another text in the place of a case's note."""
    cohort = open_cohort(workspace.cohort(TASK))
    row = cohort.index.index[cohort.index["case_id"] == case_id][0]
    path = cohort.shard_folder(int(cohort.index["shard"].iat[row])) / "notes.text.parquet"
    held = pd.read_parquet(path)
    held.loc[held["row"] == int(cohort.index["notes_row"].iat[row]), "text"] = text
    held.to_parquet(path)


def _elements(cohort: Cohort, row: int, stream: str, share: float, rng: np.random.Generator) -> tuple[Element, ...]:
    spec = cohort.task.streams[stream]
    named: list[tuple[str, tuple[float, ...]]]
    if isinstance(spec, TableStream):
        named = [(feature.name, ()) for feature in spec.features]
    elif isinstance(spec, SeriesStream):
        named = [(channel.name, ()) for channel in spec.channels]
    elif isinstance(spec, ImageStream):
        cells = [(r, c) for r in range(GRID[0]) for c in range(GRID[1])]
        named = [(f"row {r + 1}, column {c + 1}", (r, c, *GRID)) for r, c in cells]
    elif isinstance(spec, AudioStream):
        named = [(f"stretch {i}", (0.128 * i, 0.128 * (i + 1))) for i in range(6)]
    else:
        text = str(cohort.texts(stream).loc[cohort.index["case_id"].iloc[row]])
        ends = np.cumsum([len(word) + 1 for word in text.split(" ")]) - 1
        named = [(w, (int(e) - len(w), int(e))) for w, e in zip(text.split(" "), ends, strict=True)]
    parts = rng.normal(size=len(named))
    parts += (share - parts.sum()) / len(parts)
    return tuple(Element(name, float(v), position=place) for (name, place), v in zip(named, parts, strict=True))


def _write_model(workspace: Workspace, cohort: Cohort, scores: pd.DataFrame) -> None:
    task: Task = cohort.task
    for version in ("v0001", VERSION):
        folder = workspace.models(TASK) / version
        folder.mkdir(parents=True)
        history = [
            {
                "number": i,
                "of": 12,
                "training_loss": 0.7 / (1 + 0.2 * i),
                "validation_loss": 0.72 - 0.05 * i + 0.004 * i * i,
                "best": i in (1, 4, 6),
            }
            for i in range(1, 13)
        ]
        _json(folder / "training.json", {"version": version, "history": history})
        _json(folder / "manifest.json", {})
        _json(folder / "config.json", {"task": task.model_dump(mode="json")})
        (folder / "card.md").write_text(f"# {task.title}: {version}\n\nMade for tests.\n")
        set_alias(workspace.database, TASK, version, "not worse than the one before")
    test = scores[scores["target"].notna()]
    rng = np.random.default_rng(0)
    target = test["target"].to_numpy(float)
    singles = {
        n: np.clip(0.75 * test["risk"] + 0.25 * rng.random(len(test)), 0, 1).to_numpy() for n in ("vitals", "xray")
    }
    found = evaluate(
        {"fused": test["risk"].to_numpy(), **singles, "gradient boosting": singles["vitals"] * 0.9},
        target,
        test["subject_id"].to_numpy(),
        list(test["pattern"]),
        {name: test[f"has_{name}"].to_numpy() for name in singles},
        groupings={"ward": np.where(np.arange(len(test)) % 2 == 0, "north", "south")},
        rng=rng,
        n_bootstrap=40,
    )
    _json(workspace.reports(TASK) / f"{VERSION}.json", found.to_json())


def _write_ingest(workspace: Workspace) -> None:
    account = {
        "run": "20260101T000000", "part": "part.parquet", "in": 1000, "used": 960, "refused": 3, "skipped": 37,
        "by_format": {"FHIR ndjson": {"in": 900, "used": 870, "refused": 2, "skipped": 28},
                      "DICOM": {"in": 100, "used": 90, "refused": 1, "skipped": 9}},
        "skip_reasons": {"resource type not read": 28, "not a source file": 9}, "notes": {"status preliminary": 4},
        "observations": 5210, "subjects": 120,
        "refusals": [{"file": "Observation.ndjson", "record": "line 12", "field": "valueQuantity",
                      "expected": "a number", "got": "text", "hint": ""}],
    }  # fmt: skip
    _json(workspace.ingests / "20260101T000000.json", account)


def _json(path: Path, value: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def _expit(logit: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-logit)))
