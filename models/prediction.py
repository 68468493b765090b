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
from models.trust.conformal import labels_of, shares_of
from models.trust.logits import LogitCalibration
from models.trust.trust import Trust

INTERVAL_Z = 1.6449  # 90 %


@dataclass(frozen=True)
class Prediction:
    """Of B cases. risk, low, high (B,): the calibrated risk and its 90 % interval; logit, logit_std (B,) on the
    log-odds; probabilities (B, P): all that the objective predicts, by `Objective.names`; present (B, M): the streams
    it rests on; embedding (B, D): the fused vector.

    The interval holds what the model does not know: the spread of its bagged members, which saw different cases, the
    error of its calibration, and what the streams that are absent could have said. It does not hold the chance of the
    outcome itself.

    conformal_set (B, A, L) bool: the classes that cannot be ruled out, at each of A levels, or conformal_interval
    (B, A, 2) of a number (`models.trust.conformal`); of the other, and of both where neither is to be had, A is 0.
    unfamiliar (B, M), observed, disagreement, reason, warning (B,): see `models.trust.trust.Doubts`. All numbers are
    there also where the model abstains; people are shown `shown`.
    """

    risk: np.ndarray
    low: np.ndarray
    high: np.ndarray
    logit: np.ndarray
    logit_std: np.ndarray
    probabilities: np.ndarray
    present: np.ndarray
    embedding: np.ndarray
    conformal_set: np.ndarray
    conformal_interval: np.ndarray
    unfamiliar: np.ndarray
    observed: np.ndarray
    disagreement: np.ndarray
    reason: np.ndarray
    warning: np.ndarray

    @property
    def abstained(self) -> np.ndarray:
        """(B,) bool: for whom no risk is to be given, for the `reason` stated."""
        return np.asarray(self.reason != "")

    @property
    def shown_risk(self) -> np.ndarray:
        """(B,) the risk, NaN where the model abstains."""
        return self.shown(self.risk)

    def shown(self, values: np.ndarray) -> np.ndarray:
        """(B, ...) what people may see of values (B, ...): NaN where the model abstains."""
        hidden = self.abstained.reshape(-1, *(1,) * (values.ndim - 1))
        return np.where(hidden, np.nan, values)


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
    trust: Trust = field(default_factory=Trust)

    @property
    def stream_names(self) -> list[str]:
        """The streams the model reads, in the order of every mask."""
        return self.network.stream_names

    @torch.inference_mode()
    def predict(self, batch: Batch, keep: np.ndarray | None = None) -> Prediction:
        """Risk, interval and embedding of a batch; keep (B, M) or (M,) bool limits the streams it may use."""
        return self.read(batch, self.encode(batch), keep)

    @torch.inference_mode()
    def read(self, batch: Batch, tokens: Mapping[str, Tokens], keep: np.ndarray | None = None) -> Prediction:
        """The prediction of a batch from its tokens, as `encode` gives them."""
        present = self._present(tokens)
        mask = None
        if keep is not None:
            mask = torch.as_tensor(keep, device=self.device).expand(len(batch), -1)
            present = present & mask
        members, fused = self.network.fuse_and_embed(tokens, mask)
        there = present.cpu().numpy()
        said = self._risk(members.double(), present)
        doubts = self.trust.doubts(batch, tokens, there, self.network, self.statistics, self.config.abstain)
        sets, intervals = self._conformal(batch, there, said["probabilities"])
        return Prediction(
            **said,
            present=there,
            embedding=fused.mean(1).float().cpu().numpy(),
            conformal_set=sets,
            conformal_interval=intervals,
            **vars(doubts),
        )

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
        present = self._present(tokens)
        members = self.network.fuse(tokens, keep).double()
        calibrated = self.calibration.apply(members.mean(1), present if keep is None else present & keep)
        return self.network.meaning.risk_logit(calibrated)

    def _present(self, tokens: Mapping[str, Tokens]) -> torch.Tensor:
        """(B, M) bool."""
        return torch.stack([tokens[name].present.any(1) for name in self.stream_names], 1)

    def _risk(self, members: torch.Tensor, present: torch.Tensor) -> dict[str, np.ndarray]:
        """What the logits (B, members, O) say of cases with these streams present (B, M)."""
        objective = self.network.meaning
        raw = members.mean(1)
        calibrated = self.calibration.apply(raw, present)
        logit = objective.risk_logit(calibrated).cpu().numpy()
        each = objective.risk_logit(self.calibration.apply(members, present)).cpu().numpy()
        spread = each.std(1, ddof=1) if each.shape[1] > 1 else np.zeros_like(logit)
        variance = spread**2 + self.calibration.risk_variance(objective, raw, present)
        unsaid = np.array([self.absence_variance.get(name, 0.0) for name in self.stream_names])
        std = np.sqrt(variance + (~present.cpu().numpy()) @ unsaid)
        return {
            "risk": expit(logit),
            "low": expit(logit - INTERVAL_Z * std),
            "high": expit(logit + INTERVAL_Z * std),
            "logit": logit,
            "logit_std": std,
            "probabilities": objective.probabilities(calibrated).float().cpu().numpy(),
        }

    def _conformal(self, batch: Batch, present: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sets (B, A, L) and intervals (B, A, 2), of which one has no levels, or both."""
        cases, fitted, labels = len(batch), self.trust.conformal, labels_of(self.task)
        sets, intervals = np.zeros((cases, 0, len(labels)), bool), np.zeros((cases, 0, 2))
        if fitted is None:
            return sets, intervals
        group = fitted.groups.of(batch, present, self.stream_names, self.statistics)
        if labels:
            return fitted.sets(shares_of(self.task, probabilities), group), intervals
        return sets, fitted.intervals(probabilities[:, 0], probabilities[:, 1], group)


def expit(logit: np.ndarray) -> np.ndarray:
    """The logistic function, without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * np.asarray(logit))))
