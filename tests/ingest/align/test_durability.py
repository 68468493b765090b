"""Alignment that is killed leaves the old cohort whole, and the next one works."""

import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from ingest.align.build import align
from ingest.cohort import open_cohort
from ingest.errors import TelltaleError
from ingest.files import replacing_folder, restore_folder

ROOT = Path(__file__).parents[3]
PROGRAM = """
import sys, json
from pathlib import Path
import pyarrow.parquet as pq
from ingest.align.build import align
from ingest.align.source import TableSource
from ingest.task import parse_task
table, task, out = sys.argv[1:]
print("ready", flush=True)
while True:
    align(TableSource(pq.read_table(table), 40), parse_task(json.loads(task), "test"), Path(out))
"""


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_killed_alignment_leaves_a_whole_cohort_and_the_next_one_works(
    people: Any, task_of: Any, table_of: Any, pulse: Any, tmp_path: Path
) -> None:
    """FAULTS 39: killed at any moment, often while it takes the old one's place, since it does so again and again."""
    task = task_of({"vitals": pulse})
    table = table_of(people(40))
    pq.write_table(table, tmp_path / "table.parquet")
    out = tmp_path / "cohorts" / "test"
    align(table, task, out)
    whole = content(out)
    words = [sys.executable, "-c", PROGRAM, str(tmp_path / "table.parquet"), task.model_dump_json(), str(out)]
    for moment in np.random.default_rng(0).uniform(0, 0.5, 10):
        with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(float(moment))
            process.send_signal(signal.SIGKILL)
        assert len(open_cohort(out)) == 40
        assert content(out) == whole
    align(table, task, out)
    assert content(out) == whole
    assert [path.name for path in out.parent.iterdir()] == ["test"], "what the killed ones left is gone"


def test_killed_between_its_two_renames_the_old_folder_comes_back(
    tmp_path: Path, aligned: Any, people: Any, task_of: Any, pulse: Any
) -> None:
    """FAULTS 39: the moment at which neither the old nor the new cohort has its name."""
    _, cohort = aligned(people(), task_of({"vitals": pulse}))
    cohort.folder.rename(cohort.folder.with_name(".cohort.old"))
    assert len(open_cohort(cohort.folder)) == 20
    assert [path.name for path in tmp_path.iterdir()] == ["cohort"]
    cohort.folder.rename(cohort.folder.with_name(".cohort.old"))
    report, _ = aligned(people(), task_of({"vitals": pulse}), append=True)
    assert report.already_there == 20


def test_readers_find_a_folder_at_every_moment_of_its_replacement(tmp_path: Path) -> None:
    place, stop = tmp_path / "it", threading.Event()
    with replacing_folder(place) as folder:
        (folder / "file").write_text("0")
    missed: list[str] = []

    def read() -> None:
        while not stop.is_set():
            restore_folder(place)
            try:
                (place / "file").read_text()
            except OSError as error:  # between restoring and reading: the next moment it is there
                missed.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(30):
            with replacing_folder(place) as folder:
                (folder / "file").write_text(str(number))
    finally:
        stop.set()
        reader.join()
    assert (place / "file").read_text() == "29"
    shutil.rmtree(place)
    restore_folder(place)
    assert not place.exists()


def test_two_alignments_at_once_wait_for_each_other(
    people: Any, task_of: Any, table_of: Any, pulse: Any, tmp_path: Path
) -> None:
    task, table, out = task_of({"vitals": pulse}), table_of(people(40)), tmp_path / "cohort"
    errors: list[BaseException] = []

    def run() -> None:
        try:
            align(table, task, out)
        except BaseException as error:  # noqa: BLE001  # told by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(open_cohort(out)) == 40
    assert [path.name for path in tmp_path.iterdir()] == ["cohort"]


def test_a_place_without_a_cohort_stays_one(tmp_path: Path) -> None:
    with pytest.raises(TelltaleError, match="run `telltale align` first"):
        open_cohort(tmp_path / "nothing")
