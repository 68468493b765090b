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


def series(**more: Any) -> dict[str, Any]:
    return {
        "vitals": {
            "kind": "series",
            "channels": [{"name": "pulse", "codes": ["PULSE"], **more.pop("channel", {})}],
            **more,
        }
    }


def pulses(*hours: float) -> list[dict[str, Any]]:
    return [{"subject": 1, "code": "PULSE", "hours": h, "numeric_value": float(h)} for h in hours]


def test_bins_end_at_the_index_time_and_hold_their_end(people: Any, task_of: Any, aligned: Any) -> None:
    """Asked at 24 h, bins of 6 h: (0, 6], (6, 12], (12, 18], (18, 24], the first with its own beginning."""
    rows = [*people(), *pulses(0, 6, 6.001, 12, 18, 24, 24.001), *pulses(9)]
    streams = series(channel={"reduce": "mean"}, window_hours=24, bin_hours=6)
    _, cohort = aligned(rows, task_of(streams))
    vitals = cohort.batch([0]).streams["vitals"]
    assert vitals.values[0, :, 0].tolist() == pytest.approx([3, (6.001 + 9 + 61 + 12) / 4, 18, 24])
    assert vitals.hours[0].tolist() == [-18, -12, -6, 0], "of the latest value in each"
    assert cohort.batch([1]).streams["vitals"].observed[0, :, 0].tolist() == [False, True, False, False]
    assert cohort.batch([1]).streams["vitals"].hours[0].tolist() == [0, -14, 0, 0]
    assert cohort.statistics.streams["vitals"].elements == 4


def test_a_bin_has_the_age_of_its_latest_value_of_any_channel(people: Any, task_of: Any, aligned: Any) -> None:
    rows = [*people(), *pulses(20), {"subject": 1, "code": "TEMP", "hours": 23, "numeric_value": 37.0}]
    streams = series(window_hours=6, bin_hours=6)
    streams["vitals"]["channels"].append({"name": "temperature", "codes": ["TEMP"]})
    _, cohort = aligned(rows, task_of(streams))
    assert cohort.batch([0]).streams["vitals"].hours[0].tolist() == [-1]


def test_all_keeps_every_value_even_at_one_time(people: Any, task_of: Any, aligned: Any) -> None:
    rows = [*people(), *pulses(12, 12, 12), {"subject": 1, "code": "TEMP", "hours": 12, "numeric_value": 37.0}]
    rows[-2] = {**rows[-2], "numeric_value": 13.0}
    streams = series(channel={"reduce": "all"}, max_times=3)
    streams["vitals"]["channels"].append({"name": "temperature", "codes": ["TEMP"]})
    report, cohort = aligned(rows, task_of(streams))
    vitals = cohort.batch([0]).streams["vitals"]
    assert vitals.values[0, :, 0].tolist() == [12, 12, 13]
    assert vitals.values[0, :, 1].tolist() == [37, 0, 0], "with the first of them, being of the same time"
    assert vitals.hours[0].tolist() == [-12, -12, -12]
    assert report.streams["vitals"].left_out["beyond max_times"] == 1


def test_features_of_one_lab_may_look_back_differently(people: Any, task_of: Any, aligned: Any) -> None:
    rows = [*people(), *pulses(3, 19)]
    features = [{"name": f"last {h} h", "codes": ["PULSE"], "reduce": "min", "window_hours": h} for h in (6, 23)]
    _, cohort = aligned(rows, task_of(table(*features, {"name": "ever", "codes": ["PULSE"], "reduce": "min"})))
    record = cohort.batch([0, 1]).streams["record"]
    assert record.values.tolist() == [[19, 3, 3], [0, 62, 62]]
    assert record.observed.tolist() == [[True, True, True], [False, True, True]]


@pytest.mark.parametrize(("known_by", "seen"), [("available_time", 61.0), ("time", 99.0)])
def test_a_task_may_know_by_the_time_of_measurement(
    known_by: str, seen: float, people: Any, task_of: Any, aligned: Any
) -> None:
    rows = [*people(), {"subject": 1, "code": "PULSE", "hours": 20, "known": 30, "numeric_value": 99.0}]
    report, cohort = aligned(rows, task_of(table({"name": "pulse", "codes": ["PULSE"]}), known_by=known_by))
    assert cohort.batch([0]).streams["record"].values.item() == seen
    assert report.streams["record"].late == (known_by == "available_time")


