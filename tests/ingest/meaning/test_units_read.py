"""The vocabulary at work while files are read: converted, refused by row, and every row accounted for."""

from pathlib import Path

import pytest
import yaml

from ingest.run import ingest
from ingest.store import read_observations
from ingest.workspace import Workspace
from serve.options import vocabulary

LABS = [  # patient, code, value, unit
    ("1", "2345-7", "5.4", "mg/dL"),  # FAULTS 15
    ("1", "2160-0", "88.4", "umol/L"),  # FAULTS 16
    ("1", "59032-3", "2.1", "mmol/L"),  # FAULTS 17
    ("1", "6690-2", "7.2", "K/uL"),  # FAULTS 18
    ("1", "8480-6", "120", "mmHg"),
    ("1", "8867-4", "80", "/min"),
]


def test_rows_with_impossible_units_are_refused_and_the_others_go_on(workspace: Workspace, delivery: Path) -> None:
    """FAULTS 15, 16, 17 and 18, from files."""
    parts = []
    for number, (patient, code, value, unit) in enumerate(LABS):
        (delivery / f"lab{number}.csv").write_text(f"who,value\n{patient},{value}\n")
        column = {"code": f"LOINC//{code}", "column": "value", "kind": "numeric", "unit": unit}
        subject = {"column": "who", "issuer": "lab"}
        parts.append({"path": f"lab{number}.csv", "subject": subject, "columns": [column]})
    mapping = delivery.parent / "mapping.yaml"
    mapping.write_text(yaml.safe_dump({"files": parts}))
    account = ingest(workspace, [delivery], mapping=mapping, vocabulary=vocabulary())
    assert (account.total.seen, account.total.used, account.total.refused) == (6, 3, 3)
    said = [str(refusal) for refusal in account.refusals]
    assert "got 5.4 mg/dL, which read as mmol/L would be 97.3 mg/dL" in said[0]
    assert "whose property is MCnc (mass concentration)" in said[1]
    assert "got 'mmol/L', which contradicts it" in said[1]
    assert "kelvin per microlitre; write 10*3/uL" in said[2]
    rows = {row["code"]: row for row in read_observations(workspace).to_pylist()}
    assert rows["LOINC//2160-0"]["numeric_value"] == pytest.approx(1.0, abs=1e-3)
    assert [rows[f"LOINC//{code}"]["unit"] for code in ("2160-0", "8480-6", "8867-4")] == ["mg/dL", "mm[Hg]", "/min"]
    assert account.notes["LOINC//2160-0: umol/L converted to mg/dL"] == 1
    assert account.notes["LOINC//8480-6: mmHg taken as mm[Hg]"] == 1


@pytest.mark.slow
def test_nothing_of_the_demo_ward_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    from clinical.demo import make_ward

    make_ward(tmp_path / "ward", patients=40, seed=5)
    account = ingest(workspace, [tmp_path / "ward"], vocabulary=vocabulary())
    assert account.total.refused == 0
    assert not [note for note in account.notes if "converted" in note or "taken as" in note]
