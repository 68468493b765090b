import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.errors import InputError
from ingest.run import ingest
from ingest.store import read_observations
from ingest.workspace import Workspace, create_workspace

Make = Callable[..., dict[str, Any]]
Write = Callable[..., Path]
NAME, NUMBER = "Canaryfamily", "MRN-CANARY-4711"


@pytest.fixture
def ward(
    delivery: Path, patient: Make, observation: Make, write_lines: Write, write_dicom: Write, write_sound: Write
) -> Path:
    """A small hospital: two patients, their heart rates, an image, a sound that nobody names, a README."""
    write_lines(delivery / "fhir" / "Patient.ndjson", [patient(), patient("2", "Baker", "Bob", gender="male")])
    write_lines(delivery / "fhir" / "Observation.ndjson", [observation(f"o{i}", f"p{1 + i % 2}") for i in range(20)])
    write_dicom(delivery / "imaging" / "1.dcm")
    write_sound(delivery / "sounds" / "1.wav")
    (delivery / "README.txt").write_text("read me")
    return delivery


def test_what_comes_in_is_used_refused_or_skipped(workspace: Workspace, ward: Path) -> None:
    account = ingest(workspace, [ward])
    assert account.total.to_json() == {"in": 25, "used": 23, "refused": 0, "skipped": 2}
    assert account.skip_reasons == {"not a known format: .txt": 1, "sound that no record names": 1}
    assert (account.observations, account.subjects) == (25, 2)
    written = json.loads((workspace.ingests / f"{account.run}.json").read_text())
    assert written == json.loads(json.dumps(account.to_json()))
    assert account.lines()[0].startswith("in 25 = used 23 + refused 0 + skipped 2; 25 observations of 2 subjects")


def test_a_second_run_changes_nothing(workspace: Workspace, ward: Path) -> None:
    def kept() -> dict[Path, bytes]:
        folders = (workspace.observations, workspace.identities, workspace.quarantine)
        files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
        return {path: path.read_bytes() for path in [*files, *workspace.ingests.glob("*.parquet")]}

    ingest(workspace, [ward])
    before = kept()
    account = ingest(workspace, [ward])
    assert kept() == before
    assert (account.total.used, account.part) == (0, None)
    assert account.skip_reasons["already ingested"] == 23


def test_two_deliveries_at_the_same_moment_come_in_once(workspace: Workspace, ward: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ingest.run import ingest; from ingest.workspace import Workspace;"
        "print(ingest(Workspace(Path(sys.argv[1])), [Path(sys.argv[2])]).total.used)"
    )
    command = [sys.executable, "-c", code, str(workspace.root), str(ward)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()) for _ in range(2)]
    used = sorted(int(process.communicate(timeout=120)[0]) for process in running)
    assert used == [0, 23]
    assert len(read_observations(workspace)) == 25


