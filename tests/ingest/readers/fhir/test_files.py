"""FHIR files of every form, whole and broken: each is read, or refused by name (FAULTS 25, 33, 44)."""

import gzip
import json
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from ingest.delivery.sources import SourceFile
from ingest.readers.fhir import files as fhir_files
from ingest.readers.fhir import pool as fhir_pool
from ingest.run import ingest
from ingest.workspace import Workspace, create_workspace

Make = Callable[..., dict[str, Any]]
RATE = "LOINC//8867-4"
ARCHIVE = Path(__file__).parents[5] / "shared" / "data" / "hostile" / "fhir-test-cases.tar.gz"
DEEP = b"[" * 10_000 + b"]" * 10_000


def bundle(kind: str, *resources: dict[str, Any]) -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": kind, "entry": [{"resource": each} for each in resources]}


@pytest.mark.parametrize("kind", ["collection", "batch", "transaction", "searchset", "document", "history"])
def test_bundles_of_every_kind_are_their_entries(ward: Any, patient: Make, observation: Make, kind: str) -> None:
    outcome = {"resourceType": "OperationOutcome"}
    path = ward.delivery / "b.json"
    path.write_bytes(orjson.dumps(bundle(kind, observation(), patient(), outcome), option=orjson.OPT_INDENT_2))
    account = ingest(ward.workspace, [ward.delivery])
    assert (account.total.used, account.total.skipped) == (2, 1)
    assert ward.row(RATE)["source_record"] == "entry 1"


@pytest.mark.parametrize("option", [0, orjson.OPT_INDENT_2])
def test_a_list_of_resources_is_read_as_a_bundle_of_them(
    ward: Any, patient: Make, observation: Make, option: int
) -> None:
    resources = [observation(), patient(), observation("o2", about="p7"), "no resource"]
    (ward.delivery / "all.json").write_bytes(orjson.dumps(resources, option=option))
    account = ingest(ward.workspace, [ward.delivery])
    assert (account.total.seen, account.total.used, account.total.refused) == (4, 2, 2)
    assert ward.row(RATE)["source_record"] == "entry 1"
    assert {complaint.record for complaint in account.refusals} == {"entry 3", "entry 4"}


def test_a_bundle_on_a_line_is_its_entries(ward: Any, patient: Make, observation: Make) -> None:
    account = ward.take(
        bundle("searchset", observation()), bundle("searchset", patient(), observation("o2", about="p7"))
    )
    assert (account.total.seen, account.total.used, account.total.refused) == (3, 2, 1)
    assert ward.row(RATE)["source_record"] == "line 1, entry 1"
    assert account.refusals[0].record == "line 2, entry 2"


@pytest.mark.parametrize("name", ["all.ndjson.gz", "all.json.gz"])
def test_gzip_is_read_as_what_is_in_it(ward: Any, patient: Make, observation: Make, name: str) -> None:
    both = [patient(), observation()]
    content = b"\n".join(map(orjson.dumps, both)) if "ndjson" in name else orjson.dumps(bundle("collection", *both))
    (ward.delivery / name).write_bytes(gzip.compress(content))
    assert ingest(ward.workspace, [ward.delivery]).total.used == 2
    assert ward.row(RATE)["numeric_value"] == 80


