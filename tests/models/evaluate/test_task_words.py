"""A task is said in words that name what decides: codes, limits, windows, and the event that is called the risk."""

import pytest
from pydantic import TypeAdapter

from ingest.target import Target
from ingest.task import Condition, Index, StreamSpec, Task, parse_task
from models.evaluate.task_words import condition_in_words, moment_in_words, outcome_in_words, stream_in_words


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"events": ["DEATH", "ICU"], "horizon_hours": 48}, "DEATH, ICU within 48 h"),
        ({"label": "WENT", "positive": ["Y"], "negative": ["N", "U"]}, "WENT is Y, not N or U"),
        (
            {"kind": "multiclass", "label": "DX", "classes": {"a": ["A"], "b": ["B"], "c": ["C"]}, "risk": ["a", "c"]},
            "DX, one of a, b, c; risk: a or c",
        ),
        (
            {"kind": "ordinal", "label": "DX", "classes": {"low": ["1"], "high": ["2"]}, "risk": ["high"]},
            "DX, in order of low, high; risk: high",
        ),
        (
            {
                "kind": "multilabel",
                "labels": {"x": {"events": ["X"], "horizon_hours": 1}, "y": {"events": ["Y"], "horizon_hours": 1}},
                "risk": "y",
            },
            "x, y, of which any may happen; risk: y",
        ),
        (
            {"kind": "regression", "value": "LOS", "unit": "d", "above": 7, "horizon_hours": 24},
            "the first value of LOS in d within 24 h; risk: above 7 d",
        ),
        (
            {"kind": "survival", "causes": {"death": ["D"], "ICU": ["I"]}, "horizon_hours": 72, "follow_up": ["V"]},
            "the time to death, ICU within 72 h, which censoring may hide; risk: death by then",
        ),
    ],
)
def test_every_kind_of_outcome_is_said_with_its_risk(raw: object, said: str) -> None:
    assert outcome_in_words(TypeAdapter(Target).validate_python(raw)) == said


def test_streams_say_what_they_hold_and_how_far_back_they_look() -> None:
    streams: TypeAdapter[StreamSpec] = TypeAdapter(StreamSpec)
    hr = {"name": "heart rate", "codes": ["HR"], "unit": "/min"}
    said = {
        "the last 24 h, at most 24 times, every 1 h: heart rate (/min, last)": {
            "kind": "series", "channels": [hr], "window_hours": 24, "bin_hours": 1,
        },
        "everything before: age (years from birth); sex (categorical, last)": {
            "kind": "table",
            "features": [{"name": "age", "derive": "age"}, {"name": "sex", "codes": ["G"], "levels": ["f", "m"]}],
        },
        "the last 2 h: CT, the latest 1, 8 × 16 × 16 pixels": {
            "kind": "image", "codes": ["CT"], "shape": [8, 16, 16], "window_hours": 2,
        },
        "everything before: N1, N2, at most 32 tokens": {"kind": "text", "codes": ["N1", "N2"], "max_tokens": 32},
        "everything before: S, the latest usable, 6 s at 4000 Hz": {"kind": "audio", "codes": ["S"]},
    }  # fmt: skip
    for words, raw in said.items():
        assert stream_in_words(streams.validate_python(raw)) == words


def test_moments_and_conditions() -> None:
    def task(index: Index) -> Task:
        raw = {
            "name": "t", "title": "T", "index": index.model_dump(),
            "target": {"events": ["E"], "horizon_hours": 1}, "streams": {"n": {"kind": "text", "codes": ["N"]}},
        }  # fmt: skip
        return parse_task(raw, "test")

    assert moment_in_words(task(Index(event="ADM", which="each", offset_hours=6))) == "6 h after ADM (each)"
    assert moment_in_words(task(Index(per_record="IMG"))) == "once for every record with IMG"
    adults = Condition(name="adults", codes=("AGE",), above=18)
    assert condition_in_words(adults) == "adults (AGE from 18)"
    assert condition_in_words(Condition(name="ill", codes=("A", "B"), values=("y", "z"))) == "ill (A, B one of y, z)"
    assert condition_in_words(Condition(name="seen", codes=("V",))) == "seen (V)"
