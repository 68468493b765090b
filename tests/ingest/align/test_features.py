"""Tables and series: how several observations of a case become its values."""

from typing import Any

import numpy as np
import pytest

from ingest.errors import TaskError


def table(*features: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"record": {"kind": "table", "features": list(features), **more}}


def test_presence_features_are_observed_for_everybody(people: Any, task_of: Any, aligned: Any) -> None:
    rows = [*people(), *({"subject": 3, "code": "FALL", "hours": h} for h in (-5, 2, 30))]
    features = [{"name": how, "codes": ["FALL"], "reduce": how} for how in ("any", "count")]
    _, cohort = aligned(rows, task_of(table(*features)))
    record = cohort.batch(np.arange(20)).streams["record"]
    assert record.observed.all()
    assert record.values[2].tolist() == [1, 2]
    assert record.hours[2].tolist() == [-22, -22]
    assert record.values.sum() == 3


def test_age_counts_years_at_the_index_time(people: Any, task_of: Any, aligned: Any) -> None:
    rows = [*people(), {"subject": 1, "code": "MEDS_BIRTH", "hours": 24 - 40.5 * 365.25 * 24}]
    _, cohort = aligned(rows, task_of(table({"name": "age", "derive": "age"})))
    assert cohort.batch([0]).streams["record"].values.item() == pytest.approx(40.5, abs=1e-4)
    assert cohort.present[:, 0].tolist() == [True] + [False] * 19
    assert cohort.statistics.streams["record"].units == ("a",)


def test_automatic_levels_come_from_the_training_split_alone(people: Any, task_of: Any, aligned: Any) -> None:
    sites = {subject: f"site {subject}" for subject in range(1, 21)}
    rows = people() + [{"subject": s, "code": "SITE", "text_value": text} for s, text in sites.items()]
    rows += [{"subject": s, "code": "WARD", "text_value": "b" if s < 15 else "a"} for s in range(1, 21)]
    features = [{"name": name, "codes": [name.upper()], "levels": "auto"} for name in ("site", "ward")]
    report, cohort = aligned(rows, task_of(table(*features)))
    training = sorted(sites[s] for s in cohort.index["subject_id"][cohort.rows("train")])
    levels = cohort.statistics.streams["record"].levels
    assert list(levels["site"]) == training, "as frequent as one another: by name"
    assert levels["ward"] == ("b", "a"), "the most frequent first"
    record = cohort.batch(np.arange(20)).streams["record"]
    in_training = np.isin(np.arange(20), cohort.rows("train"))
    assert record.observed[:, 0].tolist() == in_training.tolist()
    assert report.streams["record"].left_out["unknown level"] == 20 - len(training)


def test_statistics_rest_on_observed_training_values_only(people: Any, task_of: Any, aligned: Any, pulse: Any) -> None:
    _, cohort = aligned(people(), task_of({"vitals": pulse}))
    train = cohort.batch(cohort.rows("train")).streams["vitals"]
    seen = train.values[train.observed]
    statistics = cohort.statistics.streams["vitals"]
    assert statistics.mean[0] == pytest.approx(float(seen.mean()), rel=1e-6)
    assert statistics.std[0] == pytest.approx(float(seen.std(correction=0)), rel=1e-6)
    assert cohort.statistics.cases == len(cohort.rows("train"))


def test_two_values_at_one_time_become_one_by_the_channels_reduce(people: Any, task_of: Any, aligned: Any) -> None:
    rows = people() + [{"subject": 1, "code": "PULSE", "hours": 12, "numeric_value": v} for v in (90.0, 100.0)]
    for how, expected in (("mean", 95.0), ("max", 100.0), ("count", 2.0)):
        channel = {"name": "pulse", "codes": ["PULSE"], "reduce": how}
        streams = {"vitals": {"kind": "series", "channels": [channel], "max_times": 4}}
        _, cohort = aligned(rows, task_of(streams), name=how)
        vitals = cohort.batch([0]).streams["vitals"]
        assert vitals.values[0, 1, 0].item() == expected
        assert vitals.observed_times[0].tolist() == [True, True, False, False]


def test_the_latest_times_are_kept_and_the_others_counted(people: Any, task_of: Any, aligned: Any, pulse: Any) -> None:
    rows = people() + [{"subject": 1, "code": "PULSE", "hours": h, "numeric_value": float(h)} for h in range(12, 18)]
    report, cohort = aligned(rows, task_of({"vitals": pulse}))
    vitals = cohort.batch([0]).streams["vitals"]
    assert vitals.values[0, :, 0].tolist() == [14, 15, 16, 17]
    assert vitals.hours[0].tolist() == [-10, -9, -8, -7]
    assert report.streams["vitals"].left_out["beyond max_times"] == 3


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([{"name": "a", "codes": ["PULSE"]}, {"name": "a", "codes": ["GENDER"]}], r"\['a'\] more than once"),
        (
            [{"name": "a", "codes": ["GENDER"], "levels": "auto", "reduce": "mean"}],
            "reduce last or first beside levels",
        ),
        ([{"name": "a", "codes": ["PULSE"], "derive": "age"}], "expected derive alone"),
    ],
)
def test_features_that_mean_nothing_are_refused(
    features: list[dict[str, Any]], message: str, people: Any, task_of: Any, aligned: Any
) -> None:
    with pytest.raises(TaskError, match=message):
        aligned(people(), task_of(table(*features)))
