"""Networks over table rows read what is observed, level by level and number by number, as their papers say."""

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
from models.encoders.columns import Columns
from models.encoders.feature_tokens import FeatureTokens, Periodic
from models.encoders.table import TABLE_NETWORKS
from models.encoders.table_networks import FtTransformer
from models.encoders.tokens import Tokens
from models.training.weights import seeded

WIDTH, CASES = 16, 6
WARDS = ("a", "b", "c", "d", "e", "f", "g", "h")
STATISTICS = StreamStatistics(
    "table", 4, (), names=("age", "ward", "weight", "lactate"), units=("",) * 4,
    mean=(60.0, 0.0, 80.0, 1.5), std=(15.0, 1.0, 14.0, 0.6), levels={"ward": WARDS},
)  # fmt: skip
WHOLE_ROW = sorted(set(TABLE_NETWORKS) - {"features", "vector"})


def encoder_of(network: str, **config: object) -> torch.nn.Module:
    with seeded(0):
        chosen = EncoderConfig.model_validate({"network": network, **config})
        return build_encoder(chosen, STATISTICS, WIDTH, 0.1).eval()


@pytest.fixture(params=["features", *WHOLE_ROW])
def encoder(request: pytest.FixtureRequest) -> torch.nn.Module:
    return encoder_of(request.param)


@pytest.fixture
def stream() -> Stream:
    """Six cases: the first has everything, the last nothing, the one before a single feature."""
    rng = np.random.default_rng(0)
    values = np.array(STATISTICS.mean) + np.array(STATISTICS.std) * rng.normal(size=(CASES, 4))
    values[:, 1] = rng.integers(0, len(WARDS), CASES)
    observed = rng.random(values.shape) < 0.6
    observed[0], observed[4:] = True, False
    observed[4, 2] = True
    return Stream(torch.tensor(values * observed).float(), torch.tensor(observed), torch.zeros(CASES, 4))


def same(one: Tokens, other: Tokens, atol: float = 1e-6) -> None:
    assert torch.equal(one.present, other.present)
    torch.testing.assert_close(one.values, other.values, atol=atol, rtol=0)


@torch.no_grad()
def test_tokens_are_there_where_something_is_observed(encoder: torch.nn.Module, stream: Stream) -> None:
    tokens = encoder(stream)
    assert tokens.values.shape == (*tokens.present.shape, WIDTH)
    assert tokens.present.any(1).tolist() == [True] * 5 + [False]
    assert not bool(tokens.values[~tokens.present].any())
    assert bool(torch.isfinite(tokens.values).all())
    assert not torch.allclose(tokens.values[0], tokens.values[1], atol=1e-3)


@torch.no_grad()
def test_what_lies_where_nothing_is_observed_is_never_read(encoder: torch.nn.Module, stream: Stream) -> None:
    rubbish = torch.tensor([float("nan"), 777.0, float("nan"), -3e8])
    same(encoder(replace(stream, values=torch.where(stream.observed, stream.values, rubbish))), encoder(stream), 0)


@torch.no_grad()
def test_a_row_reads_the_same_alone_as_in_company(encoder: torch.nn.Module, stream: Stream) -> None:
    together = encoder(stream)
    for case in range(CASES):
        alone = encoder(stream.rows(torch.tensor([case])))
        same(alone, Tokens(together.values[case : case + 1], together.present[case : case + 1]), 1e-5)


@torch.no_grad()
def test_absent_is_not_the_mean(encoder: torch.nn.Module, stream: Stream) -> None:
    row = stream.rows(torch.tensor([0]))
    at_mean = replace(row, values=torch.where(torch.arange(4) == 0, 60.0, row.values))
    hidden = row.masked(torch.arange(4)[None] != 0)
    assert not torch.allclose(encoder(at_mean).mean(), encoder(hidden).mean(), atol=1e-3)


@torch.no_grad()
def test_levels_are_not_numbers(encoder: torch.nn.Module, stream: Stream) -> None:
    row = stream.rows(torch.tensor([0]))
    said = [
        encoder(replace(row, values=torch.where(torch.arange(4) == 1, float(level), row.values))).values
        for level in range(len(WARDS))
    ]
    assert all(not torch.allclose(said[i], said[j], atol=1e-3) for i in range(len(said)) for j in range(i))


def test_every_weight_is_of_use(encoder: torch.nn.Module, stream: Stream) -> None:
    ward = torch.arange(CASES) % 2 * 5.0
    full = Stream(torch.randn(CASES, 4), torch.ones(CASES, 4, dtype=torch.bool), stream.hours)
    full.values[:, 1] = ward
    (encoder(full).values * torch.linspace(-1, 1, WIDTH)).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.any()), name