def test_a_gzip_that_is_cut_short_gives_what_it_has_and_is_refused(ward: Any, patient: Make, observation: Make) -> None:
    lines = [orjson.dumps(each) for each in (patient(), *(observation(f"o{i}", value=float(i)) for i in range(3000)))]
    packed = gzip.compress(b"\n".join(lines))
    (ward.delivery / "all.ndjson.gz").write_bytes(packed[: len(packed) // 2])
    account = ingest(ward.workspace, [ward.delivery])
    assert account.total.used > 1000
    assert any("cut short" in complaint.got for complaint in account.refusals)


def test_a_gzip_bomb_is_refused_within_a_second(ward: Any, patient: Make) -> None:  # FAULTS 25
    bomb = gzip.compress(orjson.dumps(patient()) + b"\n" + b" " * 60_000_000)
    (ward.delivery / "bomb.ndjson.gz").write_bytes(bomb)
    started = time.perf_counter()
    account = ingest(ward.workspace, [ward.delivery])
    assert time.perf_counter() - started < 5  # of which reading is a part
    assert any("inflates more than" in complaint.got for complaint in account.refusals)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (b'{"resourceType":"Observation","x":' + DEEP + b"}", "does not parse"),
        (b'{"resourceType":"Observation","valueQuantity":{"value":' + b"9" * 1_000_000 + b"}}", "does not parse"),
        (b'{"resourceType":"Observation","valueQuantity":{"value":1e400}}', "does not parse"),
        (b'{"resourceType":"Observation","id":"\\ud800"}', "does not parse"),
        (b'{"resourceType":"Observation","id":"\xff"}', "does not parse"),
        (b'{"resourceType":"Observation",}', "does not parse at character 30"),
        (b'// a comment\n{"resourceType":"Observation"}', "does not parse"),
        (b"{resourceType:'Observation'}", "does not parse"),
        (b'{"resourceType":"Observation"}\x00', "does not parse"),
        ('{"resourceType":"Observation"}'.encode("utf-16"), "UTF-16"),
    ],
    ids=["deep", "digits", "1e400", "surrogate", "bytes", "comma", "comment", "quotes", "NUL", "UTF-16"],
)
def test_json_that_is_none_is_refused_by_name(ward: Any, patient: Make, broken: bytes, said: str) -> None:  # FAULTS 33
    (ward.delivery / "broken.json").write_bytes(broken)
    account = ward.take(patient())
    assert (account.total.used, account.total.refused) == (1, 1)
    assert account.refusals[0].file.endswith("broken.json")
    assert said in account.refusals[0].got


def test_odd_but_whole_json_is_read(ward: Any, patient: Make, observation: Make) -> None:
    zero = orjson.dumps(observation(value=-0.0)).replace(b"-0.0", b"-0.0e0")
    twice = orjson.dumps(observation("o2")).replace(b'"status":"final"', b'"status":"draft","status":"final"')
    nul = orjson.dumps(observation("o3", note=[{"text": "a\x00b"}]))
    account = ward.take(b"\xef\xbb\xbf" + orjson.dumps(patient()), zero + b"\r", b"", b"   ", twice, nul)
    assert (account.total.used, account.total.refused) == (4, 0)


def test_a_line_beyond_the_bound_is_refused_and_the_next_is_read(
    ward: Any, patient: Make, observation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fhir_files, "CHUNK_BYTES", 1500)
    monkeypatch.setattr(fhir_files, "MAX_LINE_BYTES", 4000)
    huge = orjson.dumps(observation("huge", note=[{"text": "x" * 20_000}]))
    account = ward.take(patient(), huge, *(observation(f"o{i}", value=float(i)) for i in range(20)))
    assert (account.total.used, account.total.refused) == (21, 1)
    assert account.refusals[0].record == "line 2"
    assert sorted(row["source_record"] for row in ward.rows if row["numeric_value"] == 0) == ["line 3"]


