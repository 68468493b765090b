"""Whom the header of a recording names."""

import datetime as dt
from pathlib import Path

import edfio
import numpy as np
import pytest

from ingest.identity.register import Claim
from ingest.signals.patient import NamedPatient, named_patient


def write_edf(path: Path, patient: edfio.Patient, *, bdf: bool = False) -> Path:
    samples = np.random.default_rng(0).normal(0, 1, 500)
    if bdf:
        edfio.Bdf([edfio.BdfSignal(samples, 250, label="I")], patient=patient).write(path)
    else:
        edfio.Edf([edfio.EdfSignal(samples, 250, label="I")], patient=patient).write(path)
    return path


@pytest.mark.parametrize("bdf", [False, True])
def test_the_four_parts_of_edf_plus(tmp_path: Path, bdf: bool) -> None:
    patient = edfio.Patient(code="MCH-0234567", sex="F", birthdate=dt.date(1951, 5, 2), name="Haagse_Harry")
    expected = NamedPatient("MCH-0234567", Claim(("Haagse Harry",), "19510502", "F"))
    assert named_patient(write_edf(tmp_path / "a.edf", patient, bdf=bdf)) == expected
    assert named_patient(write_edf(tmp_path / "x.edf", edfio.Patient(), bdf=bdf)) == NamedPatient()


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("", NamedPatient()),
        ("anonymous", NamedPatient()),
        ("Jane Doe, room 4", NamedPatient()),  # a number or a name: it cannot be told
        ("P17", NamedPatient("P17")),
        ("0000", NamedPatient()),
        ("17 M 31-FEB-1951 X", NamedPatient("17", Claim(sex="M"))),
        ("X X X X", NamedPatient()),
        ("17 X X Anonymous", NamedPatient("17")),
    ],
)
def test_other_texts_of_the_field(tmp_path: Path, written: str, named: NamedPatient) -> None:
    path = write_edf(tmp_path / "a.edf", edfio.Patient())
    raw = path.read_bytes()
    path.write_bytes(raw[:8] + f"{written:<80}".encode() + raw[88:])
    assert named_patient(path) == named


@pytest.mark.parametrize(
    ("comments", "named"),
    [
        ("# Patient ID: 17\n# Sex: F\n", NamedPatient("17", Claim(sex="F"))),
        ("# <subject id>: A4 \n", NamedPatient("A4")),
        ("# Age: 65\n#Diagnosis: none\n", NamedPatient()),
        ("# patient: anonymous\n", NamedPatient()),
        ("", NamedPatient()),
    ],
)
def test_the_comments_of_a_wfdb_header(tmp_path: Path, comments: str, named: NamedPatient) -> None:
    (tmp_path / "r.hea").write_text(f"r 1 100 10\nr.dat 16 200 16 0 0 0 0 I\n{comments}")
    assert named_patient(tmp_path / "r.hea") == named


def test_other_files_name_nobody(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG" * 100)
    assert named_patient(tmp_path / "a.png") == named_patient(tmp_path / "gone.edf") == NamedPatient()
