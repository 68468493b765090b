"""What the elements of each kind of stream are, and that their masks cover it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from explain.elements import Facts, Players, stream_players
from explain.wording import number, quantity, when
from ingest.batch import Stream
from ingest.cohort import Cohort
from ingest.errors import TelltaleError
from ingest.statistics import StreamStatistics
from ingest.task import AudioStream, ImageStream


@pytest.fixture(scope="module")
def cohort(synthetic_cohort: Callable[..., Cohort]) -> Cohort:
    return synthetic_cohort(n=60)


def players_of(cohort: Cohort, name: str, **changes: Any) -> tuple[Stream, Players]:
    row = int(np.flatnonzero(cohort.present.all(1))[0])
    batch = cohort.batch([row])
    text = changes.get("text", cohort.texts("notes")[batch.case_ids[0]])
    facts = Facts(cohort.task.streams[name], cohort.statistics.streams[name], text, (4, 5))
    return batch.streams[name], stream_players(batch.streams[name], facts)


@pytest.mark.parametrize("name", ["record", "vitals", "labs", "xray", "notes", "sound"])
def test_the_elements_together_are_the_whole_stream_and_apart_they_share_nothing(cohort: Cohort, name: str) -> None:
    stream, players = players_of(cohort, name)
    count = len(players.elements)
    assert torch.equal(stream.masked(players.keep(np.ones((1, count), bool))).values, stream.values)
    assert not stream.masked(players.keep(np.zeros((1, count), bool))).present.any()
    each = players.keep(np.eye(count, dtype=bool)).int().sum(0)
    assert int(each.max()) == 1
    for one in np.eye(count, dtype=bool):
        assert stream.masked(players.keep(one[None])).present.all()


def test_patches_of_an_uneven_grid_cover_the_image(cohort: Cohort) -> None:
    _, players = players_of(cohort, "xray")
    assert len(players.elements) == 20
    sizes = torch.bincount(players.label.flatten())
    assert int(sizes.min()) == 8 * 6
    assert int(sizes.sum()) == 32 * 32
    patch = players.elements[7]
    assert (patch.name, patch.position) == ("row 2, column 3", (1, 2, 4, 5))


def test_several_images_share_the_number_of_patches() -> None:
    values = torch.rand(1, 3, 1, 8, 8)
    observed = torch.tensor([[True, False, True]])
    stream = Stream(values, observed, torch.zeros(1, 3))
    spec = ImageStream(kind="image", codes=("DICOM//DX",), shape=(8, 8), max_images=3)
    players = stream_players(stream, Facts(spec, StreamStatistics("image", 3, (1, 8, 8)), "", (8, 8)))
    assert len(players.elements) == 2 * 16
    assert players.elements[16].name == "image 2 of 2, row 1, column 1"
    assert players.elements[16].position == (0, 0, 4, 4, 2)


def test_a_text_that_is_not_what_was_tokenised_is_refused(cohort: Cohort) -> None:
    with pytest.raises(TelltaleError, match="align the cohort again"):
        players_of(cohort, "notes", text="something else")


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (quantity(24, "/min"), "24 /min"),
        (quantity(3.4, "mmol/L"), "3.4 mmol/L"),
        (quantity(67.25, "a"), "67.2 years"),
        (quantity(12345, "10*3/uL"), "12345 10³/µL"),
        (number(-0.5), "−0.5"),
        (when(0), ""),
        (when(-2.12), " at −2.1 h"),
        (when(-240), " at −10 days"),
    ],
)
def test_values_are_written_as_people_write_them(shown: str, expected: str) -> None:
    assert shown == expected


def test_a_waveform_is_explained_by_stretches_of_all_leads_but_not_where_none_is_observed() -> None:
    values = torch.sin(torch.arange(400) / 10)[None, :, None] * torch.tensor([1.0, 3.0])
    observed = torch.ones(1, 400, 2, dtype=torch.bool)
    observed[0, 80:160] = False
    observed[0, :, 1] = False
    observed[0, 300:, 1] = True
    stream = Stream(values * observed, observed, torch.zeros(1, 400))
    spec = AudioStream(
        kind="audio", codes=("ECG",), form="waveform", sample_rate_hz=100, seconds=4, leads=("I", "II"), unit="mV"
    )
    statistics = StreamStatistics("audio", 400, (2,), names=("I", "II"), units=("mV", "mV"))
    players = stream_players(stream, Facts(spec, statistics, "", (4, 5)))
    assert [element.name for element in players.elements][:3] == ["0.0–0.4 s", "0.4–0.8 s", "1.6–2.0 s"]
    assert players.elements[0].shown == "range 1.69 mV"
    assert players.elements[0].position == (0.0, 0.4)
    count = len(players.elements)
    assert count == 8
    assert torch.equal(stream.masked(players.keep(np.ones((1, count), bool))).values, stream.values)
    assert not stream.masked(players.keep(np.zeros((1, count), bool))).present.any()
    for one in np.eye(count, dtype=bool):
        assert stream.masked(players.keep(one[None])).present.all()