def test_of_two_values_at_one_time_the_one_released_later_is_the_last(people: Any, task_of: Any, aligned: Any) -> None:
    rows = [
        *people(),
        *({"subject": 1, "code": "PULSE", "hours": 20, "known": k, "numeric_value": 50.0 - k} for k in (22, 21)),
    ]
    for known_by in ("available_time", "time"):
        streams = table({"name": "pulse", "codes": ["PULSE"]})
        _, cohort = aligned(rows, task_of(streams, known_by=known_by), name=known_by)
        assert cohort.batch([0]).streams["record"].values.item() == 28


def test_channels_that_contradict_each_other_make_the_stream_absent_and_say_why(
    people: Any, task_of: Any, aligned: Any
) -> None:
    """FAULTS 20: a speed in km/h read as m/s does not fit the way that was covered."""
    rows = people()
    for subject, factor in ((1, 1.0), (2, 3.6)):
        for second in range(120):
            hours, speed = 10 + second / 3600, 10 + 5 * np.sin(second / 9)
            way = 10 * second - 45 * np.cos(second / 9)
            rows += [
                {"subject": subject, "code": "WAY", "hours": hours, "numeric_value": float(way)},
                {"subject": subject, "code": "SPEED", "hours": hours, "numeric_value": float(factor * speed)},
            ]
    drive = {
        "kind": "series",
        "channels": [{"name": name, "codes": [name.upper()]} for name in ("way", "speed")],
        "max_times": 120,
        "checks": [{"kind": "rate", "channel": "way", "of": "speed"}],
    }
    report, cohort = aligned(
        rows, task_of({"drive": drive, "record": table({"name": "pulse", "codes": ["PULSE"]})["record"]})
    )
    assert cohort.present[:3, 0].tolist() == [True, False, False]
    problems = cohort.index["drive_problem"]
    assert problems.isna().tolist() == [True, False] + [True] * 18
    assert "speed" in problems[1]
    assert report.streams["drive"].left_out == {"cases whose channels contradict each other": 1}
    assert len(cohort.sources("drive")) == 240


@pytest.mark.parametrize(
    ("streams", "message"),
    [
        (
            table({"name": "a", "codes": ["PULSE"], "reduce": "all"}),
            "reduce all is for channels of an irregular series",
        ),
        (series(channel={"reduce": "all"}, window_hours=6, bin_hours=2), "goes with channels that are reduced"),
        (series(window_hours=6, bin_hours=4), "must be a multiple of bin_hours"),
        (series(channel={"window_hours": 8}, window_hours=6), "looks further back than the stream"),
        (table({"name": "age", "derive": "age", "window_hours": 1}), "window_hours goes with codes"),
    ],
)
def test_windows_and_bins_that_do_not_fit_are_refused(streams: dict[str, Any], message: str, task_of: Any) -> None:
    with pytest.raises(TaskError, match=message):
        task_of(streams)


def test_values_in_another_unit_are_converted_by_the_vocabulary_and_counted(
    people: Any, task_of: Any, aligned: Any
) -> None:
    """FAULTS 16: two codes of one analyte, one in amounts and one in mass, meet in the feature's unit."""
    from ingest.meaning.vocabulary import Quantity, Vocabulary

    words = Vocabulary(
        {
            "MASS": Quantity("MASS", "creatinine", "mg/dL", "MCnc", None, {"umol/L": (0.011312, 0.0)}),
            "AMOUNT": Quantity("AMOUNT", "creatinine", "umol/L", "SCnc", None, {"mg/dL": (88.4017, 0.0)}),
        }
    )
    rows = [
        *people(),
        {"subject": 1, "code": "MASS", "hours": 1, "numeric_value": 1.0, "unit": "mg/dL"},
        {"subject": 2, "code": "AMOUNT", "hours": 1, "numeric_value": 88.4, "unit": "umol/L"},
        {"subject": 3, "code": "AMOUNT", "hours": 1, "numeric_value": 88.4, "unit": "kPa"},
        {"subject": 4, "code": "MASS", "hours": 1, "numeric_value": 2.0},
    ]
    feature = {"name": "creatinine", "codes": ["MASS", "AMOUNT"], "unit": "mg/dL", "plausible": [0, 20]}
    report, cohort = aligned(rows, task_of(table(feature)), vocabulary=words)
    record = cohort.batch(np.arange(4)).streams["record"]
    assert record.values[:, 0].tolist() == [1.0, pytest.approx(1.0, abs=1e-4), 0.0, 2.0]
    assert record.observed[:, 0].tolist() == [True, True, False, True]
    assert report.streams["record"].left_out == {"wrong unit": 1}
    assert report.streams["record"].noted == {"converted": 1}
