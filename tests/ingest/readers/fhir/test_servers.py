"""What servers write, each in its own way: references, resources within others, statements that something is not so."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from ingest.readers.fhir.facts import Skip
from ingest.readers.fhir.observations import value_of
from ingest.run import ingest
from ingest.store import read_observations
from ingest.workspace import Workspace

Make = Callable[..., dict[str, Any]]
ABOUT = {"reference": "Patient/p1"}
NOON, LATER = "2026-03-01T12:00:00Z", "2026-03-01T13:00:00Z"


def coded(code: str, system: str = "http://snomed.info/sct") -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}


def resource(kind: str, identifier: str = "r1", **fields: Any) -> dict[str, Any]:
    return {"resourceType": kind, "id": identifier, "subject": ABOUT, **fields}


@pytest.mark.parametrize(
    "about",
    [
        {"reference": "Patient/p1/_history/3"},
        {"reference": "https://srv/fhir/Patient/p1/_history/3"},
        {"reference": "https://srv/fhir/Patient?identifier=urn:oid:1.2.3|1"},
        {"identifier": {"system": "urn:oid:1.2.3", "value": "1"}},
    ],
)
def test_a_patient_is_found_by_version_address_or_identifier(
    about: dict[str, Any], ward: Any, patient: Make, observation: Make
) -> None:
    ward.take(patient(), observation(subject=about))
    assert ward.row("LOINC//8867-4")["subject_id"] == ward.row("GENDER")["subject_id"]


@pytest.mark.parametrize(
    ("denial", "reason"),
    [
        (resource("MedicationRequest", status="active", doNotPerform=True, authoredOn=NOON,
                  medicationCodeableConcept=coded("1")), "MedicationRequest of what is not to be done"),
        (resource("ServiceRequest", status="active", doNotPerform=True, authoredOn=NOON, code=coded("1")),
         "ServiceRequest of what is not to be done"),
        (resource("MedicationStatement", status="not-taken", effectiveDateTime=NOON,
                  medicationCodeableConcept=coded("1")), "MedicationStatement not taken"),
        (resource("MedicationStatement", status="recorded", effectiveDateTime=NOON, medication={"concept": coded("1")},
                  adherence={"code": coded("not-taking")}), "MedicationStatement not taken"),
        (resource("MedicationDispense", status="declined", whenHandedOver=NOON,
                  medicationCodeableConcept=coded("1")), "MedicationDispense declined"),
        (resource("Goal", lifecycleStatus="entered-in-error", startDate="2026-03-01", description=coded("1")),
         "Goal entered-in-error"),
    ],
)  # fmt: skip
def test_what_a_resource_denies_is_no_fact(denial: dict[str, Any], reason: str, ward: Any, patient: Make) -> None:
    account = ward.take(patient(), denial)
    assert account.skip_reasons == {reason: 1}
    assert {row["code"] for row in ward.rows} == {"MEDS_BIRTH", "GENDER"}


def test_a_later_denial_takes_back_what_was_stated(ward: Any, patient: Make) -> None:
    taken = resource(
        "MedicationStatement", status="active", effectiveDateTime=NOON, medicationCodeableConcept=coded("1")
    )
    ward.take(patient(), taken)
    assert ward.row("SNOMED//1")
    ward.take({**taken, "status": "not-taken"}, name="later.ndjson")
    assert {row["code"] for row in ward.rows} == {"MEDS_BIRTH", "GENDER"}


def test_an_observation_of_another_focus_is_not_the_patients(ward: Any, patient: Make, observation: Make) -> None:
    account = ward.take(
        patient(), observation(focus=[{"reference": "RelatedPerson/baby"}]), observation("2", focus=[ABOUT])
    )
    assert account.skip_reasons == {"Observation whose focus is not the patient": 1}
    assert len([row for row in ward.rows if row["code"] == "LOINC//8867-4"]) == 1


@pytest.mark.parametrize("place", ["resource", "component"])
def test_what_a_modifier_extension_may_turn_round_is_refused(
    place: str, ward: Any, patient: Make, observation: Make
) -> None:
    modifier = {"modifierExtension": [{"url": "http://hospital.example/negated", "valueBoolean": True}]}
    part = {"code": coded("1"), "valueInteger": 1, **modifier}
    account = ward.take(patient(), observation(**(modifier if place == "resource" else {"component": [part]})))
    (refusal,) = account.refusals
    assert (refusal.field.endswith("modifierExtension"), refusal.got) == (True, "one")


def test_a_reports_own_observations_are_read_and_known_with_it(ward: Any, patient: Make, observation: Make) -> None:
    inner = observation("x", subject=ABOUT)
    del inner["issued"]
    untimed = {k: v for k, v in observation("y", subject=ABOUT, code=coded("1")).items() if k != "effectiveDateTime"}
    mistaken = observation("z", subject=ABOUT, code=coded("2"), status="entered-in-error")
    report = resource("DiagnosticReport", status="final", code=coded("58410-2", "http://loinc.org"), issued=LATER,
                      effectiveDateTime=NOON, contained=[inner, untimed, mistaken])  # fmt: skip
    account = ward.take(patient(), report)
    assert (account.total.used, account.total.skipped) == (2, 0)
    rate = ward.row("LOINC//8867-4")
    assert rate["available_time"] == dt.datetime(2026, 3, 1, 13)  # noqa: DTZ001 - UTC, as MEDS has it
    assert ward.row("SNOMED//1")["time"] == dt.datetime(2026, 3, 1, 12)  # noqa: DTZ001
    assert rate["source_record"] == "line 2"
    assert "SNOMED//2" not in {row["code"] for row in ward.rows}
    ward.take({**report, "status": "entered-in-error"}, name="later.ndjson")
    assert {row["code"] for row in ward.rows} == {"MEDS_BIRTH", "GENDER"}


def test_places_and_medications_are_found_within_and_by_identifier(ward: Any, patient: Make) -> None:
    ward_3 = {
        "resourceType": "Location",
        "id": "l",
        "type": [coded("ICU", "x")],
        "identifier": [{"system": "http://w/x", "value": "3"}],
    }
    pill = {
        "resourceType": "Medication",
        "id": "m",
        "code": coded("77"),
        "identifier": [{"system": "http://w/x", "value": "7"}],
    }
    by_identifier = {"identifier": {"system": "http://w/x", "value": "3"}}
    stay = resource(
        "Encounter", status="finished", period={"start": NOON, "end": LATER},
        contained=[{**ward_3, "type": [coded("ER", "x")]}],
        location=[
            {"location": {"reference": "#l"}, "period": {"start": NOON}},
            {"location": by_identifier, "period": {"start": LATER}},
            {"location": {"display": "Ward 3"}, "period": {"start": LATER}},
        ], **{"class": {"code": "IMP"}},
    )  # fmt: skip
    asked = resource("MedicationRequest", "a", status="active", authoredOn=NOON,
                     medicationReference={"identifier": {"system": "http://w/x", "value": "7"}})  # fmt: skip
    given = resource("MedicationAdministration", "g", status="completed",
                     occurrencePeriod={"start": NOON, "end": LATER},
                     medication={"reference": {"reference": "Medication/m/_history/2"}})  # fmt: skip
    account = ward.take(patient(), ward_3, pill)
    account = ward.take(stay, asked, given, name="later.ndjson")
    assert account.total.refused == 0
    assert {row["code"] for row in ward.rows if row["code"].startswith("LOCATION")} == {"LOCATION//ER", "LOCATION//ICU"}
    assert len([row for row in ward.rows if row["code"] == "SNOMED//77"]) == 2
    assert account.notes["place of an Encounter that refers to no Location: left out"] == 1


def test_a_stay_that_ends_before_it_begins_is_refused(ward: Any, patient: Make) -> None:
    stay = resource("Encounter", status="finished", period={"start": LATER, "end": NOON}, **{"class": {"code": "IMP"}})
    (refusal,) = ward.take(patient(), stay).refusals
    assert (refusal.field, refusal.expected) == ("period.end", "an end that is not before the start")


def test_an_r5_composition_has_a_list_of_subjects(ward: Any, patient: Make) -> None:
    letter = resource(
        "Composition", status="final", type=coded("1"), date=NOON, section=[{"text": {"div": "<p>Well.</p>"}}]
    )
    account = ward.take(patient(), {**letter, "subject": [ABOUT]}, {**letter, "id": "r2", "subject": [ABOUT, ABOUT]})
    assert ward.row("SNOMED//1")["text_value"] == "Well."
    assert [(each.record, each.expected, each.got) for each in account.refusals] == [("line 3", "one subject", "2")]


def test_a_ratio_divides_by_the_whole_of_a_compound_unit() -> None:
    ratio = {"numerator": {"value": 10, "unit": "mg"}, "denominator": {"value": 2, "unit": "mL/min"}}
    value = value_of({"valueRatio": ratio})
    assert value is not None
    assert (value.number, value.unit) == (5.0, "mg/(mL/min)")
    with pytest.raises(Skip):
        value_of({"valueSampledData": {}})


def test_code_systems_are_known_by_their_oids(ward: Any, patient: Make, observation: Make) -> None:
    ward.take(patient(), observation(code=coded("8867-4", "urn:oid:2.16.840.1.113883.6.1")))
    assert ward.row("LOINC//8867-4")["unit"] == "/min"


def test_a_leap_second_is_the_second_after(ward: Any, patient: Make, observation: Make) -> None:
    account = ward.take(
        patient(),
        observation("1", effectiveDateTime="2016-12-31T23:59:60Z", issued="2017-01-01T00:59:60+01:00"),
        observation("2", effectiveDateTime="2016-12-31T12:00:60Z"),
    )
    assert ward.row("LOINC//8867-4")["time"] == dt.datetime(2017, 1, 1)  # noqa: DTZ001
    assert [each.record for each in account.refusals] == ["line 3"]


@pytest.mark.parametrize("way", ["quick", "full"])
def test_clocks_that_disagree_are_noted_and_refused_beyond_a_day(
    way: str, ward: Any, patient: Make, observation: Make
) -> None:
    """FAULTS 11."""
    more = {} if way == "quick" else {"component": []}
    account = ward.take(
        patient(),
        observation("1", effectiveDateTime="2026-03-01T09:30:00Z", issued="2026-03-01T09:00:00Z", **more),
        observation("2", effectiveDateTime="2026-03-04T09:00:00Z", issued="2026-03-01T09:00:00Z", **more),
        observation("3", effectiveDateTime="2026-03-01T09:00:00Z", issued="2026-03-01T09:00:30Z", **more),
    )
    (note,) = [note for note in account.notes if note.startswith("clocks disagree")]
    assert "measured 30 min (median) after it was known" in note
    assert account.notes[note] == 1
    assert [(each.record, each.got) for each in account.refusals] == [("line 3", "one known 3 days before")]
    early = [row for row in ward.rows if row["source_record"] == "line 2"]
    assert early[0]["available_time"] == early[0]["time"]


def test_what_is_planned_ahead_is_no_clocks_fault(ward: Any, patient: Make) -> None:
    plan = resource("CarePlan", status="active", created="2026-02-01", period={"start": NOON}, category=[coded("1")])
    ended = resource("Condition", "c", code=coded("2"), onsetDateTime="2025-01-01", recordedDate="2025-01-02",
                     abatementDateTime="2026-01-01")  # fmt: skip
    account = ward.take(patient(), plan, ended)
    assert (account.total.refused, account.total.used) == (0, 3)


def test_entries_without_a_resource_are_told_apart(workspace: Workspace, delivery: Path, patient: Make) -> None:
    entries = [
        {"resource": patient()}, {"response": {"status": "200"}}, {"request": {"method": "GET", "url": "Patient/1"}},
        None, {"fullUrl": "urn:uuid:1"},
    ]  # fmt: skip
    bundle = {"resourceType": "Bundle", "type": "batch", "entry": entries}
    (delivery / "bundle.json").write_bytes(orjson.dumps(bundle))
    account = ingest(workspace, [delivery])
    assert account.skip_reasons == {"entry of a bundle without a resource": 2}
    assert [(each.record, each.field, each.got) for each in account.refusals] == [
        ("entry 4", "entry", "null"), ("entry 5", "entry.resource", "none"),
    ]  # fmt: skip


def test_entries_of_a_bundle_within_a_bundle_have_numbers_of_their_own(
    workspace: Workspace, delivery: Path, patient: Make, observation: Make
) -> None:
    inner = {
        "resourceType": "Bundle",
        "type": "document",
        "entry": [{"resource": observation("2")}, {"resource": observation("3")}],
    }
    entries = [{"resource": patient()}, {"resource": inner}, {"resource": observation("4")}]
    (delivery / "bundle.json").write_bytes(
        orjson.dumps({"resourceType": "Bundle", "type": "searchset", "entry": entries})
    )
    assert ingest(workspace, [delivery]).total.used == 4
    rows = read_observations(workspace).to_pylist()
    assert sorted(row["source_record"] for row in rows if row["code"] == "LOINC//8867-4") == [
        "entry 2",
        "entry 3",
        "entry 4",
    ]


def test_a_record_made_again_after_its_deletion_stands(
    workspace: Workspace, delivery: Path, patient: Make, observation: Make
) -> None:
    def entry(number: str, updated: str) -> dict[str, Any]:
        return {"resource": observation(number, meta={"lastUpdated": updated})}

    def deleted(number: str) -> dict[str, Any]:
        url = f"https://srv/Observation/{observation(number)['id']}/_history/2"
        return {"request": {"method": "DELETE", "url": url}, "response": {"lastModified": "2026-03-02T00:00:00Z"}}

    entries = [
        {"resource": patient()}, entry("1", "2026-03-03T00:00:00Z"), deleted("1"),
        deleted("2"), entry("2", "2026-03-01T00:00:00Z"),
    ]  # fmt: skip
    (delivery / "history.json").write_bytes(
        orjson.dumps({"resourceType": "Bundle", "type": "history", "entry": entries})
    )
    ingest(workspace, [delivery])
    rows = read_observations(workspace).to_pylist()
    assert [row["source_record"] for row in rows if row["code"] == "LOINC//8867-4"] == ["entry 2"]
