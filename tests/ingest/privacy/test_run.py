"""Deliveries de-identified: records, tables, notes and pictures, and what may not be written."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ingest.errors import InputError
from ingest.privacy.keys import ISSUER, Keys
from ingest.privacy.records import moved
from ingest.privacy.run import deidentify
from ingest.run import ingest
from ingest.store import read_observations
from ingest.workspace import Workspace

KEYS = Keys.of_secret(b"a secret")
SYSTEM = "urn:oid:1.2.3"
Lines = Callable[[Path, list[Any]], Path]
MAPPING = r"""
files:
  - path: "*stays.csv"
    subject: {column: mrn, issuer: "urn:oid:1.2.3"}
    time: {column: at, format: "%d.%m.%Y %H:%M"}
    columns:
      - {code: LAB//lactate, column: lactate, kind: numeric, unit: mmol/L}
      - {code: NOTE, column: said, kind: text}
      - {code: IMAGE, asset: "{picture}.png"}
notes:
  - {path: "*notes/*.txt", name: '(?P<subject>\w+)-(?P<time>\d+)', issuer: "urn:oid:1.2.3", format: "%Y%m%d",
     code: LETTER}
"""


def resources(out: Path) -> list[dict[str, Any]]:
    return [
        orjson.loads(line) for path in sorted((out / "records").iterdir()) for line in path.read_bytes().splitlines()
    ]


def test_records_keep_their_course_and_lose_their_person(
    tmp_path: Path, write_lines: Lines, patient: Callable[..., Any], observation: Callable[..., Any]
) -> None:
    person = patient(telecom=[{"value": "030 1234567"}], address=[{"city": "Bonn"}], link=[], photo=[{"data": "eA=="}])
    later = observation(
        "o2", effectiveDateTime="2026-03-05", note=[{"text": "Ann Archer slept well", "authorString": "X Y"}]
    )
    odd = {**observation("o3"), "modifierExtension": [{"url": "x"}]}
    strange = [odd, observation("o4", about="nobody"), {"resourceType": "Consent", "id": "c"}]
    write_lines(tmp_path / "in" / "a.ndjson", [person, observation(), later, *strange])
    report = deidentify(tmp_path / "in", tmp_path / "out", KEYS)
    assert (report.count("written"), report.count("refused")) == (3, 3)
    who, first, second = resources(tmp_path / "out")
    pseudonym = KEYS.pseudonym(KEYS.subject(SYSTEM, "1"))
    days = KEYS.days(KEYS.subject(SYSTEM, "1"))
    assert who.keys() == {"resourceType", "id", "identifier", "gender", "birthDate"}
    assert who["identifier"] == [{"system": ISSUER, "value": pseudonym}]
    assert who["birthDate"] == moved("1960-05-17", days)
    assert first["subject"]["reference"] == second["subject"]["reference"] == f"Patient/{who['id']}"
    assert first["effectiveDateTime"] == moved("2026-03-01T10:00:00+01:00", days)
    assert second["effectiveDateTime"] == moved("2026-03-05", days)
    assert first["valueQuantity"] == observation()["valueQuantity"]
    assert second["note"] == [{"text": "[NAME] [NAME] slept well"}]
    assert b"Archer" not in b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())


def test_tables_notes_and_pictures_go_by_a_mapping_and_can_be_ingested(tmp_path: Path, workspace: Workspace) -> None:
    source = tmp_path / "in"
    (source / "notes").mkdir(parents=True)
    told = PngInfo()
    told.add_text("Comment", "Ann Archer")
    Image.new("L", (8, 8), 9).save(source / "archer.png", pnginfo=told)
    (source / "stays.csv").write_text(
        "mrn,at,lactate,said,picture,name\n17,01.03.2026 10:00,1.5,Dr. Archer came,archer,Ann\n17,soon,1,x,,Ann\n"
    )
    (source / "notes" / "17-20260302.txt").write_text("MRN: 4815162, stable")
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(MAPPING)
    report = deidentify(source, tmp_path / "out", KEYS, mapping=mapping, timezone="+01:00")
    assert (report.count("written"), report.count("refused")) == (3, 1), report.lines()
    out = tmp_path / "out"
    assert b"rcher" not in b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    (table,) = (out / "tables").iterdir()
    cells = table.read_text().splitlines()
    assert cells[0] == "subject,at,lactate,said,asset_2"
    assert cells[1].split(",")[2:4] == ["1.5", "Dr. [NAME] came"]
    account = ingest(workspace, [out], mapping=out / "mapping.yaml", timezone="+01:00")
    assert account.total.refused == 0, account.lines()
    assert account.subjects == 1
    assert account.observations == 4


def test_it_is_safe_to_run_again_and_never_writes_where_it_should_not(
    tmp_path: Path, write_lines: Lines, patient: Callable[..., Any]
) -> None:
    write_lines(tmp_path / "in" / "a.ndjson", [patient()])
    deidentify(tmp_path / "in", tmp_path / "out", KEYS)
    first = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    (tmp_path / "out" / "records" / ".left.tmp").write_text("of a killed run")
    (tmp_path / "out" / "report.json").write_text('{"state": "unfinished"}')
    deidentify(tmp_path / "in", tmp_path / "out", KEYS)
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == first
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "mine.txt").write_text("mine")
    for out in (tmp_path / "else", tmp_path / "in" / "out", tmp_path):
        with pytest.raises(InputError):
            deidentify(tmp_path / "in", out, KEYS)
    assert (tmp_path / "else" / "mine.txt").read_text() == "mine"


def test_a_note_keeps_its_distance_from_a_table_s_row_across_a_change_of_the_clocks(
    tmp_path: Path, workspace: Workspace
) -> None:
    source, zone = tmp_path / "in", "Europe/Berlin"
    (source / "notes").mkdir(parents=True)
    first = dt.datetime(2026, 1, 1, 2, 30)  # noqa: DTZ001 - a wall clock
    clocks = [f"{first + dt.timedelta(days=day):%d.%m.%Y %H:%M}" for day in range(365)]
    clocks.remove("29.03.2026 02:30")
    clocks.remove("25.10.2026 02:30")
    (source / "stays.csv").write_text("mrn,at,lactate,said,picture\n" + "".join(f"17,{at},1.5,,\n" for at in clocks))
    for at in clocks:
        (source / "notes" / f"17-{at.replace(':', '').replace(' ', 'T')}.txt").write_text("stable")
    (source / "notes" / "17-29.03.2026T0230.txt").write_text("at an hour that was left out")
    mapping = tmp_path / "mapping.yaml"
    mapping.write_text(
        MAPPING.replace(r"(?P<time>\d+)", "(?P<time>.+)").replace('format: "%Y%m%d"', 'format: "%d.%m.%YT%H%M"')
    )
    report = deidentify(source, tmp_path / "out", KEYS, mapping=mapping, timezone=zone)
    assert report.reasons["refused"] == {
        "time: expected a time that happens once, got one that the clocks repeat or leave out": 1
    }
    account = ingest(workspace, [tmp_path / "out"], mapping=tmp_path / "out" / "mapping.yaml", timezone=zone)
    assert account.total.refused == 0, account.refusals[:3]
    rows = read_observations(workspace).to_pylist()
    times = {code: sorted(row["time"] for row in rows if row["code"] == code) for code in ("LETTER", "LAB//lactate")}
    assert len(times["LETTER"]) == len(clocks)
    assert times["LETTER"] == times["LAB//lactate"]
