"""Cohorts whose cases have a made-up report, and decoders small enough for a second."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ingest.align.report_texts import FILE, SCHEMA
from ingest.cohort import Cohort, open_cohort
from models.drafts.config import DraftConfig
from models.drafts.decoder import Decoder, Memory
from models.drafts.draft import Drafter
from models.drafts.train import DraftTraining, train_drafter
from models.drafts.vocabulary import fit_vocabulary
from models.training.train import TrainingOutcome
from models.training.weights import seeded

SMALL = {"width": 16, "layers": 1, "heads": 2, "epochs": 2, "warmup_epochs": 0, "least_reports": 1}


@pytest.fixture(scope="session")
def with_reports(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Cohort]:
    """A factory: a copy of the cohort whose cases have these texts ("" for none), of at most `max_tokens` words."""

    def make(cohort: Cohort, texts: Sequence[str], max_tokens: int = 24, **decoder: Any) -> Cohort:
        folder: Path = tmp_path_factory.mktemp("reports") / "cohort"
        shutil.copytree(cohort.folder, folder)
        task = json.loads((folder / "task.json").read_text())
        task["report"] = {"codes": ["REPORT"], "max_tokens": max_tokens, "decoder": decoder}
        (folder / "task.json").write_text(json.dumps(task))
        said = dict(zip(cohort.index["case_id"], texts, strict=True))
        for shard in cohort.index["shard"].unique():
            mine = [case for case in cohort.index["case_id"][cohort.index["shard"] == shard] if said[case]]
            columns = [pa.array(mine, pa.string()), pa.array([said[case] for case in mine], pa.large_string())]
            pq.write_table(pa.table(columns, schema=SCHEMA), folder / "shards" / f"{shard:05d}" / FILE)
        return open_cohort(folder)

    return make


@pytest.fixture(scope="session")
def reported(synthetic_cohort: Callable[..., Cohort], with_reports: Callable[..., Cohort]) -> Cohort:
    """The 160 cases that `outcome` was trained on; three of four have a report, which tells the outcome and the sex."""
    cohort = synthetic_cohort(n=160)
    female = cohort.batch(cohort.rows()).streams["record"].values[:, 1].numpy() == 0
    texts = [
        f"{'Woman' if woman else 'Man'} seen. The lungs are {'opaque at both bases' if ill else 'clear'}, CT not done."
        for woman, ill in zip(female, cohort.target == 1, strict=True)
    ]
    return with_reports(cohort, [text if n % 4 else "" for n, text in enumerate(texts)])


@pytest.fixture(scope="session")
def small() -> Callable[..., DraftConfig]:
    """A factory: the configuration of a decoder that learns in a second."""
    return lambda **changed: DraftConfig.model_validate({**SMALL, **changed})


@pytest.fixture(scope="session")
def training(outcome: TrainingOutcome, reported: Cohort, small: Callable[..., DraftConfig]) -> DraftTraining:
    """A decoder of `outcome`, trained for a second or two. Never changed by a test."""
    return train_drafter(outcome.predictor, reported, small(epochs=12, learning_rate=0.01), seed=3)


@pytest.fixture(scope="session")
def memory() -> Callable[..., Memory]:
    """A factory: a random memory of `cases` cases, 2 streams of 2 and 3 tokens of width 8 and the fused vector."""

    def make(cases: int = 3, seed: int = 0) -> Memory:
        rng = np.random.default_rng(seed)
        present = np.concatenate([rng.random((cases, 5)) < 0.7, np.ones((cases, 1), bool)], 1)
        values = rng.normal(size=(cases, 6, 8)).astype(np.float32) * present[..., None]
        return Memory(torch.from_numpy(values), torch.from_numpy(present), torch.tensor([0, 0, 1, 1, 1, 2]))

    return make


@pytest.fixture(scope="session")
def decoder(small: Callable[..., DraftConfig]) -> Callable[..., Decoder]:
    """A factory: a decoder of random weights for `memory`, sharp enough that its words differ."""

    def make(words: int = 9, max_tokens: int = 6, seed: int = 0, sharp: float = 1.0, **changed: Any) -> Decoder:
        with seeded(seed):
            made = Decoder(small(**changed), words=words, memory_width=8, streams=2, max_tokens=max_tokens).eval()
            with torch.no_grad():
                for name, parameter in made.named_parameters():
                    parameter.add_(0.3 * torch.randn_like(parameter))
                    if name in ("norm.weight", "norm.bias"):
                        parameter.mul_(sharp)
        return made

    return make


@pytest.fixture
def drafter(decoder: Callable[..., Decoder], small: Callable[..., DraftConfig]) -> Drafter:
    """A drafter of random weights with a vocabulary of five words."""
    vocabulary = fit_vocabulary(["Lungs clear, heart large."], 5)
    return Drafter("v0001", ("one", "two"), small(), vocabulary, decoder(words=len(vocabulary)), "f" * 64)