@torch.no_grad()
def test_absent_features_are_no_keys_of_the_transformer(stream: Stream) -> None:
    """What the whole row's token says is the same as if the absent features had no tokens."""
    encoder = encoder_of("ft-transformer")
    assert isinstance(encoder, FtTransformer)
    tokens = encoder(stream)
    for case in range(5):
        here = stream.observed[case]
        features = encoder.tokens(stream.values, stream.observed)[case : case + 1, here]
        alone = torch.cat([encoder.whole, features], 1)
        seen = encoder.attention(alone, torch.ones(alone.shape[:2], dtype=torch.bool))
        torch.testing.assert_close(encoder.out(seen[:, 0]), tokens.values[case], atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_linear_feature_token_is_a_bias_and_a_multiple_of_the_z_score(stream: Stream) -> None:
    with seeded(0):
        tokens = FeatureTokens(STATISTICS, WIDTH, "linear")
    found = tokens(stream.values, stream.observed).numpy()
    weight, bias = tokens.number.get_parameter("weight").numpy(), tokens.bias.numpy()
    for case, place in np.argwhere(stream.observed.numpy()):
        value = float(stream.values[case, place])
        z = np.clip((value - STATISTICS.mean[place]) / STATISTICS.std[place], -5, 5)
        said = tokens.levels.weight[int(value)].numpy() if place == 1 else z * weight[place]
        np.testing.assert_allclose(found[case, place], said + bias[place], atol=1e-6)
    assert not found[~stream.observed.numpy()].any()


@torch.no_grad()
def test_a_periodic_embedding_is_a_layer_over_sines_and_cosines() -> None:
    with seeded(0):
        embedding = Periodic(2, 3)
    p = {name: tensor.numpy() for name, tensor in embedding.named_parameters()}
    numbers = torch.tensor([[0.3, -1.2], [2.0, 0.0]])
    found = embedding(numbers).numpy()
    for case in range(2):
        for feature in range(2):
            turn = 2j * np.pi * p["frequency"][feature] * float(numbers[case, feature])
            wave = np.exp(turn)
            layer = np.concatenate([wave.imag, wave.real]) @ p["weight"][feature] + p["bias"][feature]
            np.testing.assert_allclose(found[case, feature], np.maximum(layer, 0), atol=1e-5)


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.sampled_from([0, 0, 1, 2, 5]), min_size=1, max_size=6), seed=st.integers(0, 1000)
)  # fmt: skip
def test_a_level_is_a_column_and_a_number_is_one(sizes: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = tuple(f"f{i}" for i in range(len(sizes)))
    mean = tuple(0.0 if size else 3.0 for size in sizes)
    levels = {name: tuple(map(str, range(size))) for name, size in zip(names, sizes, strict=True) if size}
    columns = Columns(
        StreamStatistics("table", len(sizes), (), names, mean=mean, std=(1.0,) * len(sizes), levels=levels)
    )
    values = np.array([[rng.integers(0, size) if size else rng.normal() for size in sizes] for _ in range(4)])
    observed = rng.random(values.shape) < 0.7
    numbers, mask = columns(torch.tensor(values).float(), torch.tensor(observed))
    expected, seen = [], []
    for place, size in enumerate(sizes):
        here = np.eye(size)[values[:, place].astype(int)] if size else np.clip(values[:, [place]] - 3, -5, 5)
        expected.append(here * observed[:, [place]])
        seen.append(np.repeat(observed[:, [place]], max(size, 1), 1))
    assert columns.count == mask.shape[1] == sum(max(size, 1) for size in sizes)
    np.testing.assert_allclose(numbers.numpy(), np.concatenate(expected, 1), atol=1e-6)
    assert np.array_equal(mask.numpy(), np.concatenate(seen, 1))


@pytest.mark.parametrize("network", WHOLE_ROW)
def test_it_learns_a_risk_that_rises_on_both_sides(network: str) -> None:
    """Both too low and too high is bad, as of a potassium; another feature decides which of the two is asked."""
    with seeded(0):
        values = torch.randn(512, 4) * torch.tensor(STATISTICS.std) + torch.tensor(STATISTICS.mean)
        values[:, 1] = torch.randint(0, 2, (512,)).float()
    z = (values[:, 0] - 60) / 15
    target = torch.where(values[:, 1] > 0, z.abs() > 0.7, z > 0).float()
    stream = Stream(values, torch.ones(512, 4, dtype=torch.bool), torch.zeros(512, 4))
    with seeded(0):
        encoder, head = encoder_of(network).train(), torch.nn.Linear(WIDTH, 1)
        optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=0.01)
        for _ in range(50):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                head(encoder(stream.rows(torch.arange(384))).values[:, 0])[:, 0], target[:384]
            )
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    with torch.no_grad():
        said = head(encoder.eval()(stream.rows(torch.arange(384, 512))).values[:, 0])[:, 0] > 0
    assert float((said == (target[384:] > 0)).float().mean()) > 0.85


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"network": "tabnet"}, "table encoder: expected one of features, ft-transformer, .*vector, got 'tabnet'"),
        ({"network": "ft-transformer", "heads": 3}, "encoder.heads 3: expected a divisor of model.width 16"),
        ({"network": "vector"}, r"vector: expected numbers alone, got features with levels \(ward\)"),
    ],
)
def test_an_encoder_that_cannot_be_built_says_what_was_expected(config: dict[str, object], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        build_encoder(EncoderConfig.model_validate(config), STATISTICS, WIDTH, 0.1)
