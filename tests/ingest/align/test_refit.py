"""What alignment fits on its training split, fitted anew, is what alignment would have fitted."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ingest.align.refit import blocks_of, refit, with_levels
from ingest.cohort import Cohort, open_cohort

MakeCohort = Callable[..., Cohort]
SITES = ("arm", "leg", "neck")


@pytest.fixture
def with_sites(synthetic_cohort: MakeCohort, tmp_path: Path) -> Callable[[Mapping[int, str]], Cohort]:
    """A factory: a cohort of 60 cases whose `sex` is a body site found by `levels: auto`, as `of` says by case."""

    def make(of: Mapping[int, str]) -> Cohort:
        cohort = synthetic_cohort(n=60, seed=4)
        folder = tmp_path / "copy"
        import shutil

        shutil.copytree(cohort.folder, folder)
        values = np.load(folder / "shards/00000/record.values.npy")
        observed = np.load(folder / "shards/00000/record.observed.npy")
        for case, site in of.items():
            values[case, 1], observed[case, 1] = SITES.index(site), True
        values[~observed] = 0
        np.save(folder / "shards/00000/record.values.npy", values)
        np.save(folder / "shards/00000/record.observed.npy", observed)
        copied = open_cohort(folder)
        spec = copied.task.streams["record"]
        features = tuple(f.model_copy(update={"levels": "auto"}) if f.name == "sex" else f for f in spec.features)  # type: ignore[union-attr]  # a table
        record = spec.model_copy(update={"features": features})
        task = copied.task.model_copy(update={"streams": {**copied.task.streams, "record": record}})
        statistics = copied.statistics.streams["record"]
        streams = {**copied.statistics.streams, "record": replace(statistics, levels={"sex": SITES})}
        return replace(copied, task=task, statistics=replace(copied.statistics, streams=streams))

    return make


def test_fitted_on_its_own_split_again_a_cohort_has_its_own_statistics(synthetic_cohort: MakeCohort) -> None:
    cohort = synthetic_cohort(n=120, shards=3)
    again = refit(cohort, cohort.index["split"].to_numpy(object))
    assert again.statistics.cases == cohort.statistics.cases
    assert again.statistics.prevalence == pytest.approx(cohort.statistics.prevalence)
    for name, statistics in cohort.statistics.streams.items():
        found = again.statistics.streams[name]
        assert replace(found, mean=(), std=()) == replace(statistics, mean=(), std=())
        for place, feature in enumerate(statistics.names or ["-"] * len(statistics.mean)):
            if feature not in statistics.levels:  # of a category it is 0 and 1
                assert found.mean[place] == pytest.approx(statistics.mean[place], rel=1e-5), (name, feature)
                assert found.std[place] == pytest.approx(statistics.std[place], rel=1e-5), (name, feature)


def test_only_the_new_training_cases_move_the_statistics(synthetic_cohort: MakeCohort) -> None:
    """By a plain mean over the arrays of other training cases."""
    cohort = synthetic_cohort(n=120)
    split = np.where(np.arange(120) % 3 == 0, "train", np.where(np.arange(120) % 3 == 1, "validation", "elsewhere"))
    again = refit(cohort, split.astype(object))
    ages = np.load(cohort.folder / "shards/00000/record.values.npy")[::3, 0].astype(float)
    assert again.statistics.streams["record"].mean[0] == pytest.approx(ages.mean(), rel=1e-9)
    assert again.statistics.streams["record"].std[0] == pytest.approx(ages.std(), rel=1e-9)
    assert again.statistics.cases == len(again.rows("train")) == 40
    assert again.statistics.prevalence == pytest.approx(cohort.target[::3].mean())
    assert len(again.rows("test")) == 0
    kept = refit(cohort, split.astype(object), keep=["record"])
    assert kept.statistics.streams["record"] == cohort.statistics.streams["record"]
    assert cohort.index["split"].isin(["train", "validation", "test"]).all()  # what was handed in is as it was


def test_levels_are_those_of_the_new_training_cases_in_their_order_and_others_are_missing(
    with_sites: Callable[[Mapping[int, str]], Cohort],
) -> None:
    of = {case: "neck" if case < 30 else "arm" for case in range(58)} | {58: "leg", 59: "leg"}
    cohort = with_sites(of)
    split = np.array(["train"] * 50 + ["test"] * 10, object)
    again = refit(cohort, split)
    assert again.statistics.streams["record"].levels["sex"] == ("neck", "arm")
    seen = again.batch([0, 49, 59], ["record"]).streams["record"]
    assert seen.values[:, 1].tolist() == [0, 1, 0]
    assert seen.observed[:, 1].tolist() == [True, True, False]
    other = refit(cohort, np.array(["test"] * 50 + ["train"] * 10, object))
    assert other.statistics.streams["record"].levels["sex"] == ("arm", "leg")
    assert other.batch([0, 59], ["record"]).streams["record"].observed[:, 1].tolist() == [False, True]
    twice = refit(again, split)
    assert twice.statistics == again.statistics
    np.testing.assert_array_equal(
        twice.arrays(0, "record").values[:, 1], again.arrays(0, "record").values[:, 1], strict=True
    )


def test_a_recoded_cohort_says_the_same_of_every_value_in_other_numbers(
    with_sites: Callable[[Mapping[int, str]], Cohort],
) -> None:
    cohort = with_sites({case: SITES[case % 3] for case in range(60)})
    texts = ("leg", "nose", "arm")
    view = with_levels(cohort, {"record": {"sex": texts}})
    for before, after in zip(blocks_of(cohort, "record", cohort.rows()), blocks_of(view, "record", cohort.rows()),
                             strict=True):  # fmt: skip
        for row in range(60):
            said = SITES[int(before.values[row, 1])]
            assert after.observed[row, 1] == (said in texts)
            if said in texts:
                assert texts[int(after.values[row, 1])] == said
        np.testing.assert_array_equal(before.values[:, [0, 2]], after.values[:, [0, 2]])
    back = with_levels(view, {"record": {"sex": SITES}})
    lost = np.arange(60) % 3 == 2  # a neck was nothing in between
    assert (back.arrays(0, "record").observed[:, 1] == ~lost).all()
    assert (back.arrays(0, "record").values[~lost, 1] == np.arange(60)[~lost] % 3).all()
    assert with_levels(cohort, {}) is cohort
