"""The ward's radiology reports say what their image shows, and come too late to be an input."""

import base64
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pydicom
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from clinical.demo import make_ward
from clinical.ward.dicom import film_before_index
from clinical.ward.latent import draw_latent
from clinical.ward.radiographs import Signs
from clinical.ward.readings import radiology_reports, report_text
from clinical.ward.stays import Stay, draw_stays

PATIENTS, SEED = 160, 6


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reports") / "ward"
    make_ward(out, PATIENTS, SEED)
    return out


@pytest.fixture(scope="module")
def stays() -> list[Stay]:
    return draw_stays(draw_latent(PATIENTS, SEED), SEED)


def text_of(report: dict[str, Any]) -> str:
    return base64.b64decode(report["presentedForm"][0]["data"]).decode()


def test_every_film_before_the_index_time_has_a_report_released_after_it(ward: Path, stays: list[Stay]) -> None:
    reports = [orjson.loads(line) for line in (ward / "fhir" / "DiagnosticReport.ndjson").read_bytes().splitlines()]
    by_patient = {report["subject"]["reference"].removeprefix("Patient/"): report for report in reports}
    assert len(by_patient) == len(reports)
    assert set(by_patient) == {stay.fhir_id for stay in stays if stay.has["xray"]}
    for stay in stays:
        if stay.has["xray"]:
            report = by_patient[stay.fhir_id]
            film = pydicom.dcmread(ward / "imaging" / stay.fhir_id / "study-1" / "1.dcm", stop_before_pixels=True)
            taken = datetime.fromisoformat(report["effectiveDateTime"])
            assert film.AcquisitionDate + film.AcquisitionTime == taken.strftime("%Y%m%d%H%M%S")
            assert taken < stay.index_time < datetime.fromisoformat(report["issued"])


def test_the_signs_are_those_of_the_image(ward: Path, stays: list[Stay]) -> None:
    shown, coarse = [], []
    for stay in stays:
        if (film := film_before_index(stay)) is not None:
            image = pydicom.dcmread(ward / "imaging" / stay.fhir_id / "study-1" / "1.dcm")
            grey = image.pixel_array.astype(float)
            grey = 4095 - grey if image.PhotometricInterpretation == "MONOCHROME1" else grey
            coarse.append(grey.reshape(16, 24, 16, 24).mean((1, 3)).ravel())
            shown.append([film[1].opacity, film[1].right, film[1].heart])
    folds = KFold(5, shuffle=True, random_state=0)
    linear = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13)))
    read = cross_val_predict(linear, coarse, np.array(shown), cv=folds)
    opacity, right, heart = (np.corrcoef(read[:, k], np.array(shown)[:, k])[0, 1] for k in range(3))
    assert opacity > 0.9
    assert right > 0.3  # little to be seen where there is little opacity
    assert heart > 0.6


def test_the_wording_depends_on_the_signs() -> None:
    def said(opacity: float, right: float = 0.0, heart: float = 0.3, seed: int = 0) -> str:
        return report_text(Signs(opacity, right, heart), np.random.default_rng(seed))

    assert re.search("clear|No consolidation", said(0.1))
    assert re.search("faint|Faint", said(0.4))
    assert "dense consolidation" in said(0.9).lower() or "dense, extensive" in said(0.9).lower()
    assert "more on the right" in said(0.9, right=0.1)
    assert "more on the left" in said(0.9, right=-0.1)
    assert "enlarged" in said(0.1, heart=0.36)
    assert "enlarged" not in said(0.1)
    assert len({said(0.5, seed=seed) for seed in range(20)}) > 10


def test_no_report_states_the_outcome_or_names_anybody(stays: list[Stay]) -> None:
    forbidden = r"\b(icu|intensive|transfer\w*|intubat\w*|died|dead|death|deteriorat\w*)\b"
    for stay in stays:
        for report in radiology_reports(stay):
            text = text_of(report)
            assert not re.search(forbidden, text.lower())
            assert stay.family not in text
            assert stay.given not in text
            assert text.startswith("Findings: ")
            assert "\nImpression: " in text
