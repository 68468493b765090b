"""Aligning as a whole: what is written, what is refused, and what a cohort is after more has been added."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from ingest.align.build import align
from ingest.cohort import open_cohort
from ingest.errors import TaskError
from ingest.files import sha256_of


@pytest.fixture
def every_kind(tmp_path: Path, people: Callable[..., list[Any]]) -> tuple[list[Any], dict[str, Any]]:
    """Rows with real PNG and WAV files for half of the subjects, and streams of all five kinds."""
    rows = people(20)
    rng = np.random.default_rng(0)
    for subject in range(1, 11):
        image, sound = tmp_path / f"{subject}.png", tmp_path / f"{subject}.wav"
        Image.fromarray(rng.integers(0, 255, (30, 40), np.uint8)).save(image)
        soundfile.write(sound, rng.normal(0, 0.1, 8000).astype(np.float32), 8000)
        for code, path in (("XRAY", image), ("SOUND", sound)):
            rows.append(
                {"subject": subject, "code": code, "hours": 5, "asset": str(path), "asset_sha256": sha256_of(path)}
            )
        rows.append({"subject": subject, "code": "NOTE", "hours": 6, "text_value": f"Patient {subject} rests well."})
    streams = {
        "record": {"kind": "table", "features": [{"name": "sex", "codes": ["GENDER"], "levels": "auto"}]},
        "vitals": {"kind": "series", "channels": [{"name": "pulse", "codes": ["PULSE"]}], "max_times": 4},
        "xray": {"kind": "image", "codes": ["XRAY"], "shape": [16, 16]},
        "notes": {"kind": "text", "codes": ["NOTE"], "max_tokens": 8},
        "sound": {"kind": "audio", "codes": ["SOUND"], "seconds": 2, "mels": 8},
    }
    return rows, streams


def test_all_five_kinds_come_back_as_tensors(every_kind: Any, task_of: Any, aligned: Any) -> None:
    rows, streams = every_kind
    report, cohort = aligned(rows, task_of(streams))
    batch = cohort.batch(np.arange(len(cohort)))
    assert {name: tuple(stream.values.shape) for name, stream in batch.streams.items()} == {
        "record": (20, 1),
        "vitals": (20, 4, 1),
        "xray": (20, 1, 1, 16, 16),
        "notes": (20, 8),
        "sound": (20, 61, 8),
    }
    assert batch.subject_ids.tolist() == list(range(1, 21))
    assert batch.target.tolist() == [float(subject % 2) for subject in range(1, 21)]
    has_files = [subject <= 10 for subject in range(1, 21)]
    for name in ("xray", "notes", "sound"):
        assert batch.streams[name].present.tolist() == has_files
    assert report.streams["xray"].present == 10
    assert cohort.arrays(0, "xray").values.shape[0] == 10, "an absent image takes no disk"
    assert cohort.texts("notes")["3"] == "Patient 3 rests well."
    assert set(cohort.sources("xray")["case_id"]) == {str(subject) for subject in range(1, 11)}
    assert json.loads((cohort.folder / "report.json").read_text())["cases"] == 20


def test_everything_is_counted(every_kind: Any, task_of: Any, aligned: Any) -> None:
    rows, streams = every_kind
    extra = [
        {"subject": 1, "code": "PULSE", "hours": 30, "numeric_value": 1.0},
        {"subject": 1, "code": "PULSE", "hours": 20, "known": 25, "numeric_value": 1.0},
        {"subject": 2, "code": "PULSE", "hours": 20, "numeric_value": 1.0, "unit": "kg"},
        {"subject": 3, "code": "PULSE", "hours": 20, "numeric_value": 999.0},
        {"subject": 4, "code": "PULSE", "hours": 20, "text_value": "fast"},
        {"subject": 5, "code": "PULSE", "hours": -9, "numeric_value": 1.0},
        {"subject": 6, "code": "PULSE", "numeric_value": 60.0},
        {"subject": 99, "code": "PULSE", "hours": 1, "numeric_value": 1.0},
    ]
    channel = {"name": "pulse", "codes": ["PULSE"], "unit": "/min", "plausible": [20, 250]}
    streams["vitals"] = {"kind": "series", "channels": [channel], "window_hours": 30, "max_times": 4}
    report, _ = aligned(rows + extra, task_of(streams))
    assert report.streams["vitals"].left_out == {
        "available only after the index time": 1,
        "before the window": 1,
        "implausible": 1,
        "measured after the index time": 1,
        "not a number": 1,
        "without a time": 1,
        "wrong unit": 1,
    }
    assert report.streams["vitals"].used == 20
    assert report.streams["vitals"].late == 1
    assert (report.subjects, report.subjects_without_index, report.cases) == (21, 1, 20)


def test_a_result_released_after_the_index_time_is_excluded_and_counted(
    people: Any, task_of: Any, aligned: Any
) -> None:
    """Fault 8: drawn before, released after."""
    lab = {"code": "LAB", "hours": 20, "numeric_value": 5.0}
    rows = [*people(), {"subject": 1, **lab, "known": 24}, {"subject": 2, **lab, "known": 24.01}]
    streams = {"labs": {"kind": "series", "channels": [{"name": "lab", "codes": ["LAB"]}]}}
    report, cohort = aligned(rows, task_of(streams))
    assert cohort.batch([0, 1]).streams["labs"].present.tolist() == [True, False]
    assert report.streams["labs"].late == 1


def test_a_stream_that_no_source_provides_is_one_clear_line_and_writes_nothing(
    people: Any, task_of: Any, table_of: Any, tmp_path: Path
) -> None:
    streams = {"labs": {"kind": "series", "channels": [{"name": "pulse", "codes": ["PULS"]}]}}
    with pytest.raises(TaskError) as caught:
        align(table_of(people()), task_of(streams), tmp_path / "cohort")
    assert str(caught.value) == ("task test, stream labs: expected observations of PULS, got none; did you mean PULSE?")
    assert list(tmp_path.iterdir()) == []
    streams["labs"]["channels"][0]["codes"] = ["entirely different"]  # type: ignore[index]
    with pytest.raises(TaskError, match=r"the most frequent codes there are ADMISSION, GENDER, PULSE, MEDS_DEATH$"):
        align(table_of(people()), task_of(streams), tmp_path / "cohort")


def test_the_outcome_cannot_be_an_input(people: Any, task_of: Any, table_of: Any, tmp_path: Path) -> None:
    streams = {"record": {"kind": "table", "features": [{"name": "x", "codes": ["GENDER"], "levels": "auto"}]}}
    target = {"label": "GENDER", "positive": ["male"], "negative": ["female"]}
    with pytest.raises(TaskError, match="stream record: expected other codes than the outcome's, got GENDER"):
        align(table_of(people()), task_of(streams, target=target), tmp_path / "cohort")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"index": {"event": "NOWHERE"}}, "index: expected observations of NOWHERE, got none"),
        ({"target": {"events": ["NOTHING"], "horizon_hours": 9}}, "target, events: expected observations of NOTHING"),
        ({"target": {"events": ["PULSE"], "horizon_hours": 9}}, "got 0 with and [0-9]+ without, of 20 cases in all"),
        ({"include": [{"name": "old", "codes": ["AGE"], "above": 60}]}, r"got none of 20 \(excluded: old: 20\)"),
        ({"streams": {"x": {"kind": "text", "codes": ["PULSE"], "redact": ["("]}}}, "expected regular expressions"),
        ({"streams": {"x": {"kind": "text", "codes": ["PULSE"], "tokenizer": "no/such"}}}, "tokenizer: expected"),
        ({"streams": {"x": {"kind": "audio", "codes": ["PULSE"], "mels": 900}}}, "fewer mels, got 6.0 s and 900 mels"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_the_old_cohort(
    changed: dict[str, Any], message: str, people: Any, task_of: Any, table_of: Any, aligned: Any, pulse: Any
) -> None:
    _, old = aligned(people(), task_of({"vitals": pulse}))
    before = {path: path.read_bytes() for path in old.folder.rglob("*") if path.is_file()}
    task = task_of(**{"streams": {"vitals": pulse}, **changed})
    with pytest.raises(TaskError, match=message) as caught:
        align(table_of(people()), task, old.folder)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in old.folder.rglob("*") if path.is_file()} == before
    assert [path.name for path in old.folder.parent.iterdir()] == ["cohort"]


def test_an_interruption_leaves_the_old_cohort_whole(
    people: Any, task_of: Any, table_of: Any, aligned: Any, pulse: Any
) -> None:
    _, old = aligned(people(), task_of({"vitals": pulse}))

    def interrupt(stage: str, done: int, of: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        align(table_of(people(8)), task_of({"vitals": pulse}), old.folder, progress=interrupt)
    assert len(open_cohort(old.folder)) == 20
    assert [path.name for path in old.folder.parent.iterdir()] == ["cohort"]


def test_appending_adds_only_what_is_new_and_changes_no_statistics(people: Any, task_of: Any, aligned: Any) -> None:
    sex = {"kind": "table", "features": [{"name": "sex", "codes": ["GENDER"], "levels": "auto"}]}
    task = task_of({"record": sex})
    _, first = aligned(people(20), task)
    statistics = (first.folder / "statistics.json").read_bytes()
    rows = people(30)
    rows.append({"subject": 31, "code": "ADMISSION", "hours": 0})
    rows.append({"subject": 31, "code": "GENDER", "text_value": "other"})
    report, grown = aligned(rows, task, append=True)
    assert (report.already_there, report.cases, len(grown)) == (20, 11, 31)
    assert report.streams["record"].left_out == {"unknown level": 1}
    assert (first.folder / "statistics.json").read_bytes() == statistics
    assert grown.index["shard"].tolist() == [0] * 20 + [1] * 11
    assert grown.index["split"][:20].tolist() == first.index["split"].tolist()
    assert grown.batch([30]).streams["record"].present.tolist() == [False]
    again, same = aligned(rows, task, append=True)
    assert (again.cases, again.already_there, len(same)) == (0, 31, 31)
    assert sorted(path.name for path in (first.folder / "shards").iterdir()) == ["00000", "00001"]


def test_a_grown_cohort_splits_as_one_aligned_at_once(people: Any, task_of: Any, aligned: Any, pulse: Any) -> None:
    task = task_of({"vitals": pulse})
    aligned(people(20), task)
    _, grown = aligned(people(60), task, append=True)
    _, at_once = aligned(people(60), task, name="other")
    assert grown.index["split"].tolist() == at_once.index["split"].tolist()


def test_appending_to_another_tasks_cohort_is_refused(people: Any, task_of: Any, aligned: Any, pulse: Any) -> None:
    aligned(people(), task_of({"vitals": pulse}))
    with pytest.raises(TaskError, match="expected the task that this cohort was aligned with"):
        aligned(people(), task_of({"vitals": {**pulse, "max_times": 9}}), append=True)
    encoder = {**pulse, "encoder": {"width": 8}}
    report, _ = aligned(people(), task_of({"vitals": encoder}), append=True)
    assert report.cases == 0, "the encoder's settings do not concern alignment"


def test_only_the_subjects_that_were_asked_for(people: Any, task_of: Any, aligned: Any, pulse: Any) -> None:
    report, cohort = aligned(people(), task_of({"vitals": pulse}), subjects=range(3, 17))
    assert cohort.index["subject_id"].tolist() == list(range(3, 17))
    assert report.subjects == 14


def test_a_case_id_is_the_pseudonym_and_nothing_else(people: Any, task_of: Any, aligned: Any, pulse: Any) -> None:
    _, cohort = aligned(people(), task_of({"vitals": pulse}))
    assert cohort.index["case_id"].tolist() == cohort.index["subject_id"].astype(str).tolist()


def test_a_cohort_split_by_time_grows_at_its_own_boundaries(
    people: Any, task_of: Any, aligned: Any, pulse: Any
) -> None:
    rows = people(40)
    for row in rows:
        row["hours"] = row["hours"] + 100 * row["subject"] if row.get("hours") is not None else None
    task = task_of({"vitals": pulse}, split={"by": "time"})
    _, first = aligned(rows, task)
    assert first.index["split"].tolist() == ["train"] * 24 + ["validation"] * 6 + ["test"] * 10
    new = [{**row, "subject": row["subject"] + 100, "hours": row["hours"] + 1} for row in rows if row.get("hours")]
    _, grown = aligned([*rows, *new], task, append=True)
    assert grown.index["split"][40:].tolist() == first.index["split"].tolist()


def test_groups_of_subjects_stay_together(people: Any, task_of: Any, aligned: Any, pulse: Any) -> None:
    rows = people(60) + [{"subject": s, "code": "HOSPITAL", "text_value": f"h{s % 6}"} for s in range(1, 61)]
    _, cohort = aligned(rows, task_of({"vitals": pulse}, split={"group_by": "HOSPITAL"}))
    assert cohort.index.groupby(cohort.index["subject_id"] % 6)["split"].nunique().tolist() == [1] * 6


def test_who_was_split_once_stays_where_he_is(people: Any, task_of: Any, aligned: Any, pulse: Any) -> None:
    """Exact fractions of each class would move subjects as the data grow."""
    task = task_of({"vitals": pulse}, split={"stratify": True})
    _, first = aligned(people(40), task)
    _, grown = aligned(people(90), task)
    _, anew = aligned(people(90), task, name="anew")
    assert grown.index["split"][:40].tolist() == first.index["split"].tolist()
    assert anew.index["split"][:40].tolist() != first.index["split"].tolist(), "else this test says nothing"
    _, again = aligned(people(90), task, resplit=True)
    assert again.index["split"].tolist() == anew.index["split"].tolist()
    other = task_of({"vitals": pulse}, split={"stratify": True, "seed": 1})
    _, other_cohort = aligned(people(90), other)
    assert other_cohort.index["split"].tolist() == aligned(people(90), other, name="other")[1].index["split"].tolist()


def test_levels_keep_their_places_when_a_cohort_is_aligned_again(people: Any, task_of: Any, aligned: Any) -> None:
    """So that models which know them by their place still fit."""
    ward = {"record": {"kind": "table", "features": [{"name": "ward", "codes": ["WARD"], "levels": "auto"}]}}
    task = task_of(ward, split={"train": 0.98, "validation": 0.01, "test": 0.01})

    def wards(names: str) -> list[Any]:
        return [{"subject": s, "code": "WARD", "hours": 1, "text_value": name} for s, name in enumerate(names, 1)]

    _, first = aligned([*people(), *wards("aab")], task)
    _, again = aligned([*people(), *wards("bbbc")], task)
    _, anew = aligned([*people(), *wards("bbbc")], task, resplit=True)
    levels = [cohort.statistics.streams["record"].levels["ward"] for cohort in (first, again, anew)]
    assert levels == [("a", "b"), ("a", "b", "c"), ("b", "c")]


def test_the_digest_of_a_cases_inputs_changes_with_them_alone(
    people: Any, task_of: Any, aligned: Any, pulse: Any
) -> None:
    task = task_of({"vitals": pulse, "record": {"kind": "table", "features": [{"name": "pulse", "codes": ["PULSE"]}]}})
    rows = people()
    _, before = aligned(rows, task)
    rows[2] = {**rows[2], "numeric_value": 62.5}
    rows[6] = {**rows[6], "source_file": "another"}
    _, after = aligned(rows, task)
    same = before.index["inputs"].to_numpy() == after.index["inputs"].to_numpy()
    assert same.tolist() == [False] + [True] * 19
    assert before.index["inputs"].is_unique
    assert before.inputs(0) != after.inputs(0)
