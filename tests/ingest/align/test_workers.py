"""Worker processes: the same answers in the same order, and a worker that dies takes only its own job with it."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ingest.align import workers
from ingest.align.image_files import File, ImageJob, Wanted, load_image


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Any work is enough for workers, on two cores."""
    monkeypatch.setattr(workers, "TRIAL_SECONDS", 0.0)
    monkeypatch.setattr(workers, "WORTH_SECONDS", 0.0)
    monkeypatch.setattr(workers, "cores", lambda: 2)
    yield
    workers.close()


def jobs(folder: Path, count: int = 12) -> list[ImageJob]:
    wanted = Wanted((8, 8), 1, None, "LPS", None, "none", eight_bits=True)
    found = []
    for number in range(count):
        Image.fromarray(np.full((8, 8), number * 10, np.uint8)).save(folder / f"{number}.png")
        found.append(ImageJob((File(str(folder / f"{number}.png"), None),), wanted))
    return found


def lost(job: ImageJob, what: str) -> str:
    return f"{Path(job.files[0].path).name}: {what}"


@pytest.mark.usefixtures("always")
def test_answers_come_in_the_order_of_the_jobs(tmp_path: Path) -> None:
    found = list(workers.each(load_image, jobs(tmp_path), lost))
    assert [int(image[0, 0, 0]) for image in found] == [number * 10 for number in range(12)]
    assert len(workers._pool._all) == 2


@pytest.mark.usefixtures("always")
def test_a_worker_that_dies_takes_one_job_with_it() -> None:
    """What a codec does that runs into a wall: the process is gone."""
    signals = [0, 0, 0, signal.SIGKILL, 0, 0]  # 0 is none
    found = list(workers.each(signal.raise_signal, signals, lambda job, what: what))
    assert found == [None, None, None, "data that crash the decoder", None, None]


@pytest.mark.usefixtures("always")
def test_a_worker_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "JOB_SECONDS", 2.0)
    start = time.monotonic()
    assert list(workers.each(time.sleep, [0.0, 60.0], lambda job, what: what)) == [None, "data that take more than 2 s"]
    assert time.monotonic() - start < 20


@pytest.mark.usefixtures("always")
def test_a_defect_of_ours_is_raised_here() -> None:
    with pytest.raises(RuntimeError, match="TypeError in a worker"):
        list(workers.each(len, ["here", 2, 3], lambda job, what: 0))


def test_little_work_is_done_without_workers(tmp_path: Path) -> None:
    workers.close()
    found = list(workers.each(load_image, jobs(tmp_path), lost))
    assert len(found) == 12
    assert not workers._pool.running


def test_workers_load_neither_torch_nor_pandas() -> None:
    said = subprocess.run(
        [sys.executable, "-c", "import sys, ingest.align.workers, ingest.align.image_files; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert not {"torch", "monai", "pandas", "pyarrow", "pydantic", "scipy", "pydicom"} & set(said)
