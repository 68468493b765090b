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

from ingest.account.progress import Progress
from ingest.delivery.shown_names import mask
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


@pytest.mark.parametrize("flush", [1, 3, 5, 7, 9, 11])
def test_a_killed_run_never_was_and_the_next_goes_on(workspace: Workspace, ward: Path, flush: int) -> None:
    """FAULTS 39: killed at one of the moments at which something has just been flushed to disk."""
    code = """
import os, signal, sys
from pathlib import Path
import ingest.run as run
from ingest.workspace import Workspace
left, flush = [int(sys.argv[3])], os.fsync
def die(descriptor):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    flush(descriptor)
os.fsync = die
run.ingest(Workspace(Path(sys.argv[1])), [Path(sys.argv[2])])
"""
    killed = subprocess.run(
        [sys.executable, "-c", code, str(workspace.root), str(ward), str(flush)],
        cwd=Path.cwd(),
        check=False,
        timeout=120,
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(read_observations(workspace)) == 0
    account = ingest(workspace, [ward])
    assert (account.total.used, len(read_observations(workspace))) == (23, 25)
    assert [path.name for path in workspace.ingests.glob("*.json")] == [f"{account.run}.json"]
    assert not list(workspace.observations.glob(".*"))


@pytest.mark.parametrize("room", [0, 3_000, 9_000, 30_000, 45_000])
def test_a_full_disk_is_a_clean_error_and_leaves_nothing_half(workspace: Workspace, delivery: Path, room: int) -> None:
    """FAULTS 40: no file can grow beyond `room` bytes, as on a disk that is full."""
    lines = [f'{{"resourceType":"Patient","id":"p{n}","birthDate":"19{n % 60 + 10}"}}' for n in range(3000)]
    (delivery / "a.ndjson").write_text("\n".join(lines), encoding="utf-8")
    (delivery / "b.ndjson").write_text("\n".join(['{"resourceType":'] * 400), encoding="utf-8")
    code = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.argv = ["telltale", "ingest", sys.argv[2], "--workspace", sys.argv[3]]
from serve.cli import main
main()
"""
    full = subprocess.run(
        [sys.executable, "-c", code, str(room), str(delivery), str(workspace.root)],
        cwd=Path.cwd(), check=False, timeout=120, capture_output=True, text=True,
    )  # fmt: skip
    assert full.returncode == 1, full.stdout + full.stderr
    assert len(full.stderr.strip().splitlines()) == 1
    assert "room to write" in full.stderr
    assert len(read_observations(workspace)) == 0
    account = ingest(workspace, [delivery])
    assert (account.total.used, account.total.refused, account.subjects) == (3000, 400, 3000)
    assert len(list(workspace.ingests.glob("*.json"))) == 1
    assert [path for path in workspace.root.rglob(".*") if path.name != ".lock"] == []


def test_a_missing_source_and_an_empty_folder_leave_nothing(workspace: Workspace, delivery: Path) -> None:
    with pytest.raises(InputError, match="nothing of that name"):
        ingest(workspace, [delivery / "absent"])
    with pytest.raises(InputError, match="no files found in"):
        ingest(workspace, [delivery])
    assert list(workspace.observations.iterdir()) == []
    assert list(workspace.ingests.glob("*.json")) == []


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


def test_a_subject_of_a_table_alone_is_masked_in_paths(workspace: Workspace, delivery: Path) -> None:
    """FAULTS 37"""
    (delivery / "t.csv").write_text("who,age\nAnn-7,5\n2019,5\n")
    mapping = delivery.parent / "m.yaml"
    mapping.write_text(
        "files: [{path: t.csv, subject: {column: who, issuer: b}, columns: [{code: C, column: age, kind: numeric}]}]"
    )
    for folder in ("ann-7", "2019", "2018"):
        (delivery / folder).mkdir()
        (delivery / folder / "0001.dcm").write_bytes(b"no image")
    account = ingest(workspace, [delivery], mapping=mapping)
    shown = sorted(complaint.file for complaint in account.refusals)
    assert shown == sorted(f"delivery/{part}/0001.dcm" for part in (mask("ann-7"), mask("2019"), "2018"))
    again = ingest(workspace, [delivery / "2019"], mapping=None)
    assert [complaint.file for complaint in again.refusals] == [f"{mask('2019')}/0001.dcm"]


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


def test_progress_ends_with_all_files_and_bytes(workspace: Workspace, ward: Path) -> None:
    told: list[Progress] = []
    ingest(workspace, [ward], progress=told.append)
    size = sum(file.stat().st_size for file in ward.rglob("*") if file.is_file())
    last = told[-1]
    assert (last.stage, last.files, last.files_total, last.bytes, last.bytes_total) == ("done", 5, 5, size, size)
    assert last.seconds_left == 0
    assert [at.bytes for at in told] == sorted(at.bytes for at in told)


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
