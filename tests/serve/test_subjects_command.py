"""`telltale subjects`: merging and parting by identifier (FAULTS 7)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from ingest.store import read_observations
from ingest.workspace import open_workspace


def patient(number: str) -> dict[str, Any]:
    identifier = [{"system": "urn:oid:1.2.3", "value": number}]
    return {"resourceType": "Patient", "id": f"p{number}", "identifier": identifier, "gender": "female"}


def subjects(place: Path) -> int:
    return len(set(read_observations(open_workspace(place))["subject_id"].to_pylist()))


def test_subjects_are_merged_and_parted_without_loss(telltale: Callable[..., Any], tmp_path: Path) -> None:
    delivery, place = tmp_path / "delivery", tmp_path / "workspace"
    delivery.mkdir()
    (delivery / "p.ndjson").write_bytes(b"\n".join(orjson.dumps(patient(n)) for n in ("7001", "7002")))
    assert telltale("ingest", delivery, "-w", place).code == 0
    assert subjects(place) == 2
    who = ("--issuer", "urn:oid:1.2.3", "-w", place)
    ran = telltale("subjects", "merge", "7001", "7002", *who)
    assert (ran.code, subjects(place)) == (0, 1), ran.err
    again = telltale("subjects", "merge", "7001", "7002", *who)
    assert (again.code, "two identifiers of one" in again.err) == (1, True)
    assert "by hand" in telltale("subjects", "list", "-w", place).out
    assert telltale("subjects", "unmerge", "7002", *who).code == 0
    assert subjects(place) == 2


def test_an_unknown_identifier_is_not_repeated(telltale: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "p.ndjson").write_bytes(orjson.dumps(patient("7001")))
    telltale("ingest", tmp_path / "p.ndjson", "-w", tmp_path / "workspace")
    ran = telltale("subjects", "merge", "7001", "990099", "--issuer", "urn:oid:1.2.3", "-w", tmp_path / "workspace")
    assert ran.code == 1
    assert "990099" not in ran.err


def test_subjects_of_a_table_are_merged_by_its_identifiers(telltale: Callable[..., Any], tmp_path: Path) -> None:
    delivery, place = tmp_path / "delivery", tmp_path / "workspace"
    delivery.mkdir()
    (delivery / "t.csv").write_text("who,v\nA,1\nB,2\n")
    mapping = (
        "files: [{path: t.csv, subject: {column: who, issuer: lab}, columns: [{code: V, column: v, kind: numeric}]}]"
    )
    (tmp_path / "m.yaml").write_text(mapping)
    assert telltale("ingest", delivery, "--mapping", tmp_path / "m.yaml", "-w", place).code == 0
    ran = telltale("subjects", "merge", "A", "B", "--issuer", "lab", "-w", place)
    assert (ran.code, subjects(place)) == (0, 1), ran.err
    ran = telltale("subjects", "unmerge", "B", "--issuer", "lab", "-w", place)
    assert (ran.code, subjects(place)) == (0, 2), ran.err
    assert telltale("subjects", "merge", "A", "C", "--issuer", "lab", "-w", place).code == 1
