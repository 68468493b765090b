"""Recordings that a mapping names are assets of its rows; others belong to nobody."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edfio
import numpy as np
import pytest
import soundfile

from ingest.catalogue import read_catalogue
from ingest.run import ingest
from ingest.signals.files import recording_sha256
from ingest.store import read_observations
from ingest.workspace import Workspace

Write = Callable[..., Path]
Make = Callable[..., dict[str, Any]]
MAPPING = """
files:
  - path: table.csv
    subject: {column: patient, issuer: "urn:oid:1.2.3"}
    time: {column: taken}
    columns: [{code: ECG, asset: "{file}"}]
"""


def deliver(folder: Path, *files: str) -> Path:
    """A table that names these files, a row each, and a mapping beside the delivery."""
    rows = [f"{number},2026-03-01T10:00:00Z,{name}" for number, name in enumerate(files, 1)]
    (folder / "table.csv").write_text("\n".join(["patient,taken,file", *rows]) + "\n")
    mapping = folder.parent / "mapping.yaml"
    mapping.write_text(MAPPING)
    return mapping


def write_recordings(folder: Path) -> None:
    """a.edf, r.hea with r.dat, and a.mp3."""
    rng = np.random.default_rng(0)
    edfio.Edf([edfio.EdfSignal(rng.normal(0, 1, 2500), 250, label="ECG II", physical_dimension="mV")]).write(
        folder / "a.edf"
    )
    (folder / "r.dat").write_bytes(rng.integers(-500, 500, 2000).astype("<i2").tobytes())
    lines = ["r 2 100 1000", *(f"r.dat 16 200/mV 16 0 0 0 0 {lead}" for lead in ("I", "II"))]
    (folder / "r.hea").write_text("\n".join(lines) + "\n")
    soundfile.write(folder / "a.mp3", rng.normal(0, 0.1, 16_000), 16_000)


def test_recordings_that_a_table_names_are_its_assets_and_in_the_catalogue(
    workspace: Workspace, delivery: Path
) -> None:
    write_recordings(delivery)
    account = ingest(workspace, [delivery], mapping=deliver(delivery, "a.edf", "r.hea", "a.mp3"))
    assert account.total.to_json() == {"in": 7, "used": 7, "refused": 0, "skipped": 0}
    table = read_observations(workspace).to_pandas()
    assert sorted(Path(path).name for path in table["asset"]) == ["a.edf", "a.mp3", "r.hea"]
    for path, digest in zip(table["asset"], table["asset_sha256"], strict=True):
        assert digest == recording_sha256(Path(path))
    entries = {Path(row["asset"]).name: row for row in read_catalogue(workspace.images).to_pylist()}
    assert {name: (row["kind"], row["sample_rate_hz"], row["channels"]) for name, row in entries.items()} == {
        "a.edf": ("waveform", 250, ["II"]),
        "r.hea": ("waveform", 100, ["I", "II"]),
        "a.mp3": ("sound", 16_000, ["channel 1"]),
    }
    assert entries["r.hea"]["seconds"] == 10


def test_recordings_that_no_record_names_are_skipped_and_say_so(workspace: Workspace, delivery: Path) -> None:
    write_recordings(delivery)
    account = ingest(workspace, [delivery], mapping=deliver(delivery, "a.edf"))
    assert account.total.to_json() == {"in": 5, "used": 2, "refused": 0, "skipped": 3}
    assert account.skip_reasons == {"recording that no record names": 2, "sound that no record names": 1}


@pytest.mark.parametrize(
    ("name", "header", "said"),
    [
        ("r.hea", "r 1 100 10\n../secret.dat 16 200 16 0 0 0 0 I\n", "a file beside the header"),
        ("r.hea", "r 1 100 99999\nr.dat 16 200 16 0 0 0 0 I\n", "cut short"),
        ("r.dat", "r 1 100 10\nr.dat 16 200 16 0 0 0 0 I\n", "the header (.hea) of a WFDB record"),
    ],
)
def test_a_header_that_leads_elsewhere_or_is_wrong_refuses_its_record(
    workspace: Workspace, delivery: Path, name: str, header: str, said: str
) -> None:
    """FAULTS 27."""
    write_recordings(delivery)
    (delivery.parent / "secret.dat").write_bytes(b"\0" * 100)
    (delivery / "r.hea").write_text(header)
    account = ingest(workspace, [delivery], mapping=deliver(delivery, name))
    assert account.by_format["table"].to_json() == {"in": 1, "used": 0, "refused": 1, "skipped": 0}
    (complaint,) = account.refusals
    assert said in str(complaint)
    assert "secret" not in str(complaint)


def test_other_signals_under_the_same_header_are_another_recording(workspace: Workspace, delivery: Path) -> None:
    write_recordings(delivery)
    mapping = deliver(delivery, "r.hea")
    first = ingest(workspace, [delivery], mapping=mapping)
    assert first.by_format["recording"].to_json() == {"in": 3, "used": 2, "refused": 0, "skipped": 1}
    again = ingest(workspace, [delivery], mapping=mapping)
    assert again.total.used == 0
    (delivery / "r.dat").write_bytes((delivery / "r.dat").read_bytes()[::-1])
    (delivery / "table.csv").write_text((delivery / "table.csv").read_text() + "2,2026-03-02T10:00:00Z,r.hea\n")
    later = ingest(workspace, [delivery], mapping=mapping)
    assert later.by_format["recording"].used == 2
    assert read_observations(workspace).to_pandas()["asset_sha256"].nunique() == 2


def write_named(path: Path, **patient: object) -> None:
    samples = np.random.default_rng(0).normal(0, 1, 2500)
    signal = edfio.EdfSignal(samples, 250, label="I", physical_dimension="mV")
    edfio.Edf([signal], patient=edfio.Patient(**patient)).write(path)  # type: ignore[arg-type]  # a test's own choice


def test_a_recording_that_names_another_patient_is_not_its_record_s(workspace: Workspace, delivery: Path) -> None:
    """FAULTS 3: rows 1 and 2 name each other's files; 3 is of nobody, 4 of its own patient."""
    for name, code in (("a", "2"), ("b", "1"), ("c", "X"), ("d", "4")):
        write_named(delivery / f"{name}.edf", code=code, sex="F")
    account = ingest(workspace, [delivery], mapping=deliver(delivery, *(f"{name}.edf" for name in "abcd")))
    assert account.by_format["table"].to_json() == {"in": 4, "used": 2, "refused": 2, "skipped": 0}
    assert account.by_format["recording"].to_json() == {"in": 4, "used": 2, "refused": 0, "skipped": 2}
    assert [each.record for each in account.refusals] == ["row 1", "row 2"]
    assert "expected a recording of the record's subject" in str(account.refusals[0])
    assert sorted(Path(path).name for path in read_observations(workspace).to_pandas()["asset"]) == ["c.edf", "d.edf"]
    write_named(delivery / "a.edf", code="1")
    write_named(delivery / "b.edf", code="2")
    assert ingest(workspace, [delivery], mapping=delivery.parent / "mapping.yaml").by_format["table"].used == 2


