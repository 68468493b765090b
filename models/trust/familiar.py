"""Whether a stream of a case is of the kind that the model was trained on, and if not, why not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ingest.batch import Stream
from ingest.statistics import StreamStatistics
from models.encoders.tokens import Tokens
from models.trust.appearance import appearance
from models.trust.gaussian import Gaussian
from models.trust.neighbours import Neighbours
from models.trust.ranges import Ranges

LEAST_BEYOND = 1.0  # widths: nothing that is nearer to its range than that is absurd
PARTS = ("tokens", "looks", "beyond")  # what is measured of a stream, each against its own limit


@dataclass(frozen=True)
class Familiar:
    """What is known of one stream of the training cases.

    tokens: of the mean of its tokens; looks: of `appearance`, which of a frozen network are its features; ranges: of
    its numbers. limits: part → what a case must exceed to be unlike them; a part without a limit is not judged.
    """

    tokens: Gaussian | None = None
    looks: Gaussian | Neighbours | None = None
    ranges: Ranges | None = None
    limits: Mapping[str, float] | None = None

    def scores(self, stream: Stream, tokens: Tokens, statistics: StreamStatistics) -> dict[str, np.ndarray]:
        """Part → (B,) how far a case is from training, 0 where it lacks the stream; the farthest of its elements."""
        there = tokens.present.any(1)
        found: dict[str, np.ndarray] = {}
        if self.tokens is not None:
            found["tokens"] = self.tokens.distance(tokens.mean())
        if self.looks is not None and (seen := appearance(stream, statistics)) is not None:
            found["looks"] = np.zeros(len(there))
            np.maximum.at(found["looks"], seen[1].cpu().numpy(), self.looks.distance(seen[0]))
        if self.ranges is not None:
            found["beyond"] = self.ranges.beyond(stream)[0]
        return {part: scores * there.cpu().numpy() for part, scores in found.items()}

    def ratios(self, stream: Stream, tokens: Tokens, statistics: StreamStatistics) -> dict[str, np.ndarray]:
        """Part → (B,) the score as a multiple of its limit: above 1 the stream is unlike training."""
        limits = self.limits or {}
        return {
            part: scores / limits[part]
            for part, scores in self.scores(stream, tokens, statistics).items()
            if part in limits
        }

    def reason(self, name: str, stream: Stream, case: int, part: str, statistics: StreamStatistics) -> str:
        """Why a case is unlike training, for somebody who knows the patient and not the model."""
        if part == "beyond" and self.ranges is not None:
            feature = int(self.ranges.beyond(stream.rows(torch.tensor([case], device=stream.values.device)))[1][0])
            unit = statistics.units[feature] if statistics.units else ""
            value = self.ranges.worst(stream, case, feature)
            return (
                f"{name}: {statistics.names[feature]} {value:.4g} {unit}".rstrip()
                + f" is far outside what was seen in training ({self.ranges.low[feature]:.4g} to "
                f"{self.ranges.high[feature]:.4g})"
            )
        what = {"image": "not the kind of image", "audio": "not the kind of sound", "text": "not the kind of text"}
        return f"{name}: {what.get(statistics.kind, 'not the kind of data')} that the model was trained on"

    def to_json(self) -> dict[str, Any]:
        """Plain values; all else is kept beside the weights (`state`)."""
        limits = self.limits or {}
        return {"ranges": None if self.ranges is None else self.ranges.to_json(), "limits": dict(limits)}

    def state(self) -> dict[str, torch.Tensor]:
        """The tensors of what is familiar."""
        each: dict[str, Gaussian | Neighbours | None] = {"tokens": self.tokens, "looks": self.looks}
        return {f"{part}.{key}": t for part, g in each.items() if g is not None for key, t in g.state().items()}

    @classmethod
    def from_state(cls, raw: Mapping[str, Any], state: Mapping[str, torch.Tensor]) -> "Familiar":
        """The inverse of `to_json` and `state`."""
        each = {
            part: {key.removeprefix(f"{part}."): t for key, t in state.items() if key.startswith(f"{part}.")}
            for part in ("tokens", "looks")
        }
        tokens = Gaussian(**each["tokens"]) if each["tokens"] else None
        looks: Gaussian | Neighbours | None = None
        if each["looks"]:
            looks = Neighbours(**each["looks"]) if "reference" in each["looks"] else Gaussian(**each["looks"])
        ranges = None if raw["ranges"] is None else Ranges.from_json(raw["ranges"])
        return cls(tokens, looks, ranges, dict(raw["limits"]))
