"""Every FHIR type that is read, in R4 and R5, and every kind of value."""

from collections.abc import Callable
from typing import Any

import pytest

from ingest.meaning.vocabulary import Quantity, Vocabulary

Make = Callable[..., dict[str, Any]]
ABOUT = {"reference": "Patient/p1"}
WHEN, END = "2026-03-01T08:00:00Z", "2026-03-02T08:00:00Z"
PERIOD = {"start": WHEN, "end": END}
PANEL = "Observation that is a panel: its members are read by themselves"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"


def coded(code: str, system: str = "http://snomed.info/sct") -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}


def resource(kind: str, **fields: Any) -> dict[str, Any]:
    return {"resourceType": kind, "id": f"{kind}1", "subject": ABOUT, **fields}


def times(ward: Any) -> dict[str, str]:
    """code -> hour of its time on the first (or a later) of March."""
    return {row["code"]: f"{row['time']:%d %H}" for row in ward.rows if row["time"] and row["code"] != "MEDS_BIRTH"}


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (
            resource("Encounter", **{"class": [coded("IMP", "v3")]}, actualPeriod=PERIOD),
            {"ENCOUNTER//IMP//START": "01 08", "ENCOUNTER//IMP//END": "02 08"},
        ),
        (
            resource("EpisodeOfCare", type=[coded("1")], period=PERIOD, patient=ABOUT),
            {"EPISODE//SNOMED//1//START": "01 08", "EPISODE//SNOMED//1//END": "02 08"},
        ),
        (
            resource("Condition", code=coded("1"), onsetPeriod=PERIOD, abatementDateTime=END),
            {"SNOMED//1": "01 08", "SNOMED//1//ABATED": "02 08"},
        ),
        (
            resource("MedicationRequest", medication={"concept": coded("9", RXNORM)}, authoredOn=WHEN),
            {"RXNORM//9": "01 08"},
        ),
        (
            resource(
                "MedicationAdministration", contained=[{"resourceType": "Medication", "id": "m", "code": coded("7")}],
                medicationReference={"reference": "#m"}, effectivePeriod=PERIOD,
            ),
            {"SNOMED//7": "01 08"},
        ),
        (
            resource("MedicationAdministration", medication={"concept": coded("8")}, occurenceDateTime=WHEN),
            {"SNOMED//8": "01 08"},
        ),
        (
            resource("MedicationStatement", medicationCodeableConcept=coded("5"), effectiveDateTime=WHEN),
            {"SNOMED//5": "01 08"},
        ),
        (
            resource("MedicationDispense", medicationCodeableConcept=coded("6"), whenHandedOver=WHEN, whenPrepared=END),
            {"SNOMED//6": "01 08"},
        ),
        (
            resource(
                "ImagingStudy", started=WHEN,
                series=[{"modality": {"code": "CT"}}, {"modality": coded("MR", "dcm"), "started": END}],
            ),
            {"IMAGING//CT": "01 08", "IMAGING//MR": "02 08"},
        ),
        (resource("ServiceRequest", code=coded("3"), authoredOn=WHEN), {"SNOMED//3": "01 08"}),
        (resource("ServiceRequest", code={"concept": coded("3")}, authoredOn=WHEN), {"SNOMED//3": "01 08"}),
        (resource("CarePlan", category=[coded("4")], period=PERIOD), {"SNOMED//4": "01 08"}),
        (
            resource(
                "FamilyMemberHistory", patient=ABOUT, date=WHEN, relationship=coded("FTH", "v3"),
                condition=[{"code": coded("44054006")}],
            ),
            {"FAMILY//SNOMED//44054006": "01 08"},
        ),
        (
            resource("Specimen", type=coded("119297000"), collection={"collectedDateTime": WHEN}, receivedTime=END),
            {"SPECIMEN//SNOMED//119297000": "01 08"},
        ),
        (resource("Flag", code=coded("2"), period=PERIOD), {"SNOMED//2": "01 08"}),
        (resource("Goal", description=coded("2"), startDate=WHEN), {"SNOMED//2": "01 08"}),
        (resource("Procedure", code=coded("2"), occurrencePeriod=PERIOD), {"SNOMED//2": "01 08"}),
        (
            resource(
                "QuestionnaireResponse", questionnaire="http://x.example/Questionnaire/PHQ-9|1.0", authored=WHEN,
                item=[{"linkId": "g", "item": [{"linkId": "q1", "answer": [{"valueInteger": 2}]}]}],
            ),
            {"QUESTIONNAIRE//PHQ-9//q1": "01 08"},
        ),
    ],
    ids=lambda value: value.get("resourceType", ""),
)  # fmt: skip
def test_types_that_are_read(ward: Any, patient: Make, made: dict[str, Any], expected: dict[str, str]) -> None:
    account = ward.take(patient(), made)
    assert (account.total.used, account.total.refused) == (2, 0), account.refusals
    assert times(ward) == expected


def test_a_referenced_medication_is_looked_up_here_and_in_earlier_deliveries(ward: Any, patient: Make) -> None:
    medicine = {"resourceType": "Medication", "id": "m1", "code": coded("314076", RXNORM)}
    asked = resource("MedicationRequest", medicationReference={"reference": "Medication/m1"}, authoredOn=WHEN)
    account = ward.take(asked, medicine, patient())
    assert account.total.used == 3
    assert ward.row("RXNORM//314076")["source_record"] == "line 1"
    (ward.delivery / "all.ndjson").unlink()
    ward.take(
        {**asked, "id": "second", "medicationReference": {"reference": "http://s/Medication/m1"}}, name="b.ndjson"
    )
    assert [row["code"] for row in ward.rows].count("RXNORM//314076") == 2


