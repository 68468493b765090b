"""The synthetic cohort is a valid cohort that the tests may rest on."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from ingest.cohort import Cohort


def test_it_opens_and_gives_batches_of_every_kind(synthetic_cohort: Callable[..., Cohort]) -> None:
    cohort = synthetic_cohort(60, 3, shards=2)
    batch = cohort.batch(np.arange(60))
    assert [tuple(s.values.shape[1:]) for s in batch.streams.values()] == [
        (3,),
        (12, 3),
        (6, 2),
        (1, 1, 32, 32),
        (24,),
        (24, 16),
    ]
    assert (batch.present().numpy() == cohort.present).all()
    assert 0.1 < float(batch.target.mean()) < 0.6
    for name, stream in batch.streams.items():
        shown = stream.observed.reshape(stream.observed.shape + (1,) * (stream.values.ndim - stream.observed.ndim))
        assert not bool((stream.values * ~shown).any()), name


def test_texts_and_sources_belong_to_the_cases_that_have_them(synthetic_cohort: Callable[..., Cohort]) -> None:
    cohort = synthetic_cohort(60, 3, shards=2)
    has_notes = cohort.index.loc[cohort.present[:, 4], "case_id"]
    assert list(cohort.texts("notes").index) == list(has_notes)
    assert list(cohort.sources("xray")["case_id"]) == list(cohort.index.loc[cohort.present[:, 3], "case_id"])


def test_subjects_stay_in_one_split_and_a_stream_may_be_absent_everywhere(
    synthetic_cohort: Callable[..., Cohort],
) -> None:
    cohort = synthetic_cohort(60, 4, cases_per_subject=3, absent={"xray": 1.0})
    assert (cohort.index.groupby("subject_id")["split"].nunique() == 1).all()
    assert cohort.arrays(0, "xray").values.shape == (0, 1, 1, 32, 32)
    assert not cohort.batch([0, 1]).streams["xray"].present.any()
    truth = pd.read_parquet(cohort.folder / "truth.parquet")
    assert list(truth["case_id"]) == list(cohort.index["case_id"])
