import datetime as dt
from pathlib import Path

import pytest

from ingest.account.quarantine import Quarantine
from ingest.account.reconciliation import Report
from ingest.account.summary import Summary, summarise, write_page
from ingest.catalogue import Catalogue
from ingest.observations import ObservationColumns
from ingest.parts import PartWriter

DAY = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def found(tmp_path: Path) -> Summary:
    rows = ObservationColumns()
    for subject in range(8):
        rows.add(subject, "GENDER", text_value="female")
        rows.add(subject, "LOINC//1", time=DAY, numeric_value=float(subject), unit="mg/L")
    rows.add(0, "LOINC//1", time=DAY + dt.timedelta(days=39), numeric_value=9.0, unit="mg/L")
    rows.add(1, "NOTE", time=DAY, text_value="x" * 200)
    rows.add(2, "DICOM//CT", time=DAY, asset="/a", asset_sha256="aa")
    rows.add(2, "DICOM//ECG", time=DAY, asset="/b", asset_sha256="bb")
    writer = PartWriter(tmp_path / ".spill")
    writer.add(rows.batch())
    writer.write(tmp_path / "part.parquet")
    catalogue = Catalogue(tmp_path / "images", "run")
    catalogue.add("aa", "/a", "image", modality="CT")
    catalogue.add("bb", "/b", "waveform", seconds=10.0)
    catalogue.commit()
    return summarise(
        tmp_path / "part.parquet", tmp_path / "images" / "run.parquet", tmp_path, {"LOINC//1": "first thing"}
    )


def test_modalities_are_counted_with_the_subjects_who_have_them(found: Summary) -> None:
    counted = {row.name: (row.observations, row.subjects) for row in found.modalities}
    assert counted == {
        "static facts": (8, 8), "measurements": (9, 8), "notes": (1, 1), "image CT": (1, 1), "waveform ECG": (1, 1),
    }  # fmt: skip
    assert (found.subjects, found.observations, found.first, found.last) == (8, 20, "2026-01", "2026-02")
    notes = next(row for row in found.modalities if row.name == "notes")
    assert found.missing(notes) == 0.875


def test_codes_have_units_and_quantiles_where_they_have_numbers(found: Summary) -> None:
    codes = {row.name: row for row in found.codes}
    assert (codes["LOINC//1"].units, codes["LOINC//1"].median) == (("mg/L",), 4.0)
    assert (codes["LOINC//1"].title, codes["GENDER"].title) == ("first thing", "")
    assert (codes["GENDER"].units, codes["GENDER"].median) == ((), None)
    assert found.codes_in_all == len(codes) == 5


def test_of_few_subjects_only_counts_are_told(found: Summary) -> None:
    notes = next(row for row in found.codes if row.name == "NOTE")
    assert (notes.observations, notes.first, notes.last) == (1, "", "")


def test_an_absent_catalogue_leaves_assets_without_a_kind(tmp_path: Path, found: Summary) -> None:
    again = summarise(tmp_path / "part.parquet", tmp_path / "images" / "none.parquet", tmp_path, {})
    assert {"image CT", "image ECG"} <= {row.name for row in again.modalities}


def test_the_page_escapes_what_it_shows(tmp_path: Path, found: Summary) -> None:
    report = Report(Quarantine(tmp_path, "run"))
    report.see("table", 2)
    report.use("table")
    report.skip("table", "<img onerror=alert(1)>")
    write_page(tmp_path / "page.html", report.reconcile("run", "run.parquet", 20, found))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<img" not in page
    assert "&lt;img onerror" in page
    assert all(text in page for text in ("image CT", "88%", "LOINC//1", "first thing"))
    assert "http" not in page
