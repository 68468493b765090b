"""The ward's administrative and problem-list resources: Location, Patient, Encounter, Condition.

The record's reading is shown by age, exactly (`stays.age_of_reading`). Chronic conditions become likelier with the
same reading, so they say nothing that age doesn't; sex, the reason for admission and past visits mean nothing.
"""

from datetime import timedelta

from scipy.special import expit

from clinical.ward.fhir import Resource, coding, concept, reference
from clinical.ward.stays import ISSUER_OID, Stay, stamp

# SNOMED code, display, log-odds at reading 0, slope of the log-odds
CHRONIC = (
    ("13645005", "Chronic obstructive pulmonary disease", -1.4, 1.2),
    ("84114007", "Heart failure", -1.6, 1.2),
    ("73211009", "Diabetes mellitus", -1.1, 1.0),
    ("709044004", "Chronic kidney disease", -1.9, 1.2),
    ("38341003", "Hypertension", 0.1, 1.2),
)
# SNOMED code, display, share of the patients; independent of everything
INCIDENTAL = (
    ("396275006", "Osteoarthritis", 0.20),
    ("367498001", "Seasonal allergic rhinitis", 0.12),
    ("37796009", "Migraine", 0.10),
    ("40930008", "Hypothyroidism", 0.10),
)
ADMISSION = (
    ("233604007", "Pneumonia"),
    ("195951007", "Acute exacerbation of chronic obstructive airways disease"),
    ("50417007", "Lower respiratory tract infection"),
    ("267036007", "Dyspnea"),
    ("386661006", "Fever"),
)
LOCATIONS = (  # id, v3-RoleCode code, its display, name
    ("ward-3", "HU", "Hospital unit", "Ward 3"),
    ("ward-5", "HU", "Hospital unit", "Ward 5"),
    ("icu", "ICU", "Intensive care unit", "Intensive care"),
    ("clinic", "OF", "Outpatient facility", "Outpatients"),
)


def locations() -> list[Resource]:
    """The places of the hospital."""
    return [
        {
            "resourceType": "Location",
            "id": identity,
            "status": "active",
            "name": name,
            "mode": "instance",
            "type": [concept("RoleCode", code, display)],
        }
        for identity, code, display, name in LOCATIONS
    ]


def patient(stay: Stay) -> Resource:
    """The Patient resource."""
    resource: Resource = {
        "resourceType": "Patient",
        "id": stay.fhir_id,
        "identifier": [
            {
                "use": "usual",
                "type": concept("identifier", "MR", "Medical record number"),
                "system": f"urn:oid:{ISSUER_OID}",
                "value": stay.identifier,
            }
        ],
        "active": True,
        "name": [{"use": "official", "family": stay.family, "given": [stay.given]}],
        "gender": stay.sex,
        "birthDate": stay.birth.isoformat(),
    }
    if stay.died is not None:
        resource["deceasedDateTime"] = stamp(stay.died)
    return resource


def encounters(stay: Stay) -> list[Resource]:
    """The admission, and for some patients an earlier visit as an outpatient."""
    rng = stay.generator(1)
    found = [_admission(stay, ward=str(rng.choice(["ward-3", "ward-5"])))]
    if rng.random() < 0.15:
        found.append(_visit(stay, days_before=float(rng.uniform(20, 300))))
    return found


def conditions(stay: Stay) -> list[Resource]:
    """Chronic conditions from before the stay, and the diagnosis on admission."""
    rng = stay.generator(2)
    reading = stay.readings["record"]
    held = [(code, name) for code, name, base, slope in CHRONIC if rng.random() < expit(base + slope * reading)]
    held += [(code, name) for code, name, share in INCIDENTAL if rng.random() < share]
    found = []
    for code, name in held:
        onset = stay.admitted - timedelta(days=float(rng.uniform(60, 365.25 * 0.4 * (stay.age_years - 15))))
        recorded = onset + timedelta(days=float(rng.uniform(0, 20)))
        found.append(_condition(stay, code, name, onset.date().isoformat(), stamp(recorded), "problem-list-item"))
    code, name = ADMISSION[int(rng.integers(len(ADMISSION)))]
    onset = stay.admitted - timedelta(hours=float(rng.uniform(6, 96)))
    recorded = stay.after_admission(float(rng.uniform(0.2, 2.0)))
    found.append(_condition(stay, code, name, stamp(onset), stamp(recorded), "encounter-diagnosis"))
    return found


def admission_id(stay: Stay) -> str:
    """The id of the Encounter resource of the admission."""
    return f"e{stay.identifier}"


def _admission(stay: Stay, ward: str) -> Resource:
    moves = [(ward, stay.admitted, stay.icu_from or stay.ended)]
    if stay.icu_from is not None:
        moves.append(("icu", stay.icu_from, stay.ended))
    gone = ("exp", "Expired") if stay.died is not None else ("home", "Home")
    return {
        "resourceType": "Encounter",
        "id": admission_id(stay),
        "status": "finished",
        "class": coding("ActCode", "IMP", "inpatient encounter"),
        "subject": reference("Patient", stay.fhir_id),
        "period": {"start": stamp(stay.admitted), "end": stamp(stay.ended)},
        "hospitalization": {"dischargeDisposition": concept("discharge", *gone)},
        "location": [
            {
                "location": reference("Location", place),
                "status": "completed",
                "period": {"start": stamp(start), "end": stamp(end)},
            }
            for place, start, end in moves
        ],
    }


def _visit(stay: Stay, days_before: float) -> Resource:
    start = stay.admitted - timedelta(seconds=round(days_before * 86_400))
    end = start + timedelta(minutes=30)
    return {
        "resourceType": "Encounter",
        "id": f"v{stay.identifier}",
        "status": "finished",
        "class": coding("ActCode", "AMB", "ambulatory"),
        "subject": reference("Patient", stay.fhir_id),
        "period": {"start": stamp(start), "end": stamp(end)},
        "location": [{"location": reference("Location", "clinic"), "status": "completed"}],
    }


def _condition(stay: Stay, code: str, name: str, onset: str, recorded: str, category: str) -> Resource:
    resource = {
        "resourceType": "Condition",
        "id": f"c{stay.identifier}-{code}",
        "clinicalStatus": {"coding": [coding("condition-clinical", "active", "Active")]},
        "verificationStatus": {"coding": [coding("condition-ver-status", "confirmed", "Confirmed")]},
        "category": [{"coding": [coding("condition-category", category, category.replace("-", " ").title())]}],
        "code": concept("SNOMED", code, name),
        "subject": reference("Patient", stay.fhir_id),
        "onsetDateTime": onset,
        "recordedDate": recorded,
    }
    if category == "encounter-diagnosis":
        resource["encounter"] = reference("Encounter", admission_id(stay))
    return resource
