"""What the ingest costs, each figure beside its yardstick in the same run. Prints JSON.

    python benchmarks/ingest.py [--data ../shared/data] [--only dicom fhir csv eicu memory] [--memory-unit 500]

dicom    from DICOM files to aligned tensors, against decoding the same pixels alone, per core
fhir     ndjson to observations, against parsing alone (orjson)
csv      tables to observations, against Arrow's own reader
eicu     the raw tables of the eICU demo by the ordinary commands: to observations, and to an aligned cohort
memory   the most memory that `telltale ingest` and `align` hold for 10 and for 100 times a generated delivery

Every part runs in a process of its own. One whose data are absent says so.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

ROOT = Path(__file__).resolve().parents[1]  # the processes start here: beside this file, `ingest` would be this file
TELLTALE = [sys.executable, "-m", "serve.cli"]
TASK = """
name: load
title: Generated load
index: {event: ENCOUNTER//IMP//START, offset_hours: 24}
target: {events: [MEDS_DEATH], horizon_hours: 240}
streams:
  vitals:
    kind: series
    channels:
      - {name: heart rate, codes: [LOINC//8867-4], unit: /min}
      - {name: temperature, codes: [LOINC//8310-5], unit: Cel}
"""


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--memory-unit", type=int, default=500, help="patients of the delivery that is multiplied")
    asked = parser.parse_args()
    figures: dict[str, Any] = {"cores": os.cpu_count()}
    for name in asked.only:
        print(f"{name} ...", file=sys.stderr, flush=True)
        figures[name] = PARTS[name](asked)
    print(json.dumps(figures, indent=2))


def _dicom(asked: argparse.Namespace) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        return _measured("dicom_to_tensor", folder)


def _fhir(asked: argparse.Namespace) -> dict[str, Any]:
    return _measured("fhir_speed")


def _csv(asked: argparse.Namespace) -> dict[str, Any]:
    return _measured("table_speed")


def _measured(module: str, *arguments: str) -> dict[str, Any]:
    """What `measure` of a sibling returns, from a process of its own."""
    code = (
        f"import json, sys; from pathlib import Path; from benchmarks.{module} import measure; "
        "print(json.dumps(measure(*map(Path, sys.argv[1:]))))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def _eicu(asked: argparse.Namespace) -> dict[str, Any]:
    source = asked.data / "icu-eicu-demo"
    if not source.is_dir():
        return {"skipped": f"{source}: not here"}
    with TemporaryDirectory() as scratch:
        place = ["--workspace", str(Path(scratch) / "workspace")]
        tables = sorted(str(path) for path in source.glob("*.csv.gz"))
        read = _run([*TELLTALE, "ingest", *tables, "--mapping", "eicu-demo", *place])
        aligned = _run([*TELLTALE, "align", "--task", "eicu-mortality", *place])
        parts = list((Path(scratch) / "workspace" / "observations").glob("*.parquet"))
        observations = _rows(parts)
    return {
        "ingest": read,
        "align": aligned,
        "seconds": read["seconds"] + aligned["seconds"],
        "peak_gb": max(read["peak_gb"], aligned["peak_gb"]),
        "tables": len(tables),
        "observations": observations,
    }


def _memory(asked: argparse.Namespace) -> dict[str, Any]:
    """FHIR and CSV deliveries of 10 and 100 units; the ratio of their peaks is what is asked about."""
    peaks: dict[str, Any] = {}
    for times in (10, 100):
        with TemporaryDirectory() as scratch:
            folder = Path(scratch)
            patients = asked.memory_unit * times
            size = _write_delivery(folder / "delivery", patients)
            (folder / "mapping.yaml").write_text(_MAPPING, encoding="utf-8")
            (folder / "task.yaml").write_text(TASK, encoding="utf-8")
            place = ["--workspace", str(folder / "workspace")]
            delivery, mapping = str(folder / "delivery"), str(folder / "mapping.yaml")
            peaks[f"{times} times"] = {
                "patients": patients,
                "delivery_mb": size / 1e6,
                "ingest": _run([*TELLTALE, "ingest", delivery, "--mapping", mapping, *place]),
                "align": _run([*TELLTALE, "align", "--task", str(folder / "task.yaml"), *place]),
            }
    small, large = peaks["10 times"], peaks["100 times"]
    ratios = {
        stage: {what: large[stage][what] / small[stage][what] for what in ("peak_gb", "largest_process_gb")}
        for stage in ("ingest", "align")
    }
    return {**peaks, "ratio": ratios}


def _run(command: list[str]) -> dict[str, float]:
    """Seconds and peak memory (gigabytes) of a command with all its processes. Exit code 2: some records were refused.

    Memory is the sum of their proportional set sizes, sampled 20 times a second.
    """
    start, peak, largest = time.perf_counter(), 0, 0
    with TemporaryFile() as said:
        ran = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT)
        while ran.poll() is None:
            held = _tree_kb(ran.pid)
            peak, largest = max(peak, sum(held)), max(largest, *held, 0)
            time.sleep(0.05)
        seconds = time.perf_counter() - start
        if ran.returncode not in (0, 2):
            said.seek(0)
            sys.exit(said.read()[-3000:].decode())
    return {"seconds": seconds, "peak_gb": peak / 2**20, "largest_process_gb": largest / 2**20}


def _tree_kb(root: int) -> list[int]:
    """The memory of a process and of each of its descendants, in kilobytes."""
    parents: dict[int, int] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):  # it has ended meanwhile
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    family, size = {root}, 0
    while len(family) > size:
        size = len(family)
        family |= {child for child, parent in parents.items() if parent in family}
    held = [0]
    for process in family:
        with suppress(OSError, IndexError):
            held.append(int(Path(f"/proc/{process}/smaps_rollup").read_text().split("Pss:")[1].split()[0]))
    return held


def _write_delivery(folder: Path, patients: int) -> int:
    """Patients with an encounter and 40 measurements each, a third of them as FHIR, the others in a table."""
    folder.mkdir()
    chance = random.Random(0)  # noqa: S311 - a benchmark's data
    with (folder / "all.ndjson").open("w") as fhir, (folder / "vitals.csv").open("w") as table:
        table.write("who,taken,heart_rate,temperature\n")
        for number in range(patients):
            fhir.writelines(json.dumps(resource) + "\n" for resource in _resources(number, chance))
            for hour in range(13):
                rate, degrees = chance.gauss(85, 15), chance.gauss(37, 0.7)
                table.write(f"p{number},2026-01-01T{hour:02d}:30:00Z,{rate:.0f},{degrees:.1f}\n")
    return sum(path.stat().st_size for path in folder.iterdir())


def _resources(number: int, chance: random.Random) -> Iterator[dict[str, Any]]:
    who = {"reference": f"Patient/{number}"}
    yield {
        "resourceType": "Patient", "id": f"{number}", "birthDate": f"19{number % 60 + 20}-05-05",
        "identifier": [{"system": "urn:bench", "value": f"p{number}"}],
    }  # fmt: skip
    if number % 7 == 0:
        yield {"resourceType": "Patient", "id": f"x{number}", "deceasedDateTime": "2026-01-05T00:00:00Z",
               "identifier": [{"system": "urn:bench", "value": f"p{number}"}]}  # fmt: skip
    yield {
        "resourceType": "Encounter", "id": f"e{number}", "status": "finished", "class": {"code": "IMP"},
        "subject": who, "period": {"start": "2026-01-01T00:00:00Z"},
    }  # fmt: skip
    for hour in range(14):
        yield {
            "resourceType": "Observation", "id": f"o{number}-{hour}", "status": "final", "subject": who,
            "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4", "display": "Heart rate"}]},
            "effectiveDateTime": f"2026-01-01T{hour:02d}:00:00Z", "issued": f"2026-01-01T{hour:02d}:02:00Z",
            "valueQuantity": {"value": round(chance.gauss(85, 15)), "code": "/min",
                              "system": "http://unitsofmeasure.org", "unit": "/min"},
        }  # fmt: skip


_MAPPING = """
files:
  - path: vitals.csv
    subject: {column: who, issuer: "urn:bench"}
    time: {column: taken}
    columns:
      - {code: LOINC//8867-4, column: heart_rate, kind: numeric, unit: /min}
      - {code: LOINC//8310-5, column: temperature, kind: numeric, unit: Cel}
"""


def _rows(parts: list[Path]) -> int:
    import pyarrow.parquet as pq

    return sum(pq.ParquetFile(path).metadata.num_rows for path in parts)


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "dicom": _dicom,
    "fhir": _fhir,
    "csv": _csv,
    "eicu": _eicu,
    "memory": _memory,
}

if __name__ == "__main__":
    main()