@pytest.mark.parametrize(
    ("named", "is_used"),
    [
        ({"code": "1"}, True),
        ({"code": "p1"}, False),
        ({"name": "Archer_Ann"}, True),
        ({"code": "B-77", "name": "Ann_Archer", "birthdate": dt.date(1960, 5, 17)}, True),  # of another numbering
        ({"code": "1", "name": "Baker_Ann"}, False),
        ({"code": "1", "birthdate": dt.date(1960, 5, 18)}, False),
        ({"code": "1", "sex": "M"}, False),
    ],
)
def test_a_media_of_another_patient_is_refused(
    workspace: Workspace, delivery: Path, write_lines: Write, patient: Make, named: dict[str, Any], is_used: bool
) -> None:
    """FAULTS 3, through FHIR: by identifier, name, birth date and sex."""
    write_named(delivery / "a.edf", **named)
    media = {
        "resourceType": "Media", "id": "m1", "status": "completed", "subject": {"reference": "Patient/p1"},
        "createdDateTime": "2026-03-01T10:00:00Z", "content": {"url": "a.edf"},
        "modality": {"coding": [{"system": "http://snomed.info/sct", "code": "29303009"}]},
    }  # fmt: skip
    write_lines(delivery / "all.ndjson", [patient(), media])
    account = ingest(workspace, [delivery])
    assert (account.by_format["FHIR"].refused, account.by_format["recording"].used) == (1 - is_used, is_used)
    if not is_used:
        assert account.refusals[0].field == "content.url"
