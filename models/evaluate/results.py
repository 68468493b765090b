"""The results of an evaluation as frozen values that go to JSON and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from models.evaluate.calibration_curve import Floor
from models.evaluate.curves import Curve, Reliability
from models.evaluate.metrics import EvaluationError


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; or none, with the reason. A number without an interval has a reason too."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies wholly above or wholly below 0."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    def __str__(self) -> str:
        if self.value is None:
            return self.reason
        if self.low is None or self.high is None:
            return f"{self.value:.3f} ({self.reason})" if self.reason else f"{self.value:.3f}"
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Difference:
    """The fused model less another, on the same cases: paired interval, and the two-sided p that goes with it.

    delong_p: that of DeLong's test, for AUROC.
    """

    against: str
    metric: str
    estimate: Estimate
    p: float | None
    delong_p: float | None = None


@dataclass(frozen=True)
class WhereAvailable:
    """A single modality among the cases that have it, and the fused model on those same cases."""

    n: int
    events: int
    auroc: Estimate
    fused_auroc: Estimate
    difference: Difference


@dataclass(frozen=True)
class ModelResult:
    """One model on all cases. The floors say what a perfectly calibrated model with these risks would show."""

    name: str
    kind: str
    metrics: Mapping[str, Estimate]
    calibration_error_floor: Floor
    ece_floor: Floor
    roc: Curve
    precision_recall: Curve
    reliability: Reliability
    net_benefit: Curve
    where_available: WhereAvailable | None = None


@dataclass(frozen=True)
class OperatingPoint:
    """What the fused model does where cases with risk >= threshold are flagged; all per case."""

    threshold: float
    flagged: int
    sensitivity: Estimate
    specificity: Estimate
    positive_predictive_value: Estimate
    net_benefit: Estimate
    net_benefit_flag_all: float


@dataclass(frozen=True)
class AlertPoint:
    """What the fused model gives where `budget`, a share of the cases, may raise an alert.

    alerts: how many that are; threshold: the risk of the last one (None where the riskiest of each day are flagged).
    """

    budget: float
    alerts: int
    threshold: float | None
    positive_predictive_value: Estimate
    sensitivity: Estimate
    number_needed_to_evaluate: Estimate


@dataclass(frozen=True)
class SubgroupResult:
    """The fused model in one group of a grouping, such as female of sex, and what is different from all other cases.

    metrics, differences: by the names of `models.evaluate.subgroups.SUBGROUP_METRICS`; reason: why there are none.
    """

    grouping: str
    group: str
    n: int
    events: int
    subjects: int
    metrics: Mapping[str, Estimate]
    differences: Mapping[str, Estimate]
    reason: str = ""


@dataclass(frozen=True)
class PatternResult:
    """The fused model among the cases that have exactly these streams."""

    pattern: str
    n: int
    events: int
    auroc: Estimate


@dataclass(frozen=True)
class Bootstrap:
    """How the intervals were made: `redrawn` resamples had one class and were drawn again.

    subgroup_resamples: how many of them the subgroups rest on.
    """

    resamples: int
    redrawn: int
    method: str = (
        "95 % bootstrap, whole subjects drawn with replacement: BCa, basic for the calibration errors; differences on "
        "the same resamples"
    )
    subgroup_resamples: int = 0


@dataclass(frozen=True)
class Evaluation:
    """All that is known about how good a model is on one split. Built by `evaluate`."""

    split: str
    n: int
    events: int
    subjects: int
    prevalence: float
    models: tuple[ModelResult, ...]
    differences: tuple[Difference, ...]
    attained: Estimate | None  # fused AUROC / best attainable AUROC
    operating_points: tuple[OperatingPoint, ...]
    net_benefit_flag_all: Curve
    patterns: tuple[PatternResult, ...]
    bootstrap: Bootstrap
    alerts: tuple[AlertPoint, ...] = ()
    subgroups: tuple[SubgroupResult, ...] = ()

    def model(self, name: str) -> ModelResult:
        """The result of a model by its name."""
        for result in self.models:
            if result.name == name:
                return result
        raise EvaluationError(f"evaluation: no model {name!r}; there are {', '.join(m.name for m in self.models)}")

    def difference(self, against: str, metric: str = "auroc") -> Difference:
        """Fused less another model."""
        for difference in self.differences:
            if (difference.against, difference.metric) == (against, metric):
                return difference
        raise EvaluationError(f"evaluation: no difference in {metric!r} against {against!r}")

    @property
    def best_single(self) -> str | None:
        """The single modality with the highest AUROC, chosen on these same cases (which flatters it)."""
        single = [m for m in self.models if m.where_available is not None and m.metrics["auroc"].value is not None]
        return max(single, key=lambda m: m.metrics["auroc"].value or 0.0).name if single else None

    def to_json(self) -> dict[str, Any]:
        """Plain values, for metrics.json; never NaN."""
        raw: dict[str, Any] = TypeAdapter(Evaluation).dump_python(self, mode="json")
        return raw

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Evaluation":
        """The inverse of `to_json`."""
        return TypeAdapter(Evaluation).validate_python(raw)
