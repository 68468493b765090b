"""Vectors computed elsewhere come in as a wide table, as docs/encoders.md says, and are read as one token."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from ingest.align.build import align
from ingest.batch import Stream
from ingest.cohort import Cohort, open_cohort
from ingest.mapping.propose import propose_mapping
from ingest.run import ingest
from ingest.statistics import StreamStatistics
from ingest.store import Observations
from ingest.task import parse_task
from ingest.workspace import create_workspace
from models.config import EncoderConfig, model_config
from models.encoders import build_encoder
from models.encoders.outside import VectorEncoder
from models.encoders.tokens import Tokens
from models.training.weights import seeded

PAGE = Path(__file__).parents[3] / "docs" / "encoders.md"
SIZE, SUBJECTS, WIDTH = 256, 60, 16


@dataclass(frozen=True)
class Delivered:
    """What was sent, (subjects, SIZE) with nan where a cell was empty, and what became of it."""

    vectors: np.ndarray
    cohort: Cohort


def from_the_page() -> tuple[dict[str, Any], dict[str, Any]]:
    """(the mapping, the task) of docs/encoders.md, with their first column alone."""
    section = PAGE.read_text(encoding="utf-8").split("## Features from outside")[1]
    mapping, task = (yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", section, re.M | re.S))
    return mapping, task


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Delivered:
    """The page's example, done: every eighth patient has no vector, and one has half of one."""
    folder = tmp_path_factory.mktemp("outside")
    delivery = folder / "delivery"
    delivery.mkdir()
    rng = np.random.default_rng(0)
    vectors = rng.normal(2, 3, (SUBJECTS, SIZE)).round(5)
    vectors[::8] = np.nan
    vectors[1, SIZE // 2 :] = np.nan
    names = [f"emb_{i}" for i in range(SIZE)]
    write(delivery / "embeddings.csv", ["patient_no", "taken", "released", *names], [
        [f"P{i}", "2024-03-01T05:00:00Z", "2024-03-01T06:00:00Z", *("" if np.isnan(v) else f"{v}" for v in row)]
        for i, row in enumerate(vectors) if i % 8
    ])  # fmt: skip
    write(delivery / "stays.csv", ["patient_no", "admitted", "died"], [
        [f"P{i}", "2024-03-01T00:00:00Z", "2024-03-02T10:00:00Z" if i % 3 == 0 else ""] for i in range(SUBJECTS)
    ])  # fmt: skip
    mapping, task = from_the_page()
    proposed = yaml.safe_load(propose_mapping(delivery / "embeddings.csv"))["files"][0]
    shown = mapping["files"][0]
    assert {**proposed, "columns": proposed["columns"][:1]} == shown
    mapping["files"][0] = proposed
    (folder / "mapping.yaml").write_text(yaml.safe_dump(mapping))
    shown = task["streams"]["embedding"]["features"]
    features = [{"name": name, "codes": [f"EMBEDDINGS//{name}"]} for name in names]
    assert features[:1] == shown
    task["streams"]["embedding"]["features"] = features
    workspace = create_workspace(folder / "workspace")
    account = ingest(workspace, [delivery], mapping=folder / "mapping.yaml")
    assert account.total.refused == 0
    align(Observations(workspace), parse_task(task, "encoders.md"), folder / "cohort")
    return Delivered(vectors, open_cohort(folder / "cohort"))


def write(path: Path, names: list[str], rows: list[list[str]]) -> None:
    path.write_text("\n".join(",".join(row) for row in [names, *rows]) + "\n")


def test_a_wide_table_becomes_a_vector_per_case_in_its_order(delivered: Delivered) -> None:
    cohort = delivered.cohort
    stream = cohort.batch(np.arange(SUBJECTS)).streams["embedding"]
    assert stream.values.shape == (SUBJECTS, SIZE)
    found = np.where(stream.observed, stream.values, np.nan)
    sent = delivered.vectors.astype(np.float32)
    # Cases are in the order of pseudonyms: compare as sets of rows.
    order, expected = (np.lexsort(rows.T[::-1]) for rows in (found, sent))
    np.testing.assert_array_equal(found[order], sent[expected])
    assert set(stream.hours[stream.observed].tolist()) == {-7.0}
    assert (~stream.present).sum() == len(range(0, SUBJECTS, 8))


def test_the_network_of_the_pages_task_reads_it_as_one_token(delivered: Delivered) -> None:
    cohort = delivered.cohort
    config = model_config(cohort.task, {"width": WIDTH, "members": 2})
    with seeded(0):
        encoder = build_encoder(config.encoders["embedding"], cohort.statistics.streams["embedding"], WIDTH, 0.1)
    assert isinstance(encoder, VectorEncoder)
    stream = cohort.batch(np.arange(SUBJECTS)).streams["embedding"]
    tokens: Tokens = encoder.eval()(stream)
    assert tokens.values.shape == (SUBJECTS, 1, WIDTH)
    assert torch.equal(tokens.present[:, 0], stream.present)
    assert bool(torch.isfinite(tokens.values).all())
    half = stream.masked(torch.arange(SIZE)[None] < 100)
    assert torch.equal(encoder(half).present, tokens.present)
    assert not torch.allclose(encoder(half).values[tokens.present], tokens.values[tokens.present], atol=1e-2)


def vector(layers: int = 1, size: int = 5) -> tuple[VectorEncoder, StreamStatistics]:
    names = tuple(f"emb_{i}" for i in range(size))
    statistics = StreamStatistics("table", size, (), names, mean=(1.0,) * size, std=(2.0,) * size)
    with seeded(0):
        encoder = build_encoder(EncoderConfig(network="vector", layers=layers), statistics, WIDTH, 0.2).eval()
    assert isinstance(encoder, VectorEncoder)
    return encoder, statistics


@torch.no_grad()
def test_its_token_is_linear_in_the_z_scores_and_the_share_that_is_there() -> None:
    encoder, _ = vector()
    values = np.array([[3.0, -1.0, 40.0, 0.0, 1.0], [2.0, 7.0, 0.0, 0.0, 0.0], [0.0] * 5])
    observed = np.array([[True] * 5, [True, True, False, False, False], [False] * 5])
    weight, bias = (encoder.out.get_parameter(name).numpy() for name in ("weight", "bias"))
    z = np.clip((values - 1) / 2, -5, 5) * observed
    expected = z @ weight[:, :5].T + observed.mean(1, keepdims=True) * weight[:, 5] + bias
    expected[2] = 0
    rubbish = np.where(observed, values, np.nan)
    tokens: Tokens = encoder(Stream(torch.tensor(rubbish).float(), torch.tensor(observed), torch.zeros(3, 5)))
    np.testing.assert_allclose(tokens.values[:, 0].numpy(), expected, atol=1e-5)
    assert tokens.present[:, 0].tolist() == [True, True, False]


@pytest.mark.parametrize("layers", [1, 3])
def test_layers_count_linear_ones_and_all_of_them_learn(layers: int) -> None:
    encoder, _ = vector(layers)
    assert sum(isinstance(module, torch.nn.Linear) for module in encoder.modules()) == layers
    stream = Stream(torch.randn(9, 5), torch.ones(9, 5, dtype=torch.bool), torch.zeros(9, 5))
    encoder.train()(stream).values.square().sum().backward()
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in encoder.parameters())
