"""Encoders trained alone, kept between trials: they do not know the fusion, so many fusions can be tried on them."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ingest.cohort import Cohort
from ingest.errors import ModelError
from ingest.files import replacing_folder
from ingest.statistics import Statistics
from models.config import FusionConfig, ModelConfig, TrainingConfig
from models.encoders.backbone import fixed_keys
from models.training.run import Epoch, Run

WARMUP_EPOCHS = 4  # in which nothing is given up
RIVALS_AT_LEAST = 4

State = dict[str, torch.Tensor]


class Hopeless(Exception):  # noqa: N818  # not an error: a trial that is given up
    """A trial that is no better than most others were at this point."""


@dataclass(frozen=True)
class Kept:
    """A stream's encoder as its training alone left it. losses: on the validation split after each epoch."""

    state: State
    losses: tuple[float, ...]


class AloneEncoders:
    """Trains the encoders of configurations, each stream by itself, and keeps them in a folder.

    One that was trained with the same settings, seed and cases is taken from there; one whose training was stopped
    goes on. splits: train and validation → rows of the cohort.
    """

    def __init__(self, cohort: Cohort, splits: Mapping[str, np.ndarray], folder: Path, seed: int) -> None:
        self.cohort, self.splits, self.folder, self.seed = cohort, splits, folder, seed
        self.cases = digest_of_cases(cohort, splits)

    def state(
        self,
        config: ModelConfig,
        rivals: Mapping[str, Sequence[str]],
        on_epoch: Callable[[str, Epoch], None] | None = None,
    ) -> State:
        """The weights of all encoders, and of what reads each alone, by their names in the network.

        rivals: stream → keys of what earlier trials took; a training that does worse than most of them is given up.
        on_epoch hears the stream too. Raises Hopeless.
        """
        found: State = {}
        for name in self.cohort.stream_names:
            others = [self._read(name, key) for key in rivals.get(name, ())]
            kept = self._read(name, self.key(config, name))
            if kept is None:
                kept = self._train(config, name, [other.losses for other in others if other is not None], on_epoch)
            found.update(kept.state)
        return found

    def key(self, config: ModelConfig, name: str) -> str:
        """Twelve hexadecimal digits that stand for how a stream's encoder is trained."""
        said = [_of_one(config, name).model_dump(mode="json"), self._statistics(name).to_json(), self.seed, self.cases]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]

    def _train(
        self,
        config: ModelConfig,
        name: str,
        rivals: Sequence[Sequence[float]],
        on_epoch: Callable[[str, Epoch], None] | None,
    ) -> Kept:
        def heard(epoch: Epoch) -> None:
            if on_epoch is not None:
                on_epoch(name, epoch)
            losses = [past.validation_loss for past in run.history]
            if is_hopeless(losses, rivals):
                raise Hopeless(f"{name} alone, epoch {epoch.number}: {min(losses):.4f}")

        key = self.key(config, name)
        run = Run(
            self.cohort, _of_one(config, name), self._statistics(name), self.splits, self.seed,
            self.folder / f"{name}-{key}.run", heard,
        )  # fmt: skip
        try:
            run.fit(None)
        except Hopeless:
            shutil.rmtree(self.folder / f"{name}-{key}.run", ignore_errors=True)
            raise
        fixed = fixed_keys(run.network)
        mine = (f"encoders.{name}.", f"alone.{name}.")
        state = {k: v for k, v in run.network.state_dict().items() if k.startswith(mine) and k not in fixed}
        kept = Kept(state, tuple(epoch.validation_loss for epoch in run.history))
        self._write(name, key, kept)
        return kept

    def _statistics(self, name: str) -> Statistics:
        whole = self.cohort.statistics
        return Statistics({name: whole.streams[name]}, whole.cases, whole.prevalence)

    def _write(self, name: str, key: str, kept: Kept) -> None:
        from safetensors.torch import save_file

        with replacing_folder(self.folder / f"{name}-{key}") as temporary:
            state = {k: v.detach().cpu().contiguous().clone() for k, v in kept.state.items()}
            save_file(state, temporary / "encoder.safetensors")
            (temporary / "losses.json").write_text(json.dumps(list(kept.losses)), encoding="utf-8")
        shutil.rmtree(self.folder / f"{name}-{key}.run", ignore_errors=True)

    def _read(self, name: str, key: str) -> Kept | None:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        folder = self.folder / f"{name}-{key}"
        if not (folder / "losses.json").is_file():
            return None
        try:
            losses = json.loads((folder / "losses.json").read_text(encoding="utf-8"))
            return Kept(load_file(folder / "encoder.safetensors"), tuple(losses))
        except (SafetensorError, ValueError, OSError) as error:
            raise ModelError(f"{folder}: expected an encoder, got {error}; remove it to train it anew") from None


def is_hopeless(losses: Sequence[float], rivals: Sequence[Sequence[float]]) -> bool:
    """Whether the best loss so far is above the median of the rivals' best ones after as many epochs.

    The median stopping rule (Golovin et al. 2017, "Google Vizier", sec. 3.2.2), after WARMUP_EPOCHS and where there
    are RIVALS_AT_LEAST.
    """
    others = [min(losses_of[: len(losses)]) for losses_of in rivals if losses_of]
    if len(losses) <= WARMUP_EPOCHS or len(others) < RIVALS_AT_LEAST:
        return False
    return min(losses) > float(np.median(others))


def digest_of_cases(cohort: Cohort, splits: Mapping[str, np.ndarray]) -> str:
    """Twelve hexadecimal digits that stand for who is trained and judged on, and their outcomes."""
    digest = hashlib.sha256()
    for split, rows in sorted(splits.items()):
        digest.update(split.encode())
        digest.update("\n".join(cohort.index["case_id"].to_numpy(str)[rows]).encode())
        digest.update(np.ascontiguousarray(cohort.outcome[rows]).tobytes())
    return digest.hexdigest()[:12]


def _of_one(config: ModelConfig, name: str) -> ModelConfig:
    """The configuration without all that an encoder trained alone does not know: the fusion and the other streams."""
    usual = TrainingConfig()
    keys = ("scheme", "epochs", "fusion_learning_rate", "fine_tune_epochs", "fine_tune_learning_rate")
    training = config.training.model_copy(update={key: getattr(usual, key) for key in keys})
    return config.model_copy(
        update={
            "members": 1,
            "evidence": "sum",
            "experts": (),
            "fusion": FusionConfig(kind="product-of-experts", heads=1),
            "training": training,
            "encoders": {name: config.encoders[name]},
        }
    )
