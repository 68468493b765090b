"""Every element of every tensor leads back to the record that it came from."""

import csv
import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ingest.align.build import align
from ingest.catalogue import read_catalogue
from ingest.cohort import Cohort, open_cohort
from ingest.errors import TelltaleError
from ingest.run import ingest
from ingest.store import Observations
from ingest.task import parse_task
from ingest.trace import case_row, said_of, trace
from ingest.workspace import Workspace

PATIENTS = range(1, 13)
STREAMS: dict[str, Any] = {
    "record": {
        "kind": "table",
        "features": [
            {"name": "age", "derive": "age", "unit": "a"},
            {"name": "sex", "codes": ["SEX"], "levels": ["f", "m"]},
            {"name": "highest CRP", "codes": ["CRP"], "unit": "mg/L", "reduce": "max"},
            {"name": "falls", "codes": ["FALL"], "reduce": "count"},
        ],
    },
    "labs": {
        "kind": "series",
        "channels": [
            {"name": "CRP", "codes": ["CRP"], "unit": "mg/L"},
            {"name": "ward", "codes": ["WARD"], "levels": "auto"},
        ],
    },
    "hourly": {
        "kind": "series",
        "window_hours": 12,
        "bin_hours": 6,
        "channels": [{"name": "CRP", "codes": ["CRP"], "unit": "mg/L", "reduce": "mean"}],
    },
    "xray": {"kind": "image", "codes": ["XRAY"], "shape": [8, 8]},
    "notes": {"kind": "text", "codes": ["NOTE"], "max_tokens": 8},
    "sound": {"kind": "audio", "codes": ["SOUND"], "seconds": 1, "mels": 8},
}  # fmt: skip
TASK = {
    "name": "traced",
    "title": "Traced",
    "index": {"event": "IN", "offset_hours": 12},
    "target": {"events": ["ICU"], "horizon_hours": 48},
    "streams": STREAMS,
    "split": {"train": 0.98, "validation": 0.01, "test": 0.01},
}


@pytest.fixture
def traced(
    workspace: Workspace, delivery: Path, write_picture: Callable[[Path], Path], write_sound: Callable[[Path], Path]
) -> Cohort:
    """A delivery of tables, notes, pictures and sounds, ingested and aligned."""
    write_delivery(delivery, write_picture, write_sound)
    ingest(workspace, [delivery], mapping=delivery.parent / "mapping.yaml")
    catalogue = read_catalogue(workspace.images)
    align(Observations(workspace), parse_task(TASK, "test"), workspace.cohort("traced"), catalogue=catalogue)
    return open_cohort(workspace.cohort("traced"))


def write_delivery(folder: Path, write_picture: Callable[[Path], Path], write_sound: Callable[[Path], Path]) -> None:
    labs, events = ["who,at,known,crp,ward"], ["who,at,code,text,file"]
    for patient in PATIENTS:
        for hour in range(1, 12, 3):
            late = f"2024-03-{patient:02d}T{hour + 1:02d}:00:00Z"
            labs.append(
                f"P{patient},2024-03-{patient:02d}T{hour:02d}:00:00Z,{late},{patient + hour / 10},w{patient % 2}"
            )
        day = f"2024-03-{patient:02d}"
        events += [f"P{patient},{day}T00:00:00Z,IN,,", f"P{patient},1960-01-01T00:00:00Z,MEDS_BIRTH,,"]
        events.append(f"P{patient},{day}T00:00:00Z,SEX,{'fm'[patient % 2]},")
        events.append(f"P{patient},{day}T02:00:00Z,NOTE,patient {patient} rests well,")
        if patient % 2:
            events.append(f"P{patient},{day}T20:00:00Z,ICU,,")
            events.append(f"P{patient},{day}T01:00:00Z,FALL,,")
            write_picture(folder / f"{patient}.jpg")
            write_sound(folder / f"{patient}.wav")
            events += [
                f"P{patient},{day}T03:00:00Z,XRAY,,{patient}.jpg",
                f"P{patient},{day}T03:00:00Z,SOUND,,{patient}.wav",
            ]
    (folder / "labs.csv").write_text("\n".join(labs) + "\n")
    (folder / "events.csv").write_text("\n".join(events) + "\n")
    who, at = {"column": "who", "issuer": "ward"}, {"column": "at"}
    parts: list[dict[str, Any]] = [
        {"path": "labs.csv", "subject": who, "time": at, "available_time": {"column": "known"},
         "columns": [{"code": "CRP", "column": "crp", "kind": "numeric", "unit": "mg/L"},
                     {"code": "WARD", "column": "ward"}]}
    ]  # fmt: skip
    kinds = {"IN": "code", "MEDS_BIRTH": "code", "ICU": "code", "FALL": "code", "SEX": "text", "NOTE": "text"}
    for code in [*kinds, "XRAY", "SOUND"]:
        name = f"events-{code.lower().replace('_', '-')}.csv"
        rows = [line for line in events[1:] if line.split(",")[2] == code]
        (folder / name).write_text("\n".join([events[0], *rows]) + "\n")
        column = {"code": code, "asset": "{file}"} if code not in kinds else {"code": code, "column": kinds[code]}
        parts.append({"path": name, "subject": who, "time": at, "columns": [column]})
    (folder / "events.csv").unlink()
    (folder.parent / "mapping.yaml").write_text(yaml.safe_dump({"files": parts}, sort_keys=False))


