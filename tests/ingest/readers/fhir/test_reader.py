import base64
import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest

from ingest.run import ingest
from ingest.workspace import Workspace

Make = Callable[..., dict[str, Any]]
Lines = Callable[..., Path]
LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"


def coded(code: str, system: str = "http://snomed.info/sct") -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}


def at(*parts: int) -> dt.datetime:
    return dt.datetime(*parts)  # type: ignore[arg-type,misc]  # noqa: DTZ001 - MEDS stores UTC without a zone


def test_a_patient_and_a_measurement(ward: Any, patient: Make, observation: Make) -> None:
    account = ward.take(observation(), patient(deceasedDateTime="2026-04-01T00:00:00Z"))
    assert (account.total.used, account.total.refused) == (2, 0)
    assert ward.row("MEDS_BIRTH")["time"] == at(1960, 5, 17)
    assert (ward.row("GENDER")["time"], ward.row("GENDER")["text_value"]) == (None, "female")
    assert ward.row("MEDS_DEATH")["time"] == at(2026, 4, 1)
    rate = ward.row("LOINC//8867-4")
    assert (rate["numeric_value"], rate["unit"]) == (80.0, "/min")
    assert (rate["time"], rate["available_time"]) == (at(2026, 3, 1, 9), at(2026, 3, 1, 9, 5))
    assert rate["source_record"] == "line 1"
    assert rate["source_file"].startswith("delivery/all.ndjson@")
    assert len({row["subject_id"] for row in ward.rows}) == 1


def test_values_of_every_kind_that_is_read(ward: Any, patient: Make, observation: Make) -> None:
    def of(key: str, value: object) -> dict[str, Any]:
        made = observation(key, code=coded(key), **{key: value})
        if key != "valueQuantity":
            del made["valueQuantity"]
        return made

    account = ward.take(
        patient(),
        of("valueQuantity", {"value": 5, "comparator": "<", "unit": "mg/L"}),
        of("valueCodeableConcept", coded("260385009")),
        of("valueString", "clear"),
        of("valueInteger", 3),
        of("valueBoolean", True),
        of("valueSampledData", {"origin": {"value": 0}, "dimensions": 1}),
    )
    rows = {row["code"].removeprefix("SNOMED//"): row for row in ward.rows}
    quantity = rows["valueQuantity"]
    assert (quantity["numeric_value"], quantity["text_value"], quantity["unit"]) == (5.0, "<", "mg/L")
    assert rows["valueCodeableConcept"]["text_value"] == "SNOMED//260385009"
    assert (rows["valueString"]["text_value"], rows["valueInteger"]["numeric_value"]) == ("clear", 3.0)
    assert rows["valueBoolean"]["text_value"] == "true"
    assert account.skip_reasons == {"a value of a kind that is not read: valueSampledData": 1}


def test_components_are_rows_of_their_own(ward: Any, patient: Make, observation: Make) -> None:
    pressure = observation(
        code=coded("85354-9", LOINC),
        component=[
            {"code": coded(code, LOINC), "valueQuantity": {"value": value, "system": UCUM, "code": "mm[Hg]"}}
            for code, value in (("8480-6", 120), ("8462-4", 80))
        ],
    )
    del pressure["valueQuantity"]
    ward.take(patient(), pressure)
    assert ward.row("LOINC//8480-6")["numeric_value"] == 120
    assert ward.row("LOINC//8462-4")["unit"] == "mm[Hg]"


def test_a_stay_and_its_places(ward: Any, patient: Make) -> None:
    icu = {
        "resourceType": "Location",
        "id": "l1",
        "type": [coded("ICU", "http://terminology.hl7.org/CodeSystem/v3-RoleCode")],
    }
    stay = {
        "resourceType": "Encounter",
        "id": "e1",
        "status": "finished",
        "class": {"code": "IMP"},
        "subject": {"reference": "Patient/p1"},
        "period": {"start": "2026-03-01T08:00:00Z", "end": "2026-03-05T08:00:00Z"},
        "location": [
            {"location": {"reference": "Location/l1"}, "period": {"start": "2026-03-02T08:00:00Z"}},
            {"location": {"reference": "Location/elsewhere"}, "period": {"start": "2026-03-03T08:00:00Z"}},
        ],
    }
    ward.take(stay, icu, patient())
    assert ward.row("ENCOUNTER//IMP//START")["time"] == at(2026, 3, 1, 8)
    assert ward.row("ENCOUNTER//IMP//END")["time"] == at(2026, 3, 5, 8)
    assert ward.row("LOCATION//ICU")["time"] == at(2026, 3, 2, 8)
    assert ward.row("LOCATION//elsewhere")["time"] == at(2026, 3, 3, 8)


