"""Reading a cohort: by position, by split, in batches, over several shards."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ingest.cohort import Cohort, open_cohort, presence_pattern
from ingest.errors import TelltaleError

CohortOf = Callable[..., Cohort]


def test_a_folder_without_a_cohort_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TelltaleError, match="found none; run `telltale align` first"):
        open_cohort(tmp_path)


def test_rows_come_in_the_order_that_was_asked_for(synthetic_cohort: CohortOf) -> None:
    cohort = synthetic_cohort(40, 1, shards=3)
    whole = cohort.batch(np.arange(40))
    rows = np.random.default_rng(0).permutation(40)[:15]
    some = cohort.batch(rows)
    assert some.case_ids.tolist() == whole.case_ids[rows].tolist()
    for name, stream in some.streams.items():
        assert stream.values.equal(whole.streams[name].values[rows])
        assert stream.observed.equal(whole.streams[name].observed[rows])
        assert stream.hours.equal(whole.streams[name].hours[rows])


def test_batches_cover_every_row_once(synthetic_cohort: CohortOf) -> None:
    cohort = synthetic_cohort(40, 1, shards=2)
    ids = [case for batch in cohort.batches(cohort.rows(), 7) for case in batch.case_ids]
    assert ids == cohort.index["case_id"].tolist()


def test_splits_partition_the_cases(synthetic_cohort: CohortOf) -> None:
    cohort = synthetic_cohort(60, 1)
    parts = [cohort.rows(part) for part in ("train", "validation", "test")]
    assert sorted(np.concatenate(parts)) == list(range(60))
    with pytest.raises(TelltaleError, match="split: expected one of train, validation, test, got 'dev'"):
        cohort.rows("dev")


def test_what_is_absent_in_the_index_is_absent_in_the_batch(synthetic_cohort: CohortOf) -> None:
    cohort = synthetic_cohort(40, 2)
    batch = cohort.batch(np.arange(40))
    assert np.array_equal(batch.present().numpy(), cohort.present)


def test_only_the_streams_that_were_asked_for_are_read(synthetic_cohort: CohortOf) -> None:
    assert list(synthetic_cohort(20, 1).batch([0, 1], streams=["vitals"]).streams) == ["vitals"]


def test_a_pattern_names_what_is_there() -> None:
    present = np.array([[True, True], [False, True], [False, False]])
    assert presence_pattern(present, ["labs", "notes"]) == ["labs + notes", "notes", "none"]
