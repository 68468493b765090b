"""An explanation: every attribution of one case on the log-odds, what it is relative to, and its own error."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

TOLERANCE = 1e-4  # of the log-odds; beyond it an explanation is withheld
FEATURES_TOLERANCE = 1e-3  # of the log-odds, between raw values and a frozen encoder's kept features


@dataclass(frozen=True)
class Element:
    """One element of a stream: a feature, a channel, a word, an image patch, a stretch of sound.

    value: its share of the log-odds. standard_error: of that share where it was sampled, 0 where it is exact.
    shown: what was observed, for people, such as "24 /min". position: where it is: (start, end) characters of a text,
    (row, column, rows, columns) of an image's grid, with the image's place after them where there are several;
    (start, end) seconds of a sound; empty elsewhere. number: the number behind `shown` (the last value, a patch's
    mean), for colour scales; None where there is none, as for words.
    """

    name: str
    value: float
    standard_error: float = 0.0
    shown: str = ""
    position: tuple[float, ...] = ()
    number: float | None = None


@dataclass(frozen=True)
class Explanation:
    """Why one case has the risk it has.

    base_logit: the model's log-odds with every stream absent, which all attributions are relative to.
    logit: its calibrated log-odds with all that the case has, by a prediction of its own. streams: each present
    stream's exact Shapley value; absent ones are not in it. elements: within a stream, summing to the stream's value.
    coalitions: the log-odds for every subset of the present streams, keyed "record+xray" ("" for none): what the
    risk would be were the others absent. kinds: the kind of each stream in `streams` (table, series, ...).
    logit_from_features: what the model said from kept features (16-bit), where that differs by more than
    FEATURES_TOLERANCE from `logit`, else None. removed_error: of an explanation whose attributions were taken out
    (`without_attributions`), the error that they had; None where they are here. inputs: the digest of what the model
    saw (`Cohort.index`), None where the cohort keeps none.
    """

    case_id: str
    task: str
    model_version: str
    base_logit: float
    logit: float
    streams: Mapping[str, float]
    coalitions: Mapping[str, float]
    elements: Mapping[str, tuple[Element, ...]] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)
    logit_from_features: float | None = None
    removed_error: float | None = None
    inputs: str | None = None

    @property
    def additivity_error(self) -> float:
        """The largest gap between attributions and what the model said, over streams and within each stream.

        NaN where any of them is NaN.
        """
        if self.removed_error is not None:
            return self.removed_error
        gaps = [abs(self.base_logit + sum(self.streams.values()) - self.logit)]
        gaps += [abs(sum(e.value for e in es) - self.streams[name]) for name, es in self.elements.items()]
        return math.nan if any(math.isnan(gap) for gap in gaps) else max(gaps)

    @property
    def withheld(self) -> bool:
        """Whether the attributions do not sum to the output, so that they must not be shown."""
        return not self.additivity_error <= TOLERANCE

    def without_attributions(self) -> "Explanation":
        """The same, with nothing in it that could be taken for a reason; its error stays."""
        return replace(self, streams={}, coalitions={}, elements={}, kinds={}, removed_error=self.additivity_error)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for a file per case."""
        return {
            "case_id": self.case_id,
            "task": self.task,
            "model_version": self.model_version,
            "inputs": self.inputs,
            "base_logit": _finite(self.base_logit),
            "logit": _finite(self.logit),
            "logit_from_features": self.logit_from_features,
            "additivity_error": _finite(self.additivity_error),
            "withheld": self.withheld,
            "attributions_removed": self.removed_error is not None,
            "streams": dict(self.streams),
            "kinds": dict(self.kinds),
            "coalitions": dict(self.coalitions),
            "elements": {name: [vars(element) for element in es] for name, es in self.elements.items()},
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Explanation":
        """The inverse of `to_json`. A number that JSON cannot hold comes back as NaN."""
        elements = {
            name: tuple(Element(**{**e, "position": tuple(e["position"])}) for e in es)
            for name, es in raw["elements"].items()
        }
        parts = ("case_id", "task", "model_version", "streams", "coalitions", "kinds", "logit_from_features")
        return cls(
            **{part: raw[part] for part in parts},
            base_logit=_number(raw["base_logit"]),
            logit=_number(raw["logit"]),
            elements=elements,
            removed_error=_number(raw["additivity_error"]) if raw["attributions_removed"] else None,
            inputs=raw.get("inputs"),
        )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else value