def test_an_unknown_medication_is_refused_and_taken_once_it_is_there(ward: Any, patient: Make) -> None:
    asked = resource("MedicationRequest", medicationReference={"reference": "Medication/m1"}, authoredOn=WHEN)
    account = ward.take(patient(), asked)
    assert (account.refusals[0].field, account.refusals[0].hint) == ("medicationReference", "deliver Medication too")
    medicine = {"resourceType": "Medication", "id": "m1", "code": coded("314076", RXNORM)}
    ward.take(medicine, name="medicine.ndjson")
    assert ward.row("RXNORM//314076")["source_record"] == "line 2"


@pytest.mark.parametrize(
    ("value", "number", "text", "unit"),
    [
        ({"valuePeriod": PERIOD}, None, f"{WHEN}/{END}", None),
        ({"valueRange": {"low": {"value": 2, "unit": "mg"}, "high": {"value": 4.5}}}, None, "2 to 4.5", "mg"),
        ({"valueRatio": {"numerator": {"value": 1}, "denominator": {"value": 128}}}, None, "1:128", None),
        (
            {"valueRatio": {"numerator": {"value": 5, "unit": "mg"}, "denominator": {"value": 2, "unit": "mL"}}},
            2.5, None, "mg/mL",
        ),
        ({"valueDateTime": WHEN}, None, WHEN, None),
        ({"valueTime": "08:00:00"}, None, "08:00:00", None),
    ],
)  # fmt: skip
def test_kinds_of_values(
    ward: Any, patient: Make, observation: Make, value: Any, number: float | None, text: str | None, unit: str | None
) -> None:
    made = observation(**value)
    del made["valueQuantity"]
    ward.take(patient(), made)
    row = ward.row("LOINC//8867-4")
    assert (row["numeric_value"], row["text_value"], row["unit"]) == (number, text, unit)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"valueSampledData": {"data": "1 2"}}, "a value of a kind that is not read: valueSampledData"),
        ({"dataAbsentReason": coded("not-performed", "d")}, "Observation without a value: not-performed"),
        ({"dataAbsentReason": coded("Ann Archer", "d")}, "Observation without a value"),
        ({"hasMember": [{"reference": "Observation/2"}]}, PANEL),
        ({"subject": {"reference": "Group/g"}}, "Observation about a Group"),
        ({"subject": {"reference": "http://s.example/fhir/Device/d"}}, "Observation about a Device"),
    ],
)  # fmt: skip
def test_observations_that_say_nothing_of_a_patient_are_skipped_by_their_reason(
    ward: Any, patient: Make, observation: Make, fields: Any, reason: str
) -> None:
    made = observation(**fields)
    del made["valueQuantity"]
    assert ward.take(patient(), made).skip_reasons == {reason: 1}


def test_a_component_of_a_kind_that_is_not_read_leaves_the_others(ward: Any, patient: Make, observation: Make) -> None:
    made = observation(
        component=[{"code": coded("1"), "valueSampledData": {}}, {"code": coded("2"), "valueInteger": 3}]
    )
    account = ward.take(patient(), made)
    assert account.notes["a value of a kind that is not read: valueSampledData"] == 1
    assert ward.row("SNOMED//2")["numeric_value"] == 3


def test_a_contained_patient_is_known_by_the_identifier(ward: Any, patient: Make, observation: Make) -> None:
    inside = patient()
    made = observation(contained=[{**inside, "id": "x"}], subject={"reference": "#x"})
    assert ward.take(patient(), made).total.used == 2


def test_consent_and_other_types_are_skipped_by_name(ward: Any) -> None:
    account = ward.take(resource("Consent"), resource("CareTeam"), {"resourceType": "Ann Archer, 1960"})
    assert account.skip_reasons == {
        "FHIR type that is not read: Consent": 1,
        "FHIR type that is not read: CareTeam": 1,
        "FHIR type that is not read: unknown": 1,
    }


def test_values_are_judged_and_a_problem_refuses_the_whole_resource(  # FAULTS 15
    ward: Any, patient: Make, observation: Make
) -> None:
    glucose = Quantity("LOINC//2345-7", "glucose", "mg/dL", "MCnc", (10.0, 2000.0), {"mmol/L": (18.016, 0.0)})
    vocabulary = Vocabulary({glucose.code: glucose})

    def sugar(identifier: str, value: float, unit: str, **more: Any) -> dict[str, Any]:
        quantity = {"value": value, "system": "http://unitsofmeasure.org", "code": unit}
        return observation(identifier, code=coded("2345-7", "http://loinc.org"), valueQuantity=quantity, **more)

    whole = {"component": [{"code": coded("1"), "valueInteger": 3}]}
    account = ward.take(
        patient(), sugar("a", 5.0, "mmol/L"), sugar("b", 5.0, "mg/dL"), sugar("c", 5.0, "mg/dL", **whole),
        vocabulary=vocabulary,
    )  # fmt: skip
    assert [complaint.record for complaint in account.refusals] == ["line 3", "line 4"]
    row = ward.row("LOINC//2345-7")
    assert (row["numeric_value"], row["unit"]) == (pytest.approx(90.08, abs=1e-4), "mg/dL")
    assert all(row["code"] != "SNOMED//1" for row in ward.rows)
