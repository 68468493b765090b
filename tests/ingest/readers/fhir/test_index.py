"""The index of known records agrees with a dictionary, over any number of runs."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.account.ledger import Ledger
from ingest.readers.fhir import index as fhir_index
from ingest.readers.fhir.index import ROW, RecordIndex, label


def rows_of(keys: list[int], content: int) -> np.ndarray:
    rows = np.zeros(len(keys), ROW)
    rows["key"], rows["content"] = keys, content
    return rows


def open_index(folder: Path) -> tuple[Ledger, RecordIndex]:
    (folder / "parts").mkdir(exist_ok=True)
    ledger = Ledger(folder / "ingests", folder / "parts")
    return ledger, RecordIndex(ledger)


def finish(folder: Path, ledger: Ledger, index: RecordIndex, run: str) -> None:
    index.flush()
    ledger.save(run)
    ledger.close()
    (folder / "parts" / f"{run}.parquet").touch()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.lists(st.integers(0, 30), max_size=12), max_size=6), min_size=1, max_size=3))
def test_it_knows_what_a_dictionary_would(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, runs: list[list[list[int]]]
) -> None:
    monkeypatch.setattr(fhir_index, "_BLOCK_ROWS", 50)  # so that five rows at once are a block
    folder = tmp_path_factory.mktemp("index")
    expected: dict[int, tuple[int, int]] = {}
    content = 0
    for run, batches in enumerate(runs):
        ledger, index = open_index(folder)
        for keys in batches:
            content += 1
            index.enter(rows_of(keys, content))
            expected.update({key: (content, run) for key in keys if key})
            asked = np.arange(32, dtype=np.uint64)
            found = {int(asked[place]): known for place, known in index.find(asked).items()}
            assert {key: known.row.content for key, known in found.items()} == {
                key: content for key, (content, _) in expected.items()
            }
            assert {key for key, known in found.items() if known.is_of_this_run} == {
                key for key, (_, when) in expected.items() if when == run
            }
        finish(folder, ledger, index, f"run{run}")


def test_a_run_that_was_killed_leaves_no_trace(tmp_path: Path) -> None:
    ledger, index = open_index(tmp_path)
    index.enter(rows_of(list(range(1, 5000)), 1))
    index.flush()
    ledger.close()  # without save
    _, again = open_index(tmp_path)
    assert again.find(np.arange(10, dtype=np.uint64)) == {}


def test_labels_say_where_a_record_is() -> None:
    assert [label(5, 0), label(5, 2), label(0, 2), label(0, 0)] == ["line 5", "line 5, entry 2", "entry 2", "resource"]
