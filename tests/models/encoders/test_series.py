"""Networks over a series read what was observed, when, and nothing else; each follows the paper that it is from."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.batch import Stream
from ingest.errors import TaskError
from ingest.statistics import StreamStatistics
from models.config import EncoderConfig
from models.encoders import build_encoder
from models.encoders.series import EventEncoder
from models.encoders.series_attention import EventTransformer, Time2Vec
from models.encoders.series_convolution import Tcn, enough_layers
from models.encoders.series_events import Events, ToEvents
from models.encoders.series_recurrent import GruD
from models.encoders.tokens import Tokens
from models.training.weights import seeded

WIDTH, CASES, TIMES = 16, 7, 12
OVER_TIME = ["gru-d", "lstm", "tcn", "transformer"]
NETWORKS = ["set", *OVER_TIME]
RHYTHMS = tuple("ABCDEFGH")
STATISTICS = StreamStatistics(
    "series", TIMES, (4,), names=("rate", "pressure", "rhythm", "lactate"), units=("",) * 4,
    mean=(80.0, 120.0, 0.0, 1.5), std=(12.0, 20.0, 1.0, 0.6), levels={"rhythm": RHYTHMS},
)  # fmt: skip


def encoder_of(network: str, statistics: StreamStatistics = STATISTICS, **config: object) -> torch.nn.Module:
    with seeded(0):
        chosen = EncoderConfig.model_validate({"network": network, **config})
        return build_encoder(chosen, statistics, WIDTH, 0.1).eval()


@pytest.fixture(params=NETWORKS)
def encoder(request: pytest.FixtureRequest) -> torch.nn.Module:
    return encoder_of(request.param)


@pytest.fixture(params=OVER_TIME)
def over_time(request: pytest.FixtureRequest) -> EventEncoder:
    found = encoder_of(request.param)
    assert isinstance(found, EventEncoder)
    return found


@pytest.fixture
def stream() -> Stream:
    """Seven cases; the last has nothing, the one before a single value, and the third lacks a channel."""
    rng = np.random.default_rng(0)
    mean, std = np.array(STATISTICS.mean), np.array(STATISTICS.std)
    values = mean + std * rng.normal(size=(CASES, TIMES, 4))
    values[..., 2] = rng.integers(0, len(RHYTHMS), (CASES, TIMES))
    observed = rng.random(values.shape) < 0.5
    observed[:, rng.permutation(TIMES)[:3]] = False
    observed[2, :, 1] = False
    observed[5:] = False
    observed[5, 4, 0] = True
    hours = np.sort(-rng.uniform(0.1, 48, (CASES, TIMES)), 1) * observed.any(2)
    return Stream(
        torch.tensor(values * observed, dtype=torch.float32),
        torch.tensor(observed),
        torch.tensor(hours, dtype=torch.float32),
    )


def same(one: Tokens, other: Tokens, atol: float = 1e-5) -> None:
    assert torch.equal(one.present, other.present)
    torch.testing.assert_close(one.values, other.values, atol=atol, rtol=0)


@torch.no_grad()
def test_tokens_are_there_where_something_was_observed(encoder: torch.nn.Module, stream: Stream) -> None:
    tokens = encoder(stream)
    assert tokens.values.shape == (*tokens.present.shape, WIDTH)
    assert tokens.present.any(1).tolist() == [True] * 6 + [False]
    assert not bool(tokens.values[~tokens.present].any())
    assert bool(torch.isfinite(tokens.values).all())
    assert not torch.allclose(tokens.values[0], tokens.values[1], atol=1e-3)


@torch.no_grad()
def test_what_lies_where_nothing_was_observed_is_never_read(encoder: torch.nn.Module, stream: Stream) -> None:
    values = torch.where(stream.observed, stream.values, torch.tensor(float("nan")))
    hours = torch.where(stream.observed_times, stream.hours, torch.tensor(-777.0))
    same(encoder(Stream(values, stream.observed, hours)), encoder(stream), atol=0)


@torch.no_grad()
def test_padding_at_the_end_and_in_the_middle_changes_nothing(encoder: torch.nn.Module, stream: Stream) -> None:
    place = torch.tensor([0, 1, 2, 5, 6, 9, 10, 11, 12, 15, 16, 17])
    wider = Stream(torch.zeros(CASES, 20, 4), torch.zeros(CASES, 20, 4, dtype=torch.bool), torch.zeros(CASES, 20))
    wider.values[:, place], wider.observed[:, place], wider.hours[:, place] = (
        stream.values, stream.observed, stream.hours,
    )  # fmt: skip
    same(encoder(wider), encoder(stream))


@torch.no_grad()
def test_a_hidden_time_is_as_one_that_never_was(encoder: torch.nn.Module, stream: Stream) -> None:
    keep = torch.arange(TIMES) % 3 != 1
    without = Stream(stream.values[:, keep], stream.observed[:, keep], stream.hours[:, keep])
    hidden = encoder(stream.masked(keep[None]))
    same(hidden, encoder(without))
    assert not torch.allclose(hidden.values[:5], encoder(stream).values[:5], atol=1e-3)


@torch.no_grad()
def test_a_series_reads_the_same_alone_as_in_company(encoder: torch.nn.Module, stream: Stream) -> None:
    together = encoder(stream)
    for case in range(CASES):
        alone = encoder(stream.rows(torch.tensor([case])))
        same(alone, Tokens(together.values[case : case + 1], together.present[case : case + 1]))


@torch.no_grad()
def test_a_series_reads_when_and_not_in_which_order(encoder: torch.nn.Module, stream: Stream) -> None:
    turned = Stream(stream.values.flip(1), stream.observed.flip(1), stream.hours.flip(1))
    same(encoder(turned), encoder(stream))
    earlier = replace(stream, hours=(stream.hours - 30) * stream.observed_times)
    assert not torch.allclose(encoder(earlier).values[:6], encoder(stream).values[:6], atol=1e-3)


@torch.no_grad()
def test_levels_are_not_numbers(encoder: torch.nn.Module, stream: Stream) -> None:
    """As numbers clipped to ±5, the levels 6 and 7 would be one."""
    tokens = []
    for level in (6.0, 7.0, 0.0):
        values = stream.values.clone()
        values[..., 2] = level * stream.observed[..., 2]
        tokens.append(encoder(replace(stream, values=values)).values[:5])
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert bool(((tokens[one] - tokens[other]).abs().amax((1, 2)) > 1e-3).all())


def test_every_weight_is_of_use(encoder: torch.nn.Module, stream: Stream) -> None:
    weight = torch.linspace(-1, 1, WIDTH)
    (encoder(stream).values * weight).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
        assert bool(parameter.grad.any()), name


@torch.no_grad()
def test_a_later_value_does_not_change_an_earlier_state(over_time: EventEncoder, stream: Stream) -> None:
    full = replace(stream, observed=torch.ones_like(stream.observed), hours=-torch.arange(TIMES).flip(0).expand(7, -1))
    full = replace(full, hours=full.hours.float(), values=full.values.abs() % 8)
    values = full.values.clone()
    values[:, 8] += 1
    before, after = over_time.states(full), over_time.states(replace(full, values=values))
    assert not torch.allclose(before[:, 8:], after[:, 8:], atol=1e-3)
    causal = torch.allclose(before[:, :8], after[:, :8], atol=1e-6)
    assert causal == (not isinstance(over_time.network, EventTransformer))


def test_gru_d_is_the_papers() -> None:
    """Against a loop over cases, times and columns, with delta of eq. 2 carried from time to time."""
    rng = np.random.default_rng(3)
    columns, size, times = 3, 5, 9
    x, m = rng.normal(size=(2, times, columns)), rng.random((2, times, columns)) < 0.4
    s = np.cumsum(rng.exponential(4, (2, times)), 1) - 60
    with seeded(1):
        cell = GruD(columns, size)
        with torch.no_grad():
            for parameter in cell.parameters():
                parameter.copy_(0.4 * torch.randn_like(parameter))
    p = {name: tensor.detach().double().numpy() for name, tensor in cell.named_parameters()}
    w, b = np.split(p["enter.weight"], 3), np.split(p["enter.bias"], 3)
    u = [*np.split(p["gates.weight"], 2), p["candidate.weight"]]
    expected = np.zeros((2, times, size))
    for case in range(2):
        h, delta, last = np.zeros(size), np.zeros(columns), np.zeros(columns)
        for t in range(times):
            entered = np.zeros(columns)
            for d in range(columns):
                if t > 0:
                    gap = s[case, t] - s[case, t - 1]
                    delta[d] = gap if m[case, t - 1, d] else gap + delta[d]
                gamma = math.exp(-max(0.0, p["input_decay"][d] * delta[d] + p["input_decay_bias"][d]))
                entered[d] = x[case, t, d] if m[case, t, d] else gamma * last[d]  # + (1 - gamma) * a mean of 0
                if m[case, t, d]:
                    last[d] = x[case, t, d]
            h = np.exp(-np.maximum(0, p["state_decay.weight"] @ delta + p["state_decay.bias"])) * h
            seen = np.concatenate([entered, m[case, t]])
            z, r = (1 / (1 + np.exp(-(w[i] @ seen + u[i] @ h + b[i]))) for i in range(2))
            h = (1 - z) * h + z * np.tanh(w[2] @ seen + u[2] @ (r * h) + b[2])
            expected[case, t] = h
    mask = torch.tensor(m)
    events = Events(torch.tensor(x) * mask, mask, torch.tensor(s), torch.ones(2, times, dtype=torch.bool))
    np.testing.assert_allclose(cell.double()(events).detach().numpy(), expected, atol=1e-12)


@torch.no_grad()
def test_what_gru_d_saw_long_ago_has_faded() -> None:
    with seeded(0):
        cell = GruD(1, WIDTH)
    observed = torch.tensor([[[True], [False]]]).expand(2, -1, -1)
    events = Events(
        torch.tensor([[[3.0], [0.0]], [[-3.0], [0.0]]]), observed, torch.tensor([[-1e8, 0.0]] * 2),
        torch.ones(2, 2, dtype=torch.bool),
    )  # fmt: skip
    states = cell(events)
    assert not torch.allclose(states[0, 0], states[1, 0], atol=0.1)
    torch.testing.assert_close(states[0, 1], states[1, 1], atol=1e-6, rtol=0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), times=st.integers(1, 9), share=st.floats(0.05, 1))
def test_events_know_the_latest_value_and_how_old_it_is(seed: int, times: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    statistics = StreamStatistics("series", times, (2,), names=("a", "b"), mean=(0.0, 0.0), std=(1.0, 1.0))
    values = rng.normal(size=(3, times, 2)).astype(np.float32)
    observed = rng.random(values.shape) < share
    hours = -rng.permutation(np.arange(3 * times)).reshape(3, times).astype(np.float32)
    events = ToEvents(statistics)(Stream(torch.tensor(values), torch.tensor(observed), torch.tensor(hours)))
    latest, since = events.before()
    assert events.values.shape[1] == max(observed.any(2).sum(1).max(), 1)
    for case in range(3):
        order = [t for t in np.argsort(hours[case]) if observed[case, t].any()]
        assert events.there[case].sum() == len(order)
        for place, t in enumerate(order):
            assert events.hours[case, place] == hours[case, t]
            for channel in range(2):
                earlier = [e for e in order[:place] if observed[case, e, channel]]
                value = np.clip(values[case, earlier[-1], channel], -5, 5) if earlier else 0.0
                start = hours[case, earlier[-1] if earlier else order[0]]
                assert latest[case, place, channel] == value
                assert since[case, place, channel] == hours[case, t] - start


@pytest.mark.parametrize(("layers", "sees"), [(1, 5), (2, 13), (3, 29)])
@torch.no_grad()
def test_a_tcn_sees_as_far_back_as_its_blocks_reach(layers: int, sees: int) -> None:
    with seeded(2):
        network = Tcn(1, 8, layers, dropout=0.0)
    moved = []
    times = 40
    for at in range(times):
        values = torch.zeros(1, times, 1)
        values[0, at] = 5.0
        ones = torch.ones(1, times, 1, dtype=torch.bool)
        moved.append(network(Events(values, ones, torch.arange(-40.0, 0)[None], ones[..., 0]))[0, -1])
    nothing = moved[0]
    assert [bool((state != nothing).any()) for state in moved] == [False] * (times - sees) + [True] * sees
    assert enough_layers(sees) == layers
    assert enough_layers(sees + 1) == layers + 1


def test_time_is_a_line_and_waves() -> None:
    with seeded(0):
        embedding = Time2Vec(6)
    hours = torch.tensor([-30.0, -0.5, 0.0])
    w, phase = embedding.frequency.detach().numpy(), embedding.phase.detach().numpy()
    expected = [[w[0] * t + phase[0], *(math.sin(w[i] * t + phase[i]) for i in range(1, 6))] for t in hours.tolist()]
    np.testing.assert_allclose(embedding(hours).detach().numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(2 * np.pi / w[1:], np.geomspace(0.5, 768, 5), rtol=1e-5)


@pytest.mark.parametrize("network", OVER_TIME)
def test_it_learns_whether_something_rose_or_fell(network: str) -> None:
    """The last value less the one before; times and levels say nothing."""
    rng = np.random.default_rng(0)
    statistics = StreamStatistics("series", 6, (1,), names=("a",), mean=(0.0,), std=(1.0,))
    values = torch.tensor(rng.normal(size=(256, 6, 1)), dtype=torch.float32)
    there = torch.arange(6) < torch.tensor(rng.integers(2, 7, 256))[:, None]
    hours = torch.arange(-6.0, 0).expand(256, -1) * there
    stream = Stream(values * there[..., None], there[..., None], hours)
    last = there.sum(1) - 1
    rows = torch.arange(256)
    target = (values[rows, last, 0] > values[rows, last - 1, 0]).float()
    with seeded(0):
        encoder = encoder_of(network, statistics, **({} if network == "gru-d" else {"layers": 2})).train()
        head = torch.nn.Linear(WIDTH, 1)
        optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=0.01)
        for _ in range(80):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                head(encoder(stream.rows(rows[:192])).mean())[:, 0], target[:192]
            )
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    with torch.no_grad():
        said = head(encoder.eval()(stream.rows(rows[192:])).mean())[:, 0] > 0
    assert float((said == (target[192:] > 0)).float().mean()) > 0.85


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"network": "gru"}, "series encoder: expected one of set, gru-d, lstm, tcn, transformer, got 'gru'"),
        ({"network": "gru-d", "layers": 2}, "encoder.layers: expected 1 for gru-d, got 2"),
        ({"network": "transformer", "heads": 5}, "encoder.heads 5: expected a divisor of model.width 16"),
    ],
)
def test_an_encoder_that_cannot_be_built_says_what_was_expected(config: dict[str, object], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        build_encoder(EncoderConfig.model_validate(config), STATISTICS, WIDTH, 0.1)


def test_without_settings_it_is_a_set_and_its_weights_are_named_as_ever() -> None:
    """Models that were kept before series had other networks can still be opened."""
    plain = replace(STATISTICS, levels={})
    names = set(encoder_of("default", plain).state_dict())
    assert names == set(encoder_of("set", plain).state_dict())
    assert names == {
        "standardise.mean", "standardise.std", "frequency", "weight", "bias", "time.weight", "time.bias",
        "element.1.weight", "element.1.bias", "pool.score.0.weight", "pool.score.0.bias", "pool.score.2.weight",
        "pool.score.2.bias", "out.0.weight", "out.0.bias", "name",
    }  # fmt: skip