@pytest.mark.parametrize("size", [64, 700, 5000, 1 << 20])
def test_records_do_not_depend_on_where_chunks_end(
    ward: Any, patient: Make, observation: Make, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(fhir_files, "CHUNK_BYTES", size)
    lines: list[Any] = [observation(f"o{i}", value=float(i)) for i in range(30)]
    lines[7] = b'{"resourceType":"Observation"'
    lines[11] = b""
    account = ward.take(*lines, patient())
    assert (account.total.used, account.total.refused) == (29, 1)
    assert account.refusals[0].record == "line 8"
    found = {row["numeric_value"]: row["source_record"] for row in ward.rows if row["code"] == RATE}
    assert found == {float(i): f"line {i + 1}" for i in range(30) if i not in (7, 11)}


def test_a_patient_whose_type_is_spelt_with_an_escape_is_counted_and_known_from_there_on(
    ward: Any, patient: Make, observation: Make
) -> None:
    spelt = orjson.dumps(patient()).replace(b'"Patient"', b'"P\\u0061tient"')
    account = ward.take(spelt, observation())
    assert account.total.seen == 2
    assert ward.take(observation("o2"), name="b.ndjson").total.used == 2  # with the one that came too early


def manifest(*names: str, **counts: int) -> dict[str, Any]:
    output = [{"type": name.split(".")[0], "url": f"https://far.example/export/7/{name}"} for name in names]
    for entry in output:
        if (count := counts.get(entry["type"])) is not None:
            entry["count"] = count
    return {"transactionTime": "2026-03-01T00:00:00Z", "request": "x", "output": output, "error": [], "deleted": []}


def test_a_manifest_is_compared_with_what_was_delivered(ward: Any, patient: Make, observation: Make) -> None:
    said = manifest("Patient.000.ndjson", "Observation.000.ndjson", "Condition.000.ndjson", Patient=1, Observation=3)
    (ward.delivery / "manifest.json").write_bytes(orjson.dumps(said))
    ward.write_lines(ward.delivery / "Patient.000.ndjson", [patient()])
    account = ward.take(observation(), observation("o2"), name="Observation.000.ndjson")
    assert account.total.refused == 2
    count, missing = account.refusals
    assert (count.record, count.field, count.expected, count.got) == ("output 2", "count", "3 resources", "2")
    assert (missing.record, missing.got) == ("output 3", "condition.000.ndjson, which is not there")


def test_what_a_manifest_lacked_may_come_later(ward: Any, patient: Make) -> None:
    (ward.delivery / "manifest.json").write_bytes(orjson.dumps(manifest("Patient.000.ndjson")))
    ward.write_lines(ward.delivery / "notes.ndjson", [{"resourceType": "Basic"}])
    assert ingest(ward.workspace, [ward.delivery]).total.refused == 1
    account = ward.take(patient(), name="Patient.000.ndjson")
    assert account.total.refused == 0
    assert account.by_format["FHIR"].used == 2


def test_the_deletions_of_a_manifest_are_applied(ward: Any, patient: Make, observation: Make) -> None:
    ward.take(patient(), observation())
    (ward.delivery / "all.ndjson").unlink()
    said = {**manifest(), "deleted": [{"type": "Bundle", "url": "https://far.example/export/8/deleted.ndjson"}]}
    (ward.delivery / "manifest.json").write_bytes(orjson.dumps(said))
    gone = {"request": {"method": "DELETE", "url": "Observation/o1"}}
    account = ward.take({"resourceType": "Bundle", "type": "transaction", "entry": [gone]}, name="deleted.ndjson")
    assert (account.total.refused, account.by_format["FHIR"].used) == (0, 2)
    assert all(row["code"] != RATE for row in ward.rows)


def test_an_empty_manifest_is_refused(ward: Any, patient: Make) -> None:
    (ward.delivery / "manifest.json").write_bytes(orjson.dumps(manifest()))
    assert ward.take(patient()).refusals[0].record == "manifest"


@pytest.mark.slow
def test_several_processes_read_what_one_reads(
    tmp_path: Path, ward: Any, patient: Make, observation: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fhir_files, "CHUNK_BYTES", 20_000)
    lines: list[Any] = [observation(f"o{i % 900}", value=float(i % 900)) for i in range(1000)]
    lines[500] = b"{"
    lines += [patient(), observation("x", about="p9")]
    found = []
    for processes in (1, 2):
        monkeypatch.setattr(fhir_pool, "PROCESSES", processes)
        ward.workspace = create_workspace(tmp_path / f"workspace{processes}")
        account = ward.take(*lines)
        rows = sorted((row["source_record"], row["code"], row["numeric_value"]) for row in ward.rows)
        found.append((account.total, account.skip_reasons, account.refusals, rows))
    assert found[0] == found[1]
    assert found[0][0].used == 900


@pytest.mark.slow
def test_every_case_of_the_validator_ends_used_refused_or_skipped(tmp_path: Path, workspace: Workspace) -> None:
    if not ARCHIVE.is_file():
        pytest.skip(f"{ARCHIVE}: not here")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path / "cases", filter="data")
    root = tmp_path / "cases"
    account = ingest(workspace, [root])
    refused = {complaint.file: complaint.got for complaint in account.refusals}
    broken = []
    for path in root.rglob("*.json"):
        try:
            json.loads(path.read_bytes())
        except ValueError:
            broken.append(path)
    assert len(broken) >= 17
    for path in broken:
        assert "does not parse" in refused[SourceFile(path, root).name], path
    hidden = [path.name for path in root.rglob("*.xml") if "hide" in refused.get(SourceFile(path, root).name, "")]
    assert sorted(hidden) == ["list-xhtml-xxe1.xml", "list-xhtml-xxe2.xml"]
