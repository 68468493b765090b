"""The demo ward as files: deterministic, consistent with its truth, and careful with what was there before."""

import base64
import hashlib
import re
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
import soundfile

from clinical.demo import WardSummary, attainable_auroc, make_ward
from ingest.errors import InputError

PATIENTS = 50
Row = dict[str, Any]


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> WardSummary:
    return make_ward(tmp_path_factory.mktemp("demo") / "ward", PATIENTS, 4)


@pytest.fixture(scope="module")
def truth(ward: WardSummary) -> dict[str, Row]:
    return {row["fhir_id"]: row for row in pq.read_table(ward.out / "truth.parquet").to_pylist()}


def resources(ward: WardSummary, kind: str) -> list[Row]:
    return [orjson.loads(line) for line in (ward.out / "fhir" / f"{kind}.ndjson").read_bytes().splitlines()]


def subject(resource: Row) -> str:
    return str(resource["subject"]["reference"]).removeprefix("Patient/")


def texts(ward: WardSummary) -> list[str]:
    found = resources(ward, "DocumentReference")
    return [base64.b64decode(one["content"][0]["attachment"]["data"]).decode() for one in found]


def digests(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_people(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_ward(tmp_path / name, 5, seed)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    tables = [pq.read_table(tmp_path / name / "truth.parquet")["identifier"].to_pylist() for name in "ac"]
    assert not set(tables[0]) & set(tables[1])


def test_the_summary_agrees_with_the_files(ward: WardSummary, truth: dict[str, Row]) -> None:
    eligible = [row for row in truth.values() if row["eligible"]]
    assert ward.patients == len(truth) == PATIENTS
    assert ward.eligible == len(eligible)
    assert ward.prevalence == pytest.approx(sum(row["outcome"] for row in eligible) / len(eligible))
    assert ward.files["radiographs"] == len(list(ward.out.rglob("*.dcm")))
    assert ward.files["Observation"] == len(resources(ward, "Observation"))
    assert ward.attainable_auroc == attainable_auroc(ward.out / "truth.parquet")
    text = (ward.out / "README.txt").read_text()
    assert f"AUROC {ward.attainable_auroc:.3f}" in text
    assert max(len(line) for line in text.splitlines()) <= 120


def test_eligibility_and_outcome_follow_from_the_fhir_files(ward: WardSummary, truth: dict[str, Row]) -> None:
    died = {one["id"]: one.get("deceasedDateTime") for one in resources(ward, "Patient")}
    units = {f"Location/{one['id']}": one["type"][0]["coding"][0]["code"] for one in resources(ward, "Location")}
    for stay in resources(ward, "Encounter"):
        if stay["class"]["code"] != "IMP":
            continue
        row = truth[subject(stay)]
        start, end = (datetime.fromisoformat(stay["period"][edge]) for edge in ("start", "end"))
        index = start + timedelta(hours=24)
        moves = [one for one in stay["location"] if units[one["location"]["reference"]] == "ICU"]
        events = [datetime.fromisoformat(one["period"]["start"]) for one in moves]
        events += [datetime.fromisoformat(moment) for moment in [died[subject(stay)]] if moment]
        assert row["index_time"] == index
        assert row["eligible"] == (end > index and not any(event <= index for event in events))
        if row["eligible"]:
            assert row["outcome"] == any(index < event <= index + timedelta(hours=48) for event in events)
        else:
            assert row["outcome"] is None


def test_what_is_absent_has_no_file_before_the_index_time(ward: WardSummary, truth: dict[str, Row]) -> None:
    for kind, name, time in (("DocumentReference", "notes", "date"), ("Media", "sound", "createdDateTime")):
        before: dict[str, int] = defaultdict(int)
        for one in resources(ward, kind):
            before[subject(one)] += datetime.fromisoformat(one[time]) <= truth[subject(one)]["index_time"]
        assert {identity: bool(count) for identity, count in before.items() if count} == {
            identity: True for identity, row in truth.items() if row[f"has_{name}"]
        }


def test_every_reference_leads_to_a_resource_and_every_id_is_unique(ward: WardSummary) -> None:
    everything = [one for file in (ward.out / "fhir").glob("*.ndjson") for one in resources(ward, file.stem)]
    known = [f"{one['resourceType']}/{one['id']}" for one in everything]
    assert len(known) == len(set(known))
    assert all(re.fullmatch(r"[A-Za-z0-9.-]{1,64}", one["id"]) for one in everything)
    used = set(re.findall(r'"reference":"([^"]+)"', "".join(orjson.dumps(one).decode() for one in everything)))
    assert used <= set(known)


def test_times_carry_the_zone_and_results_are_released_after_their_draw(ward: WardSummary) -> None:
    late = 0
    starts = {subject(one): one["period"]["start"] for one in resources(ward, "Encounter") if one["id"][0] == "e"}
    for one in resources(ward, "Observation"):
        drawn, issued = one["effectiveDateTime"], one["issued"]
        assert drawn.endswith("+01:00")
        assert drawn <= issued
        if one["category"][0]["coding"][0]["code"] == "laboratory":
            index = datetime.fromisoformat(starts[subject(one)]) + timedelta(hours=24)
            late += datetime.fromisoformat(drawn) < index < datetime.fromisoformat(issued)
    assert late > 0  # there is something to be caught looking ahead


def test_sounds_are_six_seconds_at_4_khz(ward: WardSummary) -> None:
    for one in resources(ward, "Media")[:20]:
        info = soundfile.info(ward.out / "fhir" / one["content"]["url"])
        assert (info.samplerate, info.frames, info.channels, info.subtype) == (4000, 24_000, 1, "PCM_16")


def test_no_note_states_the_outcome(ward: WardSummary) -> None:
    forbidden = (
        r"\b(icu|intensive|transfer\w*|intubat\w*|ventilat\w*|died|dead|death|deceased|deteriorat\w*|resuscit\w*)\b"
    )
    for text in texts(ward):
        of_the_patient = re.sub(r"^Family and social:.*$", "", text, flags=re.MULTILINE)
        assert not re.search(forbidden, of_the_patient.lower())


def test_notes_have_sections_and_40_to_140_words(ward: WardSummary) -> None:
    for text in texts(ward):
        assert [line.split(":")[0] for line in text.splitlines()] == [
            "Presenting complaint",
            "History",
            "Family and social",
            "Examination",
            "Plan",
        ]
        assert 40 <= len(text.split()) <= 140


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(
        InputError, match=r"expected nothing, an empty folder or a former ward, got a folder that holds thesis"
    ):
        make_ward(tmp_path, 3, 0)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_former_ward_is_replaced(tmp_path: Path) -> None:
    make_ward(tmp_path / "ward", 3, 0)
    make_ward(tmp_path / "ward", 2, 0)
    assert pq.read_table(tmp_path / "ward" / "truth.parquet").num_rows == 2


@pytest.mark.parametrize(("patients", "seed", "message"), [(0, 0, "patients: expected 1"), (3, -1, "seed: expected")])
def test_impossible_numbers_are_refused(tmp_path: Path, patients: int, seed: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_ward(tmp_path / "ward", patients, seed)
    assert not (tmp_path / "ward").exists()


def test_progress_is_told_to_the_end(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    make_ward(tmp_path / "ward", 2, 0, progress=lambda what, done, total: told.append((what, done, total)))
    assert ("records", 7, 7) in told
    assert told[-1] == ("radiographs", 2, 2)


def test_the_attainable_auroc_can_be_narrowed(ward: WardSummary, truth: dict[str, Row]) -> None:
    path = ward.out / "truth.parquet"
    half = [row["identifier"] for row in truth.values()][::2]
    assert attainable_auroc(path, identifiers=half) != ward.attainable_auroc
    assert attainable_auroc(path, without=["vitals", "labs", "xray"]) < ward.attainable_auroc
    with pytest.raises(ValueError, match="got mri"):
        attainable_auroc(path, without=["mri"])