def test_a_later_delivery_without_patients_and_places_still_knows_them(ward: Any, patient: Make) -> None:
    icu = {"resourceType": "Location", "id": "l1", "type": [coded("ICU", "x")]}
    ward.take(patient(), icu)
    stay = {
        "resourceType": "Encounter",
        "id": "e1",
        "class": {"code": "IMP"},
        "subject": {"reference": "Patient/p1"},
        "period": {"start": "2026-03-01T08:00:00Z"},
        "location": [{"location": {"reference": "Location/l1"}, "period": {"start": "2026-03-02T08:00:00Z"}}],
    }
    (ward.delivery / "all.ndjson").unlink()
    account = ward.take(stay, name="later.ndjson")
    assert account.total.used == 1
    assert ward.row("LOCATION//ICU")["subject_id"] == ward.row("GENDER")["subject_id"]


def test_events_with_a_code_and_a_time(ward: Any, patient: Make) -> None:
    about = {"reference": "Patient/p1"}
    moment = "2026-03-01T08:00:00Z"
    rxnorm = coded("314076", "http://www.nlm.nih.gov/research/umls/rxnorm")
    period = {"start": moment, "end": "2026-03-01T09:00:00Z"}
    account = ward.take(
        patient(),
        {
            "resourceType": "Condition",
            "id": "1",
            "subject": about,
            "code": coded("13645005"),
            "onsetDateTime": "2020-01-01T00:00:00Z",
            "recordedDate": moment,
        },
        {
            "resourceType": "Procedure",
            "id": "2",
            "status": "completed",
            "subject": about,
            "code": coded("2"),
            "performedPeriod": period,
        },
        {
            "resourceType": "MedicationRequest",
            "id": "3",
            "subject": about,
            "medicationCodeableConcept": rxnorm,
            "authoredOn": moment,
        },
        {
            "resourceType": "MedicationAdministration",
            "id": "4",
            "subject": about,
            "medicationCodeableConcept": coded("4"),
            "effectivePeriod": period,
        },
        {
            "resourceType": "Immunization",
            "id": "5",
            "status": "completed",
            "patient": about,
            "vaccineCode": coded("62", "http://hl7.org/fhir/sid/cvx"),
            "occurrenceDateTime": moment,
        },
        {
            "resourceType": "AllergyIntolerance",
            "id": "6",
            "patient": about,
            "code": coded("6"),
            "recordedDate": moment,
        },
        {
            "resourceType": "DiagnosticReport",
            "id": "7",
            "subject": about,
            "code": coded("7"),
            "effectiveDateTime": moment,
            "issued": "2026-03-01T10:00:00Z",
            "conclusion": "no effusion",
        },
    )
    assert account.total.refused == 0
    condition = ward.row("SNOMED//13645005")
    assert (condition["time"], condition["available_time"]) == (at(2020, 1, 1), at(2026, 3, 1, 8))
    assert ward.row("SNOMED//2")["available_time"] == at(2026, 3, 1, 9)
    assert ward.row("RXNORM//314076")["time"] == at(2026, 3, 1, 8)
    assert ward.row("cvx//62")["time"] == ward.row("SNOMED//6")["time"] == at(2026, 3, 1, 8)
    assert ward.row("SNOMED//7")["text_value"] == "no effusion"
    assert ward.row("SNOMED//7")["available_time"] == at(2026, 3, 1, 10)


def note(**attachment: object) -> dict[str, Any]:
    return {
        "resourceType": "DocumentReference",
        "id": "n1",
        "status": "current",
        "subject": {"reference": "Patient/p1"},
        "type": coded("34117-2", LOINC),
        "date": "2026-03-01T12:00:00Z",
        "context": {"period": {"start": "2026-03-01T10:00:00Z"}},
        "content": [{"attachment": {"contentType": "text/plain", **attachment}}],
    }


def test_a_note_is_its_decoded_text(ward: Any, patient: Make) -> None:
    ward.take(patient(), note(data=base64.b64encode("Rasselgeräusche".encode()).decode()))
    row = ward.row("LOINC//34117-2")
    assert row["text_value"] == "Rasselgeräusche"
    assert (row["time"], row["available_time"]) == (at(2026, 3, 1, 10), at(2026, 3, 1, 12))


def test_a_note_may_lie_in_a_file_of_the_delivery(ward: Any, patient: Make) -> None:
    (ward.delivery / "n.txt").write_text("wheeze")
    ward.take(patient(), note(url="n.txt"))
    assert ward.row("LOINC//34117-2")["text_value"] == "wheeze"


@pytest.mark.parametrize(
    "url", ["../secret.wav", "..%2fsecret.wav", "/etc/passwd", "file:///etc/passwd", "http://a.example/x.wav", "x\0y"]
)
def test_a_url_that_leads_out_of_the_delivery_is_refused(
    ward: Any, patient: Make, write_sound: Callable[[Path], Path], url: str
) -> None:
    write_sound(ward.delivery.parent / "secret.wav")
    account = ward.take(patient(), media(url))
    assert account.total.refused == 1
    assert "secret" not in str(account.refusals[0])
    assert all(row["asset"] is None for row in ward.rows)


