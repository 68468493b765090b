"""A prediction, and the predictor that makes it: network, calibration, statistics and task, never apart."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from ingest.batch import Batch
from ingest.statistics import Statistics
from ingest.task import Task
from models.config import ModelConfig
from models.encoders.tokens import Tokens
from models.network import Network
from models.trust.logits import LogitCalibration

INTERVAL_Z = 1.6449  # 90 %


@dataclass(frozen=True)
class Prediction:
    """Of B cases. risk, low, high (B,): the calibrated risk and its 90 % interval; logit, logit_std (B,) on the
    log-odds; probabilities (B, P): all that the objective predicts, by `Objective.names`; present (B, M): the streams
    it rests on; embedding (B, D): the fused vector.

    The interval holds what the model does not know: the spread of its bagged members, which saw different cases, the
    error of its calibration, and what the streams that are absent could have said. It does not hold the chance of the
    outcome itself.
    """

    risk: np.ndarray
    low: np.ndarray
    high: np.ndarray
    logit: np.ndarray
    logit_std: np.ndarray
    probabilities: np.ndarray
    present: np.ndarray
    embedding: np.ndarray


@dataclass(frozen=True)
class Predictor:
    """A trained model ready to be asked. Built by `models.store.load` or at the end of training.

    absence_variance: for each stream, the mean square by which it moved the log-odds of the validation cases that had
    it: how much wider the interval is of a case that lacks it.
    """

    version: str
    task: Task
    config: ModelConfig
    statistics: Statistics
    network: Network
    calibration: LogitCalibration
    device: torch.device
    absence_variance: Mapping[str, float] = field(default_factory=dict)

    @property
    def stream_names(self) -> list[str]:
        """The streams the model reads, in the order of every mask."""
        return self.network.stream_names

    @torch.inference_mode()
    def predict(self, batch: Batch, keep: np.ndarray | None = None) -> Prediction:
        """Risk, interval and embedding of a batch; keep (B, M) or (M,) bool limits the streams it may use."""
        tokens = self.encode(batch)
        present = torch.stack([tokens[name].present.any(1) for name in self.stream_names], 1)
        mask = None
        if keep is not None:
            mask = torch.as_tensor(keep, device=self.device).expand(len(batch), -1)
            present = present & mask
        members, fused = self.network.fuse_and_embed(tokens, mask)
        return self._prediction(members.double(), present, fused.mean(1))

    @torch.inference_mode()
    def encode(self, batch: Batch) -> dict[str, Tokens]:
        """Each stream's tokens, on the model's device. Streams the model does not read are left aside."""
        missing = [name for name in self.stream_names if name not in batch.streams]
        if missing:
            raise ValueError(f"the batch lacks the streams {missing}; absent streams are given as masks")
        return self.network.encode({name: batch.streams[name].to(self.device) for name in self.stream_names})

    @torch.inference_mode()
    def logits(self, tokens: Mapping[str, Tokens], keep: torch.Tensor | None = None) -> torch.Tensor:
        """(B,) float64: the calibrated log-odds from tokens, with only the streams that keep (B, M) allows."""
        members = self.network.fuse(tokens, keep).double()
        return self.network.meaning.risk_logit(self.calibration.apply(members.mean(1)))

    def _prediction(self, members: torch.Tensor, present: torch.Tensor, embedding: torch.Tensor) -> Prediction:
        objective = self.network.meaning
        raw = members.mean(1)
        calibrated = self.calibration.apply(raw)
        logit = objective.risk_logit(calibrated).cpu().numpy()
        each = objective.risk_logit(self.calibration.apply(members)).cpu().numpy()
        spread = each.std(1, ddof=1) if each.shape[1] > 1 else np.zeros_like(logit)
        variance = spread**2 + self.calibration.risk_variance(objective, raw)
        unsaid = np.array([self.absence_variance.get(name, 0.0) for name in self.stream_names])
        there = present.cpu().numpy()
        std = np.sqrt(variance + (~there) @ unsaid)
        return Prediction(
            risk=expit(logit),
            low=expit(logit - INTERVAL_Z * std),
            high=expit(logit + INTERVAL_Z * std),
            logit=logit,
            logit_std=std,
            probabilities=objective.probabilities(calibrated).float().cpu().numpy(),
            present=there,
            embedding=embedding.float().cpu().numpy(),
        )


def expit(logit: np.ndarray) -> np.ndarray:
    """The logistic function, without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * np.asarray(logit))))
