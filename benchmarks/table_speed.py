"""How long a table takes to become observations, against the time that pyarrow's CSV reader takes for the same file.

    python benchmarks/table_speed.py

prints JSON: for a wide table (20 numeric columns, complete or a third empty) and a long one (code, value and unit
in columns), the seconds of both and their ratio (pyarrow / ours: 0.5 is half the speed). Both read the same columns
with as many threads, in turns, and the best of three counts. pyarrow infers the types, as it does by default.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

sys.path[0] = str(Path(__file__).resolve().parents[1])  # beside this file, `ingest` would be ingest.py

from ingest.account.ledger import Ledger
from ingest.account.quarantine import Quarantine
from ingest.account.reconciliation import Report
from ingest.catalogue import Catalogue
from ingest.delivery.sources import SourceFile
from ingest.identity.register import IdentityRegister
from ingest.intake import Intake
from ingest.mapping.mapping import TableMapping, parse_mapping
from ingest.meaning.times import parse_zone
from ingest.meaning.vocabulary import EMPTY, Vocabulary
from ingest.readers.table import reader as table
from ingest.workspace import create_workspace

ROWS = 1_200_000  # of the long table; the wide one has a quarter
ROUNDS = 3
SUBJECT, TIME = {"column": "patient", "issuer": "made"}, {"column": "taken"}
WIDE = {
    "path": "*.csv",
    "subject": SUBJECT,
    "time": TIME,
    "columns": [{"code": f"LAB//{n}", "column": f"lab{n}", "kind": "numeric", "unit": "mg/dL"} for n in range(20)],
}
LONG = {
    "path": "*.csv",
    "subject": SUBJECT,
    "time": TIME,
    "columns": [
        {
            "code": {"column": "test", "prefix": "LAB//"},
            "column": "value",
            "kind": "numeric",
            "unit": {"column": "unit"},
        }
    ],
}


def measure(rows: int = ROWS, vocabulary: Vocabulary = EMPTY) -> dict[str, dict[str, float]]:
    """Seconds and ratios, by the form of the table."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, write, part in (
            ("wide", lambda path: _wide(path, rows // 4, 0.0), WIDE),
            ("wide, a third empty", lambda path: _wide(path, rows // 4, 1 / 3), WIDE),
            ("long", lambda path: _long(path, rows), LONG),
        ):
            path = Path(folder) / name.replace(" ", "-").replace(",", "") / "table.csv"
            path.parent.mkdir()
            write(path)
            found[name] = _compared(path, parse_mapping({"files": [part]}, name), Path(folder), vocabulary)
    return found


def _compared(path: Path, mapping: TableMapping, folder: Path, vocabulary: Vocabulary) -> dict[str, float]:
    alone: list[float] = []
    ours: list[float] = []
    observations = 0
    for turn in range(ROUNDS):
        alone.append(_seconds(lambda: _pyarrow(path, mapping.files[0].needed)))
        workspace = folder / f"{path.parent.name}-{turn}"
        took = time.perf_counter()
        observations = _ours(path, mapping, workspace, vocabulary)
        ours.append(time.perf_counter() - took)
    best, mine = min(alone), min(ours)
    return {
        "megabytes": round(path.stat().st_size / 1e6, 1),
        "observations": observations,
        "pyarrow_seconds": round(best, 3),
        "telltale_seconds": round(mine, 3),
        "speed_ratio": round(best / mine, 3),
    }


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _pyarrow(path: Path, columns: tuple[str, ...]) -> int:
    options = pyarrow.csv.ConvertOptions(include_columns=list(columns))
    return sum(len(batch) for batch in pyarrow.csv.open_csv(path, convert_options=options))


def _ours(path: Path, mapping: TableMapping, root: Path, vocabulary: Vocabulary) -> int:
    workspace = create_workspace(root)
    report = Report(Quarantine(workspace.quarantine, "run"))
    intake = Intake(
        IdentityRegister(workspace.identities), Ledger(workspace.ingests, workspace.observations), report, "made",
        parse_zone("UTC"), mapping, Catalogue(workspace.images, "run"), vocabulary,
    )  # fmt: skip
    return sum(len(batch) for batch in table.read([SourceFile(path, path.parent)], intake))


def _wide(path: Path, rows: int, empty: float) -> None:
    draw = np.random.default_rng(0)
    columns: dict[str, pa.Array] = _who_and_when(draw, rows)
    for n in range(20):
        values = np.round(draw.normal(100, 20, rows), 2)
        columns[f"lab{n}"] = pa.array(values, mask=draw.random(rows) < empty)
    pyarrow.csv.write_csv(pa.table(columns), path)


def _long(path: Path, rows: int) -> None:
    draw = np.random.default_rng(0)
    columns: dict[str, pa.Array] = _who_and_when(draw, rows)
    columns["test"] = pa.array([f"test {n}" for n in range(150)]).take(pa.array(draw.integers(0, 150, rows)))
    columns["value"] = pa.array(np.round(draw.normal(100, 20, rows), 2))
    columns["unit"] = pa.array(["mg/dL", "mmol/L", "g/L"]).take(pa.array(draw.integers(0, 3, rows)))
    pyarrow.csv.write_csv(pa.table(columns), path)


def _who_and_when(draw: np.random.Generator, rows: int) -> dict[str, pa.Array]:
    who = pa.array([f"P{n:06d}" for n in range(5000)]).take(pa.array(np.sort(draw.integers(0, 5000, rows))))
    seconds = np.datetime64("2025-01-01T00:00:00") + draw.integers(0, 3 * 10**7, rows).astype("timedelta64[s]")
    return {"patient": who, "taken": pa.array(seconds.astype("datetime64[s]"))}


if __name__ == "__main__":
    print(json.dumps(measure(), indent=2))