def media(url: str) -> dict[str, Any]:
    return {
        "resourceType": "Media",
        "id": "m1",
        "status": "completed",
        "modality": coded("37931006"),
        "subject": {"reference": "Patient/p1"},
        "createdDateTime": "2026-03-01T10:00:00Z",
        "content": {"contentType": "audio/wav", "url": url},
    }


def test_a_sound_comes_in_through_its_media(ward: Any, patient: Make, write_sound: Callable[[Path], Path]) -> None:
    heard = write_sound(ward.delivery / "sounds" / "a b.wav")
    write_sound(ward.delivery / "sounds" / "orphan.wav")
    ward.write_lines(ward.delivery / "fhir" / "Media.ndjson", [media("../sounds/a%20b.wav")])
    account = ward.take(patient())
    row = ward.row("SNOMED//37931006")
    assert row["asset"] == str(heard)
    assert len(row["asset_sha256"]) == 64
    assert account.by_format["sound"].to_json() == {"in": 2, "used": 1, "refused": 0, "skipped": 1}
    assert account.skip_reasons == {"sound that no record names": 1}


def test_a_broken_line_5000_is_refused_and_the_others_load(ward: Any, patient: Make, observation: Make) -> None:
    lines: list[Any] = [patient()] + [observation(f"o{i}", value=float(i)) for i in range(2, 5202)]
    lines[4999] = b'{"resourceType":"Observation","id":"o5000","valueQuantity":{'
    account = ward.take(*lines)
    assert (account.total.used, account.total.refused, account.total.seen) == (5200, 1, 5201)
    assert account.refusals[0].record == "line 5000"
    assert "does not parse" in str(account.refusals[0])
    kept = (ward.workspace.quarantine / account.run / "refused.jsonl").read_bytes().splitlines()
    assert b'"id":"o5000"' in orjson.loads(kept[0])["raw"].encode()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"effectiveDateTime": "2026-03-01T10:00:00", "issued": None}, "effectiveDateTime"),
        ({"effectiveDateTime": None}, "effectiveDateTime"),
        ({"effectiveDateTime": 7}, "effectiveDateTime"),
        ({"code": {"coding": []}}, "code.coding"),
        ({"code": "8867-4"}, "code"),
        ({"code": {"coding": "x"}}, "coding"),
        ({"subject": None}, "subject.reference"),
        ({"subject": {"reference": "Patient/none"}}, "subject.reference"),
        ({"subject": ["Patient/p1"]}, "subject"),
        ({"valueQuantity": {"value": "80"}}, "value"),
        ({"valueQuantity": {"value": True}}, "value"),
        ({"valueQuantity": {"value": 1e39}}, "value"),
    ],
)
def test_a_record_that_is_wrong_is_refused_by_field(
    ward: Any, patient: Make, observation: Make, changes: dict[str, Any], field: str
) -> None:
    account = ward.take(patient(), observation(**changes))
    assert account.total.refused == 1
    assert (account.refusals[0].record, account.refusals[0].field) == ("line 2", field)


def test_a_time_without_zone_is_mended_by_the_zone_of_the_source_on_a_second_run(
    ward: Any, patient: Make, observation: Make
) -> None:
    local = observation(effectiveDateTime="2026-07-01T10:00:00", issued=None)
    summer = observation("o2", effectiveDateTime="2026-10-25T02:30:00", issued=None)
    assert ward.take(patient(), local, summer).total.refused == 2
    account = ward.take(patient(), local, summer, timezone="Europe/Berlin")
    assert (account.total.used, account.total.refused, account.total.skipped) == (1, 1, 1)
    assert "happens twice in Europe/Berlin" in str(account.refusals[0])
    assert ward.row("LOINC//8867-4")["time"] == at(2026, 7, 1, 8)


def test_a_date_stands_at_its_start_and_is_known_at_its_end(ward: Any, patient: Make, observation: Make) -> None:
    account = ward.take(patient(), observation(effectiveDateTime="2026-03-01", issued=None))
    row = ward.row("LOINC//8867-4")
    assert (row["time"], row["available_time"]) == (at(2026, 3, 1), at(2026, 3, 2))
    assert sum(account.notes.values()) == 1


def test_statuses_and_types_that_do_not_count_are_skipped_by_name(ward: Any, patient: Make, observation: Make) -> None:
    account = ward.take(
        patient(),
        observation(status="entered-in-error"),
        observation("o2", status="cancelled"),
        {"resourceType": "Practitioner", "id": "d1"},
        {"resourceType": "Condition", "id": "c1", "verificationStatus": coded("refuted", "v")},
    )
    assert account.skip_reasons == {
        "Observation entered-in-error": 1,
        "Observation cancelled": 1,
        "FHIR type that is not read: Practitioner": 1,
        "Condition refuted": 1,
    }


