"""How fast FHIR is read, beside parsing its JSON alone: `python benchmarks/fhir_speed.py [folder]` prints JSON.

Without a folder it makes two bulk exports, a line each as servers write them: vital signs and laboratory results; and
what else a record holds (encounters, problems, procedures, prescriptions, blood pressures, coded findings).
"""

import json
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import orjson

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # beside this file, `ingest` would be ingest.py

from ingest.account.ledger import Ledger
from ingest.account.quarantine import Quarantine
from ingest.account.reconciliation import Report
from ingest.catalogue import Catalogue
from ingest.delivery.sources import SourceFile
from ingest.identity.register import IdentityRegister
from ingest.intake import Intake
from ingest.meaning.vocabulary import EMPTY, Vocabulary
from ingest.readers.fhir import pool as fhir_pool
from ingest.readers.fhir import reader as fhir
from ingest.workspace import create_workspace

LINES = {"measurements": 600_000, "events": 300_000}
PATIENTS = 500
# LOINC code, display, UCUM unit, lowest, highest value made
MEASURED = (
    ("8867-4", "Heart rate", "/min", 50, 130),
    ("8480-6", "Systolic blood pressure", "mm[Hg]", 85, 180),
    ("9279-1", "Respiratory rate", "/min", 10, 30),
    ("59408-5", "Oxygen saturation in Arterial blood by Pulse oximetry", "%", 88, 100),
    ("8310-5", "Body temperature", "Cel", 36, 40),
    ("2345-7", "Glucose [Mass/volume] in Serum or Plasma", "mg/dL", 60, 250),
    ("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "mg/dL", 0.4, 3),
    ("6690-2", "Leukocytes [#/volume] in Blood by Automated count", "10*3/uL", 3, 20),
    ("718-7", "Hemoglobin [Mass/volume] in Blood", "g/dL", 8, 17),
    ("1988-5", "C reactive protein [Mass/volume] in Serum or Plasma", "mg/L", 1, 200),
)


def measure(folder: Path | None = None) -> dict[str, object]:
    """The figures of `compare`, of a folder or of each export that is made."""
    if folder is not None:
        return compare(folder)
    found: dict[str, object] = {}
    for name, lines in LINES.items():
        with tempfile.TemporaryDirectory() as scratch:
            found[name] = compare(write_export(Path(scratch) / "export", name, lines))
    return found


def compare(source: Path, *, repeats: int = 5, vocabulary: Vocabulary = EMPTY) -> dict[str, object]:
    """Seconds of parsing alone (orjson, one core) and of reading to observation batches, by one process and by as many
    as reading takes. ratio: reading's speed as a share of parsing's, parsed just before and just after: the machine's
    own speed changes from minute to minute. Each the median of `repeats`."""
    files = [path for path in sorted(source.rglob("*.ndjson")) if fhir.accepts(SourceFile(path, source))]
    turns: list[dict[str, float]] = []
    rows = 0
    with tempfile.TemporaryDirectory() as scratch:
        before = _seconds_of_parsing(files)
        for turn in range(repeats):
            alone, rows = _seconds_of_reading(files, source, Path(scratch) / f"a{turn}", vocabulary, processes=1)
            between = _seconds_of_parsing(files)
            reading, _ = _seconds_of_reading(files, source, Path(scratch) / f"b{turn}", vocabulary, processes=None)
            after = _seconds_of_parsing(files)
            turns.append(
                {
                    "parse_seconds": (before + between + after) / 3,
                    "read_one_process_seconds": alone,
                    "read_seconds": reading,
                    "ratio_one_process": (before + between) / 2 / alone,
                    "ratio": (between + after) / 2 / reading,
                }
            )
            before = after
    middle = {name: round(statistics.median(turn[name] for turn in turns), 3) for name in turns[0]}
    return {"megabytes": round(sum(path.stat().st_size for path in files) / 1e6, 1), "observations": rows, **middle}


def write_export(folder: Path, name: str, lines: int) -> Path:
    """A bulk export of Patients and of what `LINES` names."""
    generator = random.Random(0)  # noqa: S311 - made data, the same every time
    folder.mkdir(parents=True)
    people = [str(uuid.UUID(int=generator.getrandbits(128))) for _ in range(PATIENTS)]
    with (folder / "Patient.000.ndjson").open("wb") as file:
        file.writelines(orjson.dumps(_patient(person)) + b"\n" for person in people)
    made = _observations if name == "measurements" else _events
    with (folder / f"{name}.000.ndjson").open("wb") as file:
        file.writelines(orjson.dumps(each) + b"\n" for each in made(people, lines, generator))
    return folder


def _seconds_of_parsing(files: list[Path]) -> float:
    contents = [path.read_bytes().split(b"\n") for path in files]
    started = time.perf_counter()
    for content in contents:
        for line in content:
            if line:
                orjson.loads(line)
    return time.perf_counter() - started


def _seconds_of_reading(
    files: list[Path], root: Path, place: Path, vocabulary: Vocabulary, *, processes: int | None
) -> tuple[float, int]:
    workspace = create_workspace(place)
    report = Report(Quarantine(workspace.quarantine, "benchmark"))
    ledger = Ledger(workspace.ingests, workspace.observations)
    intake = Intake(
        IdentityRegister(workspace.identities),
        ledger,
        report,
        "local",
        None,
        None,
        Catalogue(workspace.images, "benchmark"),
        vocabulary,
    )
    chosen, fhir_pool.PROCESSES = fhir_pool.PROCESSES, processes
    started = time.perf_counter()
    rows = sum(len(batch) for batch in fhir.read([SourceFile(path, root) for path in files], intake))
    seconds = time.perf_counter() - started
    fhir_pool.PROCESSES = chosen
    ledger.close()
    return seconds, rows


def _patient(person: str) -> dict[str, object]:
    return {
        "resourceType": "Patient",
        "id": person,
        "identifier": [{"system": "urn:oid:1.2.3", "value": person}],
        "gender": "female",
        "birthDate": "1960-05-17",
    }


def _observations(people: list[str], lines: int, generator: random.Random) -> Iterator[dict[str, object]]:
    for number in range(lines):
        code, display, unit, low, high = MEASURED[number % len(MEASURED)]
        if number % len(MEASURED) == 0:  # a round: all is measured at one time
            person, day = generator.choice(people), generator.randrange(1, 28)
            minute = f"{generator.randrange(24):02d}:{generator.randrange(60):02d}"
            moment = f"2025-{generator.randrange(1, 13):02d}-{day:02d}T{minute}"
        yield {
            "resourceType": "Observation",
            "id": str(uuid.UUID(int=generator.getrandbits(128))),
            "meta": {"profile": ["http://hl7.org/fhir/us/core/StructureDefinition/us-core-observation-lab"]},
            "status": "final",
            "category": [
                {
                    "coding": [
                        {
                            "system": "http://terminology.hl7.org/CodeSystem/observation-category",
                            "code": "laboratory",
                            "display": "Laboratory",
                        }
                    ]
                }
            ],
            "code": {"coding": [{"system": "http://loinc.org", "code": code, "display": display}], "text": display},
            "subject": {"reference": f"Patient/{person}"},
            "encounter": {"reference": f"Encounter/{person}"},
            "effectiveDateTime": f"{moment}:{generator.randrange(60):02d}+01:00",
            "issued": f"{moment}:59.{generator.randrange(1000):03d}+01:00",
            "valueQuantity": {
                "value": round(generator.uniform(low, high), 4),
                "unit": unit,
                "system": "http://unitsofmeasure.org",
                "code": unit,
            },
        }


def _events(people: list[str], lines: int, generator: random.Random) -> Iterator[dict[str, object]]:
    """Of each kind the same number, in turns."""
    snomed, clinic = "http://snomed.info/sct", "http://terminology.hl7.org/CodeSystem/v3-ActCode"

    def concept(code: str, display: str, system: str = snomed) -> dict[str, object]:
        return {"coding": [{"system": system, "code": code, "display": display}], "text": display}

    def pressure(code: str, display: str, value: int) -> dict[str, object]:
        quantity = {"value": value, "unit": "mm[Hg]", "system": "http://unitsofmeasure.org", "code": "mm[Hg]"}
        return {"code": concept(code, display, "http://loinc.org"), "valueQuantity": quantity}

    for number in range(lines):
        start = f"2025-{generator.randrange(1, 13):02d}-{generator.randrange(1, 28):02d}T"
        start += f"{generator.randrange(22):02d}:{generator.randrange(60):02d}:16"
        end, start = f"{start[:11]}23:40:16+01:00", f"{start}+01:00"
        kinds: list[dict[str, object]] = [
            {"resourceType": "Encounter", "status": "finished", "class": {"system": clinic, "code": "AMB"},
             "type": [concept("185347001", "Encounter for problem (procedure)")],
             "period": {"start": start, "end": end},
             "location": [{"location": {"reference": "Location/17", "display": "Ward"}}]},
            {"resourceType": "Condition", "code": concept("44054006", "Diabetes mellitus type 2 (disorder)"),
             "clinicalStatus": concept("active", "Active"), "onsetDateTime": start, "recordedDate": end,
             "verificationStatus": concept("confirmed", "Confirmed")},
            {"resourceType": "Procedure", "status": "completed", "code": concept("171207006", "Screening (procedure)"),
             "performedPeriod": {"start": start, "end": end}},
            {"resourceType": "MedicationRequest", "status": "active", "intent": "order", "authoredOn": start,
             "medicationCodeableConcept": concept("314076", "lisinopril 10 MG Oral Tablet")},
            {"resourceType": "Observation", "status": "final", "effectiveDateTime": start, "issued": end,
             "code": concept("85354-9", "Blood pressure panel", "http://loinc.org"),
             "component": [pressure("8480-6", "Systolic", 120), pressure("8462-4", "Diastolic", 80)]},
            {"resourceType": "Observation", "status": "final", "effectiveDateTime": start, "issued": end,
             "code": concept("72166-2", "Tobacco smoking status", "http://loinc.org"),
             "valueCodeableConcept": concept("266919005", "Never smoked tobacco (finding)")},
        ]  # fmt: skip
        yield {
            **kinds[number % len(kinds)], "id": str(uuid.UUID(int=generator.getrandbits(128))),
            "subject": {"reference": f"Patient/{generator.choice(people)}"},
        }  # fmt: skip


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]) if sys.argv[1:] else None), indent=2))
