"""The search space holds only what can be built together, and always what the task says itself."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.cohort import Cohort
from ingest.errors import TaskError
from models.config import FusionConfig, model_config
from models.encoders import build_encoder
from models.encoders.audio import AUDIO_NETWORKS
from models.encoders.image_networks import IMAGE_NETWORKS
from models.encoders.series import EVENT_NETWORKS
from models.encoders.table import TABLE_NETWORKS
from models.encoders.text import TEXT_NETWORKS
from models.encoders.tokens import Tokens
from models.fusions import FUSIONS
from models.network import LATE, build_network
from models.training.weights import seeded
from models.tune.overlay import laid_over
from models.tune.space import LEFT_OUT, NETWORKS, OF_FUSIONS, Space, build_space

REGISTRIES = {
    "table": TABLE_NETWORKS,
    "series": ("set", *EVENT_NETWORKS),
    "image": IMAGE_NETWORKS,
    "text": TEXT_NETWORKS,
    "audio": AUDIO_NETWORKS,
}


@pytest.fixture(scope="module")
def cohort(synthetic_cohort: Callable[..., Cohort]) -> Cohort:
    return synthetic_cohort(n=40)


@pytest.fixture(scope="module")
def space(cohort: Cohort) -> Space:
    return build_space(cohort)


def with_task(cohort: Cohort, model: dict[str, Any], **encoders: dict[str, Any]) -> Cohort:
    streams = {
        name: spec.model_copy(update={"encoder": encoders.get(name, {})}) for name, spec in cohort.task.streams.items()
    }
    return replace(cohort, task=cohort.task.model_copy(update={"model": model, "streams": streams}))


@pytest.mark.parametrize("kind", list(NETWORKS))
def test_every_network_of_a_registry_is_tried_or_left_out_for_a_reason(kind: str) -> None:
    assert set(NETWORKS[kind]) | set(LEFT_OUT.get(kind, {})) == set(REGISTRIES[kind])
    assert not set(NETWORKS[kind]) & set(LEFT_OUT.get(kind, {}))


@pytest.mark.parametrize("name", ["record", "vitals", "xray", "notes", "sound"])
def test_the_first_of_a_kind_is_its_default(cohort: Cohort, name: str) -> None:
    statistics = cohort.statistics.streams[name]
    config = model_config(cohort.task).encoders[name]
    default, first = (
        build_encoder(config.model_copy(update={"network": network}), statistics, 16, 0.1).state_dict()
        for network in ("default", NETWORKS[statistics.kind][0])
    )
    assert {k: v.shape for k, v in default.items()} == {k: v.shape for k, v in first.items()}


def test_what_the_task_says_is_among_the_choices_and_comes_first(cohort: Cohort) -> None:
    odd = {"width": 40, "dropout": 0.33, "fusion": {"kind": "dense", "heads": 5, "growth": 7},
           "training": {"learning_rate": 0.0123}}  # fmt: skip
    mine = with_task(cohort, odd, vitals={"network": "lstm", "layers": 2})
    space = build_space(mine)
    own = space.own_choice()
    assert all(values[0] == space.own[name] for name, values in space.choices.items())
    assert model_config(laid_over(mine.task, space.overlay(own))) == model_config(mine.task)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_chosen_can_be_built_and_run(cohort: Cohort, space: Space, data: st.DataObject) -> None:
    chosen = space.choose(lambda name, values: data.draw(st.sampled_from(values), label=name))
    task = laid_over(cohort.task, space.overlay(chosen))
    config = model_config(task, {"members": 2, "experts": ()})
    for name, value in chosen.items():
        if name.startswith("encoder."):
            assert config.encoders[name.split(".")[1]].network == value
    network = build_network(config, cohort.statistics, task).eval()
    with torch.inference_mode():
        logits = network(cohort.batch([0, 1, 2]).streams)
    assert logits.shape == (3, 2, 1)
    assert bool(logits.isfinite().all())


@pytest.mark.parametrize("kind", [*FUSIONS, *LATE])
def test_a_setting_is_offered_to_the_fusions_that_have_it_and_to_no_other(space: Space, kind: str) -> None:
    def fusion(**changed: Any) -> tuple[Any, torch.Tensor | None]:
        if kind in LATE:
            return None, None
        with seeded(3):
            made = FUSIONS[kind](FusionConfig(kind=kind, **changed), 16, 2, 2, 0.0).eval()
            tokens = [Tokens(torch.randn(4, 3, 16), torch.ones(4, 3, dtype=torch.bool)) for _ in range(2)]
        with torch.inference_mode():
            return {k: v.shape for k, v in made.state_dict().items()}, made(tokens)

    chosen = space.choose(lambda name, values: kind if name == "fusion.kind" else values[0])
    for key, (having, values) in OF_FUSIONS.items():
        shapes, said = fusion()
        matters = False
        for value in values:
            other_shapes, other = fusion(**{key: value})
            matters = matters or shapes != other_shapes or (said is not None and not torch.equal(said, other))  # type: ignore[arg-type]
        assert matters == (kind in having) == (f"fusion.{key}" in chosen)


def test_every_head_divides_every_width(cohort: Cohort) -> None:
    for width, heads in ((16, 2), (48, 4), (20, 5), (36, 3)):
        space = build_space(with_task(cohort, {"width": width, "fusion": {"heads": heads}}))
        for w in space.choices.get("width", (width,)):
            assert all(int(w) % int(h) == 0 for h in space.choices.get("fusion.heads", (heads,))), (width, heads)


def test_a_network_that_does_not_take_the_stream_is_not_offered(
    cohort: Cohort, synthetic_cohort: Callable[..., Cohort]
) -> None:
    space = build_space(cohort)
    assert "vector" not in space.choices["encoder.record.network"]  # it has features with levels
    assert "mlp-plr" in space.choices["encoder.record.network"]
    odd = build_space(with_task(cohort, {"width": 18, "fusion": {"heads": 3}}))
    assert "ft-transformer" not in odd.choices["encoder.record.network"]  # 4 heads of its own do not divide 18


def test_weights_from_elsewhere_keep_their_network(cohort: Cohort) -> None:
    frozen = with_task(cohort, {}, xray={"network": "resnet10", "frozen": True}, sound={"lora_rank": 2})
    space = build_space(frozen)
    assert not {"encoder.xray.network", "encoder.sound.network"} & set(space.choices)
    assert "encoder.notes.network" in space.choices


def test_another_network_has_its_own_number_of_layers(cohort: Cohort) -> None:
    mine = with_task(cohort, {}, vitals={"network": "lstm", "layers": 3})
    space = build_space(mine)
    for network, layers in (("lstm", 3), ("gru-d", None)):
        chosen = {**space.own_choice(), "encoder.vitals.network": network}
        config = model_config(laid_over(mine.task, space.overlay(chosen)))
        assert (config.encoders["vitals"].network, config.encoders["vitals"].layers) == (network, layers)


def test_without_encoders_all_that_they_are_trained_with_stays(cohort: Cohort) -> None:
    space = build_space(cohort, encoders=False)
    assert space.encoding == frozenset()
    assert all(name.startswith("fusion.") or name == "training.fusion_learning_rate" for name in space.choices)


def test_only_the_tasks_own_fusion_those_asked_for_and_their_settings(cohort: Cohort) -> None:
    space = build_space(with_task(cohort, {"fusion": {"kind": "gated"}}), ["sum", "bilinear", "sum"])
    assert space.choices["fusion.kind"] == ("gated", "sum", "bilinear")
    assert {name for name in space.choices if name.startswith("fusion.")} == {"fusion.kind", "fusion.rank"}
    assert space.own_choice()["fusion.kind"] == "gated"


@pytest.mark.parametrize(("fusions", "named"), [(["sum", "sums"], "sums"), ([], "none")])
def test_an_unknown_fusion_is_named(cohort: Cohort, fusions: list[str], named: str) -> None:
    with pytest.raises(TaskError, match=rf"--fusions: expected some of attention, .*product-of-experts, got {named}$"):
        build_space(cohort, fusions)


def test_a_model_of_one_stream_has_no_fusion_to_choose(cohort: Cohort) -> None:
    one = replace(cohort.statistics, streams={"notes": cohort.statistics.streams["notes"]})
    task = cohort.task.model_copy(update={"streams": {"notes": cohort.task.streams["notes"]}})
    space = build_space(replace(cohort, task=task, statistics=one))
    assert not [name for name in space.choices if "fusion" in name]
    assert space.encoding == set(space.choices)
