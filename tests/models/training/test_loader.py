"""What is read ahead is what the cohort gives, in order; what goes wrong comes up, and no more is read than is used."""

import threading
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch

from ingest.cohort import Cohort
from models.training import loader
from models.training.loader import Reader, ahead, placed, runs_of


@pytest.mark.parametrize("kept", [0, loader.KEPT_AT_MOST], ids=["read", "kept"])
@pytest.mark.parametrize("shards", [1, 3])
def test_a_batch_is_what_the_cohort_gives(
    kept: int, shards: int, synthetic_cohort: Callable[..., Cohort], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "KEPT_AT_MOST", kept)
    cohort = synthetic_cohort(n=90, shards=shards)
    rows = cohort.rows("train")
    places = [np.array([5, 0, 17]), np.array([1]), np.arange(len(rows))[::-1], np.array([], int)]
    reader = Reader(cohort, rows)
    for at, batch in zip(places, reader.batches(places, cohort.stream_names), strict=True):
        expected = cohort.batch(rows[at])
        for name in ("case_ids", "subject_ids", "index_times"):
            assert np.array_equal(getattr(batch, name), getattr(expected, name)), name
        assert torch.equal(batch.target, expected.target)
        assert torch.equal(batch.outcome, expected.outcome)
        for name, stream in expected.streams.items():
            for part in ("values", "observed", "hours"):
                found, given = getattr(batch.streams[name], part), getattr(stream, part)
                assert found.dtype == given.dtype
                assert torch.equal(found, given), (name, part)
    assert set(reader.kept) == (set(cohort.stream_names) if kept else set())


def test_eight_bits_and_features_are_read_as_the_cohort_reads_them(
    synthetic_cohort: Callable[..., Cohort], tmp_path: object
) -> None:
    import shutil
    from pathlib import Path

    from ingest.cohort import open_cohort

    folder = Path(str(tmp_path)) / "cohort"
    shutil.copytree(synthetic_cohort(n=90).folder, folder)
    shard = folder / "shards" / "00000"
    pixels = np.load(shard / "xray.values.npy")
    np.save(shard / "xray.values.npy", (255 * pixels).astype(np.uint8))
    observed = np.load(shard / "notes.observed.npy")
    rng = np.random.default_rng(0)
    np.save(shard / "notes.features-abc.npy", rng.normal(size=(len(observed), 1, 7)).astype(np.float16))
    cohort = open_cohort(folder).with_features({"notes": "abc"})
    rows = cohort.rows("train")[:20]
    found, expected = Reader(cohort, rows).batch(np.arange(20), ["xray", "notes"]), cohort.batch(rows)
    for name in ("xray", "notes"):
        for part in ("values", "observed", "hours"):
            assert torch.equal(getattr(found.streams[name], part), getattr(expected.streams[name], part)), (name, part)


def test_on_the_same_device_nothing_is_copied(synthetic_cohort: Callable[..., Cohort]) -> None:
    batch = synthetic_cohort(n=90).batch([0, 1])
    assert placed(batch, torch.device("cpu")) is batch


def test_work_is_done_in_order_in_another_thread() -> None:
    main = threading.get_ident()
    given = [partial(lambda i: (i, threading.get_ident()), i) for i in range(20)]
    found = list(ahead(given))
    assert [i for i, _ in found] == list(range(20))
    assert {thread for _, thread in found} != {main}
    assert len({thread for _, thread in found}) == 1


def test_no_more_is_done_ahead_than_is_said() -> None:
    done: list[int] = []
    results = ahead((partial(done.append, i) for i in range(10)), 2)
    next(results)
    time.sleep(0.1)
    assert 1 <= len(done) <= 3
    results.close()  # type: ignore[attr-defined]  # it is a generator
    time.sleep(0.05)
    assert len(done) <= 3
    assert not any(thread.name.startswith("reading") for thread in threading.enumerate())


def test_what_goes_wrong_comes_up_where_its_result_would_have() -> None:
    def third(i: int) -> int:
        if i == 3:
            raise OSError("the disk is gone")
        return i

    results = ahead(partial(third, i) for i in range(6))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="the disk is gone"):
        next(results)


def test_runs_are_all_places_in_order() -> None:
    assert [list(run) for run in runs_of(5, 2)] == [[0, 1], [2, 3], [4]]
    assert runs_of(0, 2) == []
