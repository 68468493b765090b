"""What else is said of a prediction: what cannot be ruled out, what is unlike training, and when no risk is given."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ingest.batch import Batch, Stream
from ingest.statistics import Statistics
from models.config import AbstainConfig
from models.encoders.featured import featured
from models.encoders.tokens import Tokens
from models.network import Network
from models.trust.conflict import alone_log_odds, conflict_words, spread
from models.trust.conformal import Conformal
from models.trust.familiar import Familiar


@dataclass(frozen=True)
class Doubts:
    """Of B cases. unfamiliar (B, M): each stream's distance from training as a multiple of its limit, 0 where absent;
    observed (B,): the share of the usual elements; disagreement (B,): how far apart the streams are by themselves, as
    a multiple of the limit; reason (B,): why no risk is given, "" where it is; warning (B,): what else to mind.
    """

    unfamiliar: np.ndarray
    observed: np.ndarray
    disagreement: np.ndarray
    reason: np.ndarray
    warning: np.ndarray


@dataclass(frozen=True)
class Trust:
    """What was learnt of the cases that a model may speak of. Empty: nothing is known, and only absence is a reason.

    conformal: None where the outcome has none. familiar: stream → what its data are like. usual: stream → how many
    elements of it a case has, by the median. apart: the limit of the spread of single streams' log-odds.
    """

    conformal: Conformal | None = None
    familiar: Mapping[str, Familiar] = field(default_factory=dict)
    usual: Mapping[str, float] = field(default_factory=dict)
    apart: float | None = None

    def doubts(
        self,
        batch: Batch,
        tokens: Mapping[str, Tokens],
        present: np.ndarray,
        network: Network,
        statistics: Statistics,
        config: AbstainConfig,
    ) -> Doubts:
        """Judge cases. present (B, M): the streams that they rest on."""
        names = network.stream_names
        streams = {name: seen_by(network, name, batch.streams[name]) for name in names}
        farthest, why = self._unfamiliar(streams, tokens, present, statistics, names)
        observed = self._observed(streams, present, statistics, names)
        alone = np.where(present, alone_log_odds(network, tokens), np.nan)
        disagreement = spread(alone) / self.apart if self.apart else np.zeros(len(batch))
        reasons: list[list[str]] = [[] for _ in range(len(batch))]
        warnings: list[list[str]] = [[] for _ in range(len(batch))]
        for case in range(len(batch)):
            few = int(present[case].sum())
            if few < config.least_streams:
                reasons[case].append(f"{few} of {len(names)} streams are there, at least {config.least_streams} needed")
            elif observed[case] < config.least_observed:
                reasons[case].append(
                    f"{observed[case]:.0%} of what a case usually has was observed, "
                    f"at least {config.least_observed:.0%} needed"
                )
            (reasons if config.unfamiliar else warnings)[case].extend(why[case])
            if disagreement[case] > 1:
                (reasons if config.conflict else warnings)[case].append(conflict_words(alone[case], names))
        said = [np.array(["; ".join(texts) for texts in each], str) for each in (reasons, warnings)]
        return Doubts(farthest, observed, disagreement, *said)

    def _unfamiliar(
        self,
        streams: Mapping[str, Stream],
        tokens: Mapping[str, Tokens],
        present: np.ndarray,
        statistics: Statistics,
        names: list[str],
    ) -> tuple[np.ndarray, list[list[str]]]:
        """(B, M) the largest ratio of a stream's parts, and for each case the reasons of those above 1."""
        farthest, why = np.zeros(present.shape), [[] for _ in range(len(present))]  # type: ignore[var-annotated]
        for place, name in enumerate(names):
            if name not in self.familiar:
                continue
            known, mine = self.familiar[name], statistics.streams[name]
            ratios = known.ratios(streams[name], tokens[name], mine)
            parts = list(ratios)
            table = np.stack([ratios[part] for part in parts], 1) if parts else np.zeros((len(present), 1))
            farthest[:, place] = table.max(1) * present[:, place]
            for case in np.flatnonzero(farthest[:, place] > 1):
                # Of what is measured, a value is what a reader can check.
                part = "beyond" if "beyond" in parts and ratios["beyond"][case] > 1 else parts[table[case].argmax()]
                why[case].append(known.reason(name, streams[name], int(case), part, mine))
        return farthest, why

    def _observed(
        self, streams: Mapping[str, Stream], present: np.ndarray, statistics: Statistics, names: list[str]
    ) -> np.ndarray:
        """(B,) the mean over the streams of the share of a case's usual elements that was observed, at most all."""
        shares = [
            np.minimum(elements_of(streams[n], statistics.streams[n].kind) / self.usual.get(n, np.inf), 1)
            for n in names
        ]
        return np.asarray((np.stack(shares, 1) * present).mean(1)) if self.usual else np.ones(len(present))

    def to_json(self) -> dict[str, Any]:
        """Plain values, for calibration.json."""
        return {
            "conformal": None if self.conformal is None else self.conformal.to_json(),
            "familiar": {name: known.to_json() for name, known in self.familiar.items()},
            "usual": dict(self.usual),
            "apart": self.apart,
        }

    def state(self) -> dict[str, torch.Tensor]:
        """The tensors that are kept beside the weights."""
        return {f"{name}.{key}": t for name, known in self.familiar.items() for key, t in known.state().items()}

    @classmethod
    def from_state(cls, raw: Mapping[str, Any], state: Mapping[str, torch.Tensor]) -> "Trust":
        """The inverse of `to_json` and `state`."""
        familiar = {
            name: Familiar.from_state(
                said, {key.removeprefix(f"{name}."): t for key, t in state.items() if key.startswith(f"{name}.")}
            )
            for name, said in raw["familiar"].items()
        }
        conformal = None if raw["conformal"] is None else Conformal.from_json(raw["conformal"])
        return cls(conformal, familiar, dict(raw["usual"]), raw["apart"])


def seen_by(network: Network, name: str, stream: Stream) -> Stream:
    """A stream as what is known of it was fitted on: of a frozen encoder, its features."""
    encoder = network.encoders[name]
    return featured(encoder, stream) if getattr(encoder, "frozen", False) else stream


def elements_of(stream: Stream, kind: str) -> np.ndarray:
    """(B,) how much is observed: values of a table or series; images, tokens, or frames of sound else."""
    observed = stream.observed if kind in ("table", "series") else stream.observed_times
    return np.asarray(observed.flatten(1).sum(1).cpu().numpy(), float)