def test_the_same_resource_twice_counts_once_and_the_same_id_with_other_content_is_refused(
    ward: Any, patient: Make, observation: Make
) -> None:
    account = ward.take(patient(), observation(), observation(), observation(value=81.0))
    assert account.skip_reasons == {"duplicate": 1}
    assert account.refusals[0].field == "id"
    assert ward.row("LOINC//8867-4")["numeric_value"] == 80


def test_a_new_export_brings_only_what_is_new(ward: Any, patient: Make, observation: Make) -> None:
    ward.take(patient(), observation())
    account = ward.take(patient(), observation(), observation("o2", value=81.0))
    assert (account.total.used, account.total.skipped) == (1, 2)
    assert account.skip_reasons == {"already ingested": 2}
    assert len([row for row in ward.rows if row["code"] == "LOINC//8867-4"]) == 2


def test_another_person_under_a_known_number_is_refused_with_all_that_refers_to_them(
    ward: Any, patient: Make, observation: Make
) -> None:
    ward.take(patient())
    account = ward.take(patient(family="Baker", given="Bob", birthDate="1971-01-01"), observation())
    assert (account.total.used, account.total.refused) == (0, 2)
    assert "another name and another birth date" in str(account.refusals[0])
    assert "refused" in str(account.refusals[1])
    assert all(row["code"] != "LOINC//8867-4" for row in ward.rows)


def test_the_same_number_of_another_hospital_is_another_person(ward: Any, patient: Make) -> None:
    other = patient(id="p9", family="Baker", identifier=[{"system": "urn:oid:9.9", "value": "1"}])
    account = ward.take(patient(), other)
    assert (account.total.used, account.subjects) == (2, 2)


def test_a_bundle_with_full_urls_reads_as_lines_do(ward: Any, patient: Make, observation: Make) -> None:
    entries = [
        {"fullUrl": "urn:uuid:o", "resource": observation(subject={"reference": "urn:uuid:p"})},
        {"fullUrl": "urn:uuid:p", "resource": patient()},
        {"fullUrl": "urn:uuid:x"},
    ]
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": entries}
    (ward.delivery / "bundle.json").write_bytes(orjson.dumps(bundle, option=orjson.OPT_INDENT_2))
    account = ingest(ward.workspace, [ward.delivery])
    assert (account.total.used, account.total.refused) == (2, 1)
    assert account.refusals[0].record == "entry 3"
    assert ward.row("LOINC//8867-4")["source_record"] == "entry 1"


def test_references_by_identifier_resolve(ward: Any, patient: Make, observation: Make) -> None:
    conditional = observation(subject={"reference": "Patient?identifier=urn:oid:1.2.3|1"})
    logical = observation("o2", subject={"identifier": {"system": "urn:oid:1.2.3", "value": "1"}})
    assert ward.take(patient(), conditional, logical).total.used == 3


@pytest.mark.parametrize(
    "line",
    [
        b'{"resourceType":"Observation","x":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"resourceType":"Observation","valueQuantity":{"value":' + b"9" * 1_000_000 + b"}}",
        b'{"resourceType":"Observation","id":"\xff"}',
        b'["resourceType"]',
        b'{"resourceType":7}',
        b"null",
    ],
)
def test_hostile_json_is_refused(ward: Any, patient: Make, line: bytes) -> None:
    account = ward.take(patient(), line)
    assert (account.total.used, account.total.refused) == (1, 1)


def test_the_rows_have_the_types_that_meds_asks_for(ward: Any, patient: Make, observation: Make) -> None:
    ward.take(patient(), observation())
    part = next(ward.workspace.observations.glob("*.parquet"))
    schema = pa.parquet.read_schema(part)
    assert schema.field("subject_id").type == pa.int64()
    assert schema.field("time").type == pa.timestamp("us")
    assert schema.field("code").type == pa.string()
    assert schema.field("numeric_value").type == pa.float32()
    assert schema.field("text_value").type == pa.large_string()
    rows = pa.parquet.read_table(part).to_pylist()
    keys = [(row["subject_id"], row["time"] or dt.datetime.min) for row in rows]  # noqa: DTZ901
    assert keys == sorted(keys)


def test_synthea_reads_without_a_refusal(workspace: Workspace) -> None:
    source = Path(__file__).parents[5] / "shared" / "data" / "fhir-synthea"
    if not source.is_dir():
        pytest.skip(f"{source} is not here")
    account = ingest(workspace, [source])
    assert (account.total.refused, account.subjects) == (0, 13)
    assert account.skip_reasons["not a known format: .ndjson"] == 1