def test_every_observed_element_has_a_source_and_no_other_has(traced: Cohort) -> None:
    for stream, spec in traced.task.streams.items():
        some = 0
        for case_id in traced.index["case_id"]:
            for element in trace(traced, case_id, stream):
                by_absence = element.feature == "falls" and element.value == 0
                assert bool(element.sources) == (element.observed and not by_absence), (stream, element)
                assert element.observed or (element.value, element.shown, element.hours) == (0, "", element.hours)
                some += element.observed
        assert some, f"{stream} ({spec.kind}): nothing to trace"


def test_the_record_that_is_named_holds_the_value(traced: Cohort, delivery: Path) -> None:
    with (delivery / "labs.csv").open() as file:
        lines = [None, *csv.DictReader(file)]
    case_id = str(traced.index["case_id"].iloc[3])
    found = [each for each in trace(traced, case_id, "labs", feature="CRP") if each.observed]
    assert len(found) == 4, "taken at 1, 4, 7 and 10 h, and known by 12 h"
    for each in found:
        (source,) = each.sources
        assert source.file.startswith("delivery/labs.csv@")
        row = lines[int(source.record.removeprefix("row "))]  # counted from 1, below the header
        assert row is not None
        assert float(row["crp"]) == pytest.approx(each.value)
        assert source.time == dt.datetime.fromisoformat(row["at"]).replace(tzinfo=None)
        assert source.available_time == dt.datetime.fromisoformat(row["known"]).replace(tzinfo=None)
        assert each.unit == "mg/L"
        assert each.hours == pytest.approx((source.time - source.time.replace(hour=12)).total_seconds() / 3600)
        assert each.to_json()["sources"][0]["time"] == row["at"]


def test_what_is_made_of_several_records_names_them_all(traced: Cohort) -> None:
    case_id = str(traced.index["case_id"].iloc[0])
    (highest,) = trace(traced, case_id, "record", feature="highest CRP")
    assert len(highest.sources) == 4
    bins = trace(traced, case_id, "hourly")
    assert [len(element.sources) for element in bins] == [2, 2]
    (age,) = trace(traced, case_id, "record", feature="age")
    assert age.sources[0].file.startswith("delivery/events-meds-birth.csv@")
    (sex,) = trace(traced, case_id, "record", feature="sex")
    assert sex.shown in ("f", "m")


def test_words_pictures_and_sounds_say_what_they_are(traced: Cohort) -> None:
    case_id = str(traced.index["case_id"][traced.index["xray_row"] >= 0].iloc[0])
    words = [element.shown for element in trace(traced, case_id, "notes") if element.observed]
    assert words[0] == "patient"
    assert words[2:] == ["rests", "well"]
    (image,) = trace(traced, case_id, "xray")
    assert image.sources[0].asset.endswith(".jpg")
    assert 0 <= image.value <= 1
    frames = trace(traced, case_id, "sound", element=3)
    assert len(frames) == 1
    assert frames[0].sources[0].asset.endswith(".wav")


def test_a_case_without_the_stream_gives_nothing_and_its_problem_is_told(traced: Cohort) -> None:
    without = str(traced.index["case_id"][traced.index["xray_row"] < 0].iloc[0])
    assert trace(traced, without, "xray") == []
    traced.index.loc[traced.index["case_id"] == without, "xray_problem"] = "1.jpg: cut short"
    assert said_of(traced, without, "xray") == {"problem": "1.jpg: cut short"}


def test_what_there_is_not_is_one_clear_line(traced: Cohort) -> None:
    case_id = str(traced.index["case_id"].iloc[0])
    for asked, message in (
        (("nobody", "labs"), "case nobody: no such case in the cohort of traced"),
        ((case_id, "lab"), "stream lab: expected one of record, labs, hourly, xray, notes, sound"),
        ((case_id, "labs", 999), "stream labs, element 999: expected one of 0 to 63"),
        ((case_id, "labs", None, "K"), "stream labs, feature 'K': expected one of CRP, ward"),
    ):
        with pytest.raises(TelltaleError, match=message):
            trace(traced, *asked)  # type: ignore[arg-type]


def test_a_cohort_that_kept_less_is_traced_as_far_as_it_goes(synthetic_cohort: Callable[..., Cohort]) -> None:
    cohort = synthetic_cohort(20, 1)
    row = case_row(cohort, "case-1-00000")
    found = [each for each in trace(cohort, "case-1-00000", "vitals") if each.observed]
    assert {source.record for each in found for source in each.sources} == {f"vitals-{int(row['vitals_row'])}"}
    assert np.isfinite([each.value for each in found]).all()
