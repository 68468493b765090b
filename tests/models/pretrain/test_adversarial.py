"""A generator learns to look real to its discriminator, whose features tell things apart that random ones do not."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from ingest.batch import Stream
from ingest.cohort import Cohort
from ingest.errors import TaskError
from ingest.statistics import StreamStatistics
from models.config import EncoderConfig, ModelConfig
from models.encoders import build_encoder
from models.encoders.image import ImageEncoder
from models.pretrain.adversarial import AdversarialFeatures
from models.pretrain.generators import NOISE, Generator, StreamGenerator
from models.pretrain.objective import Cases
from models.pretrain.pretrain import pretrain
from models.pretrain.probe import build_encoders, compare, mean_tokens
from models.pretrain.run import PretrainingRun
from models.training.weights import seeded


@pytest.mark.parametrize("shape", [[32, 32], [7, 33], [3, 3], [5, 12, 17], [250]])
def test_a_generator_fills_any_shape_within_five_standard_deviations(shape: list[int]) -> None:
    with torch.no_grad():
        made = Generator(2, shape)(torch.randn(3, NOISE) * 50)
    assert made.shape == (3, 2, *shape)
    assert 0 < float(made.abs().max()) <= 5


@pytest.mark.parametrize(("name", "leads"), [("xray", ()), ("sound", ()), ("sound", tuple("abcdefghijklmnop"))])
def test_generated_streams_are_observed_where_and_when_the_real_ones_are(
    synthetic_cohort: Callable[..., Cohort], name: str, leads: tuple[str, ...]
) -> None:
    cohort = synthetic_cohort(n=160)
    statistics = replace(cohort.statistics.streams[name], names=leads)
    stream = cohort.batch(np.arange(30), [name]).streams[name]
    keep = torch.rand(stream.observed.shape) < 0.7
    real = stream.masked(keep)
    made: Stream = StreamGenerator(statistics)(real)
    assert made.values.shape == real.values.shape
    assert torch.equal(made.observed, real.observed)
    assert torch.equal(made.hours, real.hours)
    there = real.observed.reshape(*real.observed.shape, *(1,) * (real.values.ndim - real.observed.ndim))
    assert bool((made.values[~there.expand(made.values.shape)] == 0).all())
    assert bool((made.values[there.expand(made.values.shape)] != 0).all())


def objective_of(cohort: Cohort, config: ModelConfig) -> AdversarialFeatures:
    statistics = {"sound": cohort.statistics.streams["sound"]}
    with seeded(1):
        encoders = {"sound": build_encoder(config.encoders["sound"], statistics["sound"], config.width, config.dropout)}
        return AdversarialFeatures(encoders, statistics, config.width)


def test_the_losses_are_hinges_and_the_generators_is_the_mean_score(
    synthetic_cohort: Callable[..., Cohort], tiny_config: Callable[..., ModelConfig]
) -> None:
    cohort = synthetic_cohort(n=160)
    objective = objective_of(cohort, tiny_config(cohort)).eval()
    cases = Cases.of(cohort.batch(np.arange(60), ["sound"]), torch.device("cpu"))
    real = cases.streams["sound"].rows(cases.streams["sound"].present)
    assert 0 < len(real.values) < 60
    with torch.no_grad():
        with seeded(4):
            made = objective.scores("sound", objective.generate("sound", real)).double().numpy()
        said = objective.scores("sound", real).double().numpy()
        with seeded(4):
            judged = objective.losses("discriminator", cases)["sound"]
        with seeded(4):
            fooled = objective.losses("generator", cases)["sound"]
    expected = np.maximum(0, 1 - said).mean() + np.maximum(0, 1 + made).mean()
    assert float(judged.mean) == pytest.approx(expected, rel=1e-4)
    assert float(fooled.mean) == pytest.approx(-made.mean(), rel=1e-3, abs=1e-5)
    assert int(judged.count) == len(real.values)
    apart = np.concatenate([said > 0, made <= 0]).mean()
    with seeded(4):
        assert objective.told_apart("sound", cases.streams["sound"]) == pytest.approx(apart, abs=1e-6)


def test_each_side_moves_its_own_weights_only(
    synthetic_cohort: Callable[..., Cohort], tiny_config: Callable[..., ModelConfig]
) -> None:
    cohort = synthetic_cohort(n=160)
    config = tiny_config(cohort)
    objective = objective_of(cohort, config).train()
    cases = Cases.of(cohort.batch(np.arange(60), ["sound"]), torch.device("cpu"))
    for turn, mine in (("discriminator", ("encoders.", "heads.")), ("generator", ("generators.",))):
        before = {name: p.detach().clone() for name, p in objective.named_parameters()}
        optimizer = objective.optimizer(turn, config.training)
        objective.losses(turn, cases)["sound"].mean.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        moved = {name for name, p in objective.named_parameters() if not torch.equal(p, before[name])}
        assert moved
        assert all(name.startswith(mine) for name in moved)


def test_held_back_sounds_are_told_from_generated_ones_less_well_when_the_generator_learns(
    synthetic_cohort: Callable[..., Cohort], tiny_config: Callable[..., ModelConfig]
) -> None:
    cohort = synthetic_cohort(n=240)
    config = tiny_config(cohort, warmup_epochs=0)
    rows = {split: cohort.rows(split) for split in ("train", "validation")}
    held = cohort.batch(rows["validation"], ["sound"]).streams["sound"]

    def after(epochs: int, *, learns: bool) -> float:
        objective = objective_of(cohort, config)
        if not learns:
            objective.generators.requires_grad_(False)
        judge = PretrainingRun(
            cohort, rows, objective, config.training, seed=1, epochs=epochs, batch_size=32, said={}
        )  # fmt: skip
        if not learns:
            del judge.optimizers["generator"]
        judge.fit()
        with seeded(0):
            return objective.told_apart("sound", held)

    untrained, against_nobody, in_the_game = after(0, learns=True), after(12, learns=False), after(12, learns=True)
    assert untrained < 0.7
    assert against_nobody > 0.95
    assert in_the_game < against_nobody


def test_a_table_is_refused(synthetic_cohort: Callable[..., Cohort]) -> None:
    statistics: dict[str, StreamStatistics] = dict(synthetic_cohort(n=160).statistics.streams)
    encoder = build_encoder(EncoderConfig(), statistics["record"], 16, 0.0)
    with pytest.raises(
        TaskError, match="adversarial pretraining of record: expected an image or audio stream, got a table"
    ):
        AdversarialFeatures({"record": encoder}, statistics, 16)


def test_running_statistics_are_of_real_training_images_alone(
    synthetic_cohort: Callable[..., Cohort], tiny_config: Callable[..., ModelConfig]
) -> None:
    cohort = synthetic_cohort(n=120)
    config = tiny_config(cohort)
    found = pretrain(cohort, config, "adversarial", seed=0, streams=["xray"], epochs=1)
    encoder = build_encoders(cohort, config, ["xray"], states=found.encoders)["xray"]
    assert isinstance(encoder, ImageEncoder)
    means, variances = [], []
    for batch in cohort.batches(cohort.rows("train"), config.training.batch_size, ["xray"]):
        stream = batch.streams["xray"]
        with torch.no_grad():
            seen = encoder.backbone.network.conv1(encoder.standardise(stream.values[stream.observed_times]))  # type: ignore[operator,union-attr]
        means.append(seen.mean((0, 2, 3)))
        variances.append(seen.var((0, 2, 3)))
    assert len(means) > 1
    norm = encoder.backbone.network.bn1
    torch.testing.assert_close(norm.running_mean, torch.stack(means).mean(0), rtol=1e-3, atol=1e-5)  # type: ignore[union-attr]
    torch.testing.assert_close(norm.running_var, torch.stack(variances).mean(0), rtol=1e-3, atol=1e-5)  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["adversarial", "masked"])
def test_pretrained_features_tell_a_ring_from_a_disc_where_random_ones_hardly_do(
    shapes: Cohort, tiny_config: Callable[..., ModelConfig], method: str
) -> None:
    config = tiny_config(shapes, warmup_epochs=2)
    found = pretrain(shapes, config, method, seed=0, streams=["xray"], epochs=30)
    features = {"random": None, method: found.encoders}
    tokens = {
        name: mean_tokens(shapes, build_encoders(shapes, config, ["xray"], states=states), shapes.rows())
        for name, states in features.items()
    }
    auroc = {name: np.mean(found[0.1]) for name, found in compare(shapes, tokens, shares=[0.1]).items()}
    assert auroc[method] > auroc["random"] + 0.1
    assert auroc[method] > 0.85
