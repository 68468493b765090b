"""A batch cannot be built wrong: no future, no shapes that disagree; masking never uncovers."""

import numpy as np
import pytest
import torch

from ingest.batch import Batch, Stream
from ingest.errors import FutureValueError


def stream(hours: list[list[float]], observed: list[list[bool]] | None = None) -> Stream:
    at = torch.tensor(hours)
    seen = torch.ones(at.shape, dtype=torch.bool) if observed is None else torch.tensor(observed)
    return Stream(torch.arange(at.numel()).reshape(at.shape).float() * seen, seen, at)


def batch(**streams: Stream) -> Batch:
    n = len(next(iter(streams.values())).values)
    times = np.full(n, np.datetime64("2024-01-01", "us"))
    return Batch(np.arange(n).astype(str), np.arange(n), times, streams, torch.zeros(n), torch.zeros(n, 1))


def test_an_observed_value_after_the_index_time_cannot_be_built() -> None:
    with pytest.raises(FutureValueError, match=r"case 1 of the batch holds a value from 2.50 h after its index time"):
        stream([[-1.0, 0.0], [-3.0, 2.5]])


def test_an_unobserved_one_may_have_any_hours() -> None:
    assert stream([[-1.0, 7.0]], [[True, False]]).present.tolist() == [True]


def test_a_series_is_late_where_any_of_its_channels_is() -> None:
    observed = torch.tensor([[[False, True]]])
    with pytest.raises(FutureValueError):
        Stream(torch.zeros(1, 1, 2), observed, torch.tensor([[0.1]]))


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="shapes do not agree"):
        Stream(torch.zeros(2, 3), torch.ones(2, 2, dtype=torch.bool), torch.zeros(2, 3))
    with pytest.raises(TypeError, match="observed must be bool"):
        Stream(torch.zeros(2, 3), torch.ones(2, 3), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="stream b has 2 cases, the batch 1"):
        Batch(
            np.array(["1"]),
            np.array([1]),
            np.array([0]),
            {"b": stream([[0.0], [0.0]])},
            torch.zeros(1),
            torch.zeros(1, 1),
        )


def test_masking_zeroes_what_it_hides_and_never_uncovers() -> None:
    before = stream([[-2.0, -1.0, 0.0]], [[True, False, True]])
    after = before.masked(torch.tensor([[True, True, False]]))
    assert after.observed.tolist() == [[True, False, False]]
    assert after.values.tolist() == [[0.0, 0.0, 0.0]]
    assert before.observed.tolist() == [[True, False, True]], "nothing changes what it was handed"


def test_without_a_stream_it_is_absent_and_the_others_stay() -> None:
    whole = batch(a=stream([[-1.0], [-2.0]]), b=stream([[-1.0], [-2.0]]))
    part = whole.without("a")
    assert whole.present().all()
    assert part.present().tolist() == [[False, True], [False, True]]
    assert torch.equal(part.streams["b"].values, whole.streams["b"].values)