@pytest.mark.parametrize("step", ["write_json", "write_parquet"])
def test_a_killed_run_never_was_and_the_next_goes_on(workspace: Workspace, ward: Path, step: str) -> None:
    code = f"""
import os, signal, sys
from pathlib import Path
import ingest.run as run
from ingest.files import replacing_file
from ingest.workspace import Workspace
def die(path, value):
    with replacing_file(path) as temporary:
        temporary.write_bytes(b"PAR1 half a file")
        os.kill(os.getpid(), signal.SIGKILL)
run.{step} = die
run.ingest(Workspace(Path(sys.argv[1])), [Path(sys.argv[2])])
"""
    killed = subprocess.run(
        [sys.executable, "-c", code, str(workspace.root), str(ward)], cwd=Path.cwd(), check=False, timeout=120
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(read_observations(workspace)) == 0
    account = ingest(workspace, [ward])
    assert (account.total.used, len(read_observations(workspace))) == (23, 25)
    left = {path.name for path in workspace.root.rglob("*") if path.is_file() and path.name.startswith(".")}
    assert left == {".lock"}
    assert sorted(path.name for path in workspace.ingests.glob("*.json")) == [f"{account.run}.json"]


def test_a_missing_source_and_an_empty_folder_leave_nothing(workspace: Workspace, delivery: Path) -> None:
    with pytest.raises(InputError, match="nothing of that name"):
        ingest(workspace, [delivery / "absent"])
    with pytest.raises(InputError, match="no files found in"):
        ingest(workspace, [delivery])
    assert list(workspace.observations.iterdir()) == []
    assert not workspace.ingests.exists()


def test_a_mapping_that_fits_nothing_is_the_wrong_one(workspace: Workspace, ward: Path, tmp_path: Path) -> None:
    mapping = tmp_path / "m.yaml"
    mapping.write_text(
        "files: [{path: x.csv, subject: {column: a, issuer: b}, columns: [{code: C, column: c}]}]", encoding="utf-8"
    )
    with pytest.raises(InputError, match=r"expected a path that matches a file of the delivery, got x\.csv"):
        ingest(workspace, [ward], mapping=mapping)


def test_quarantine_is_restricted_and_holds_what_was_refused(workspace: Workspace, ward: Path) -> None:
    (ward / "fhir" / "broken.ndjson").write_text('{"resourceType": "Observation", \n')
    account = ingest(workspace, [ward])
    folder = workspace.quarantine / account.run
    for place in (workspace.quarantine, folder):
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
    (line,) = (folder / "refused.jsonl").read_text().splitlines()
    assert {"file", "record", "field", "expected", "got", "hint", "raw"} == set(json.loads(line))
    assert json.loads(line)["file"] == "delivery/fhir/broken.ndjson"


def test_a_planted_name_or_number_is_found_in_restricted_folders_only(
    workspace: Workspace,
    delivery: Path,
    patient: Make,
    observation: Make,
    write_lines: Write,
    write_dicom: Write,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    person = patient(NUMBER, NAME, "Canarygiven", birthDate="1961-09-23", id="p1")
    write_lines(
        delivery / "fhir.ndjson",
        [
            person,
            {**person, "birthDate": f"{NAME}", "id": "p2"},
            {**person, "birthDate": "1962-10-24", "id": "p3"},
            {**person, "name": NAME, "id": "p4"},
            observation(effectiveDateTime=NAME),
            observation("o2", f"{NUMBER}"),
            observation("o3", subject={"identifier": {"value": NUMBER}}),
            observation("o4", valueQuantity={"value": NUMBER}),
            observation("o5", code={"text": NAME}),
            observation("o6", status=NAME, valueQuantity=None, **{f"value{NAME}": 1}),
            {"resourceType": f"{NAME}-{NUMBER}"},
            f'{{"resourceType":"Patient","name":"{NAME}'.encode(),
        ],
    )
    write_dicom(delivery / "1.dcm", PatientID=NUMBER, PatientName=f"{NAME}^X", PatientBirthDate="19610923")
    write_dicom(delivery / "2.dcm", PatientID=NUMBER, PatientName="Other^Y", AccessionNumber=NUMBER)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's on writing, which quote the value
        write_dicom(delivery / "3.dcm", PatientID=NUMBER, PatientName=f"{NAME}^X", Modality=NAME.upper())
        write_dicom(delivery / "4.dcm", PatientID=NUMBER, PatientName=f"{NAME}^X", AcquisitionTime=NAME)
    caplog.clear()
    (delivery / "t.csv").write_text(f"who,age,when\n{NUMBER},{NAME},2026-01-01\n{NUMBER},5,{NAME}\n{NUMBER},5\n")
    mapping = delivery.parent / "m.yaml"
    mapping.write_text(
        "files: [{path: t.csv, subject: {column: who, issuer: b}, time: {column: when},"
        " columns: [{code: C, column: age, kind: numeric}]}]",
        encoding="utf-8",
    )
    account = ingest(workspace, [delivery], mapping=mapping)
    assert account.total.refused >= 10
    shown = [json.dumps(account.to_json()), *account.lines(), str(read_observations(workspace).to_pylist())]
    shown += [caplog.text, *capfd.readouterr()]
    open_files = [*workspace.ingests.iterdir(), *workspace.observations.iterdir()]
    shown += [path.read_bytes().decode("latin-1") for path in open_files]
    for secret in (NAME, NAME.upper(), NUMBER, "Canarygiven", "1962-10-24"):
        assert not any(secret in text for text in shown), secret
    kept = (workspace.quarantine / account.run / "refused.jsonl").read_text()
    assert NUMBER in kept


def test_a_link_a_strange_name_and_a_folder_within_are_counted(workspace: Workspace, ward: Path) -> None:
    (ward / "out").symlink_to(ward.parent)
    Path(os.fsdecode(os.fsencode(ward) + b"/caf\xe9.ndjson")).write_bytes(b"{}")
    account = ingest(workspace, [ward, ward / "fhir"])
    assert account.total.used == 23
    assert account.skip_reasons["link that leads out of the delivery"] == 1
    assert account.skip_reasons["file whose name is not UTF-8"] == 1


def test_a_workspace_inside_the_delivery_is_not_read(delivery: Path, ward: Path) -> None:
    workspace = create_workspace(ward / "workspace")
    assert ingest(workspace, [ward]).total.seen == 25
    assert ingest(workspace, [ward]).total.seen == 25


def test_progress_ends_at_the_number_of_files(workspace: Workspace, ward: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    ingest(workspace, [ward], progress=lambda *step: seen.append(step))
    assert seen[-1] == ("done", 5, 5)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats()
    | st.sampled_from(["", "x", "2026-01-01", "Patient/p1"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["coding", "code", "system", "value", "reference", "start"]), inner, max_size=3
        )
    ),
    max_leaves=5,
)
resources = st.dictionaries(
    st.sampled_from(
        ["id", "status", "code", "subject", "patient", "effectiveDateTime", "issued", "valueQuantity", "component",
         "period", "class", "location", "identifier", "name", "birthDate", "content", "type", "date", "onsetDateTime",
         "deceasedDateTime", "gender", "context", "modality", "valueString", "verificationStatus"]
    ),
    json_values,
    max_size=5,
)  # fmt: skip
kinds = st.sampled_from(
    ["Patient", "Observation", "Encounter", "Condition", "DocumentReference", "Media", "Location", "X"]
)
lines = st.one_of(
    st.builds(lambda kind, resource: orjson.dumps({"resourceType": kind, **resource}), kinds, resources),
    st.binary(max_size=20).map(lambda raw: raw.replace(b"\n", b"")),
)
cells = st.sampled_from(
    ["", "1", "2", "x", "-4.5", "2026-01-01", "2026-01-01T10:00Z", "2026-01-01T10:00", '"a,b"', "a,b"]
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(lines, max_size=12), st.lists(st.tuples(cells, cells, cells), max_size=8), st.binary(max_size=300))
def test_every_random_delivery_adds_up_and_is_stable(
    fhir: list[bytes], rows: list[tuple[str, str, str]], rubbish: bytes
) -> None:
    with tempfile.TemporaryDirectory() as name:
        delivery = Path(name) / "delivery"
        delivery.mkdir()
        head = b'{"resourceType":"Patient","id":"p1","birthDate":"1960"}'
        (delivery / "a.ndjson").write_bytes(b"\n".join([head, *fhir]))
        (delivery / "t.csv").write_text("\n".join(["who,age,when", *(",".join(row) for row in rows)]))
        (delivery / "rubbish.dcm").write_bytes(rubbish)
        mapping = Path(name) / "m.yaml"
        mapping.write_text(
            "files: [{path: t.csv, subject: {column: who, issuer: b}, time: {column: when, missing: skip},"
            " columns: [{code: C, column: age, kind: numeric}]}]",
            encoding="utf-8",
        )
        workspace = create_workspace(Path(name) / "workspace")
        first = ingest(workspace, [delivery], mapping=mapping)
        lines_in = sum(1 for line in [head, *b"\n".join(fhir).split(b"\n")] if line.strip())
        assert first.by_format["FHIR"].seen == lines_in
        assert first.by_format["DICOM"].refused == 1
        assert first.total.seen == first.total.used + first.total.refused + first.total.skipped
        before = read_observations(workspace)
        second = ingest(workspace, [delivery], mapping=mapping)
        assert (second.total.seen, second.total.used) == (first.total.seen, 0)
        assert second.total.refused == first.total.refused
        assert read_observations(workspace).equals(before)


def test_the_simulated_ward_reads_without_a_refusal(workspace: Workspace, tmp_path: Path) -> None:
    from clinical.demo import make_ward

    summary = make_ward(tmp_path / "ward", 12, 1)
    account = ingest(workspace, [tmp_path / "ward"])
    assert (account.total.refused, account.subjects) == (0, 12)
    assert account.by_format["DICOM"].used == summary.files["radiographs"]
    assert account.by_format["sound"].used == summary.files["Media"]
    assert {"LOCATION//ICU", "DICOM//DX", "SNOMED//37931006", "LOINC//34117-2"} <= set(
        read_observations(workspace)["code"].to_pylist()
    )
