"""Every stream summed up in columns, NaN where there is nothing: what models that take a table read.

Tables give their values; series give, per channel, SERIES_PARTS; images an 8 x 8 (4 x 8 x 8) reduction with mean and
standard deviation; sound the mean and standard deviation of each mel band or lead; text a hashed bag of tokens and
pairs, reduced by a truncated SVD. Where a frozen network's features stand in for images or text, their mean over the
elements, reduced by principal components.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ingest.batch import Stream
from ingest.statistics import StreamStatistics

POOLED = {2: (8, 8), 3: (4, 8, 8)}
BAG_SIZE = 4096
TEXT_COMPONENTS = 24
FEATURE_COMPONENTS = 128
WINDOW_HOURS = 48.0  # where a stream states none
RECENT_HOURS = 8.0  # the time constant of the recent mean
SERIES_PARTS = (
    "last", "mean", "min", "max", "slope per hour", "count", "hours since last",
    "first", "standard deviation", "recent mean",
    "mean of the first half", "min of the first half", "max of the first half",
    "mean of the second half", "min of the second half", "max of the second half", "count of the second half",
    "change between the halves",
)  # fmt: skip


class StreamColumns(nn.Module):
    """The columns of one stream: (B, P) float64, NaN in all of them for a case that lacks it.

    reduction (I, C), centre (I,), weight (I,): of text and of features, fitted by `models.flat.features`; I is the size
    of the bag or of the features. C is 0 before that. plain: None where the stream's own values are read; else they are
    features, of which that many at the end are given as they are.
    """

    reduction: torch.Tensor
    centre: torch.Tensor
    weight: torch.Tensor

    def __init__(
        self, statistics: StreamStatistics, *, plain: int | None = None, window_hours: float | None = None
    ) -> None:
        super().__init__()
        self.kind = statistics.kind if plain is None else "features"
        self.plain = plain or 0
        self.window_hours = window_hours or WINDOW_HOURS
        self.statistics = statistics
        for name, shape in (("reduction", (0, 0)), ("centre", (0,)), ("weight", (0,))):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    @property
    def names(self) -> list[str]:
        """P names."""
        if self.kind in ("text", "features"):
            reduced = [f"component {i + 1}" for i in range(self.reduction.shape[1])]
            return reduced + [f"feature {i + 1}" for i in range(self.plain)]
        return LABELS[self.kind](self.statistics)

    def forward(self, stream: Stream) -> torch.Tensor:
        """(B, P)."""
        if self.kind == "text":
            found = self._reduced(self.raw(stream))
        elif self.kind == "features":
            raw = self.raw(stream)
            kept = raw.shape[1] - self.plain
            found = torch.cat([self._reduced(raw[:, :kept]), raw[:, kept:]], 1)
        else:
            found = COLUMNS[self.kind](stream, self.window_hours)
        return torch.where(stream.present[:, None], found, torch.nan)

    def _reduced(self, raw: torch.Tensor) -> torch.Tensor:
        """raw (B, I) → (B, C)."""
        if not self.reduction.shape[1]:
            return raw[:, :0]
        return (raw * self.weight - self.centre) @ self.reduction

    def raw(self, stream: Stream) -> torch.Tensor:
        """(B, I) what is reduced: the weighted bag, or the mean features."""
        if self.kind == "text":
            return _bag(stream.values, stream.observed, self.weight) if len(self.weight) else stream.hours.double()
        there = stream.observed_times.to(torch.float64)
        total = torch.einsum("btf,bt->bf", stream.values.double(), there)
        return total / there.sum(1, keepdim=True).clamp(min=1)

    def _load_from_state_dict(self, state: dict[str, torch.Tensor], prefix: str, *rest: object) -> None:
        """What was fitted has the shapes that it has."""
        for name in ("reduction", "centre", "weight"):
            if prefix + name in state:
                setattr(self, name, torch.empty_like(state[prefix + name], device=self.reduction.device))
        super()._load_from_state_dict(state, prefix, *rest)


def table_columns(stream: Stream, _window_hours: float) -> torch.Tensor:
    """values (B, F) → (B, F)."""
    return torch.where(stream.observed, stream.values.double(), torch.nan)


def series_columns(stream: Stream, window_hours: float) -> torch.Tensor:
    """values (B, T, F) → (B, 18 F), the SERIES_PARTS of a channel side by side.

    The recent mean weighs a value by exp(hours / RECENT_HOURS). The second half of the window is the later one.
    """
    seen, values = stream.observed, stream.values.double()
    hours = stream.hours.double()[:, :, None].expand_as(values)
    late = seen & (hours > -window_hours / 2)
    mean, low, high, count = _moments(values, seen)
    first_half = _moments(values, seen & ~late)
    second_half = _moments(values, late)
    middle = (hours * seen).sum(1) / count.clamp(min=1)
    centred = (hours - middle[:, None]) * seen
    spread = (centred**2).sum(1)
    sloped = (count > 1) & (spread > 1e-6)
    away = torch.where(seen, values - mean[:, None], 0.0)
    slope = (centred * away).sum(1) / torch.where(sloped, spread, 1.0)
    deviation = ((away**2).sum(1) / (count - 1).clamp(min=1)).sqrt()
    latest = torch.where(seen, hours, -torch.inf).argmax(1, keepdim=True)
    earliest = torch.where(seen, hours, torch.inf).argmin(1, keepdim=True)
    since = -hours.gather(1, latest)
    recent = ((hours + since) / RECENT_HOURS).exp() * seen  # the latest weighs 1, however old it is
    some = count > 0
    parts = [
        torch.where(some, values.gather(1, latest)[:, 0], torch.nan),
        mean,
        low,
        high,
        torch.where(sloped, slope, torch.nan),
        count.double(),
        torch.where(some, since[:, 0], torch.nan),
        torch.where(some, values.gather(1, earliest)[:, 0], torch.nan),
        torch.where(count > 1, deviation, torch.nan),
        torch.where(some, (recent * values).sum(1) / recent.sum(1).clamp(min=1e-12), torch.nan),
        *first_half[:3],
        *second_half[:3],
        second_half[3].double(),
        second_half[0] - first_half[0],
    ]
    return torch.stack(parts, 2).flatten(1)


def _moments(values: torch.Tensor, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean, min and max (B, F) over the times that are seen, NaN where there are none, and how many those are."""
    count = seen.sum(1)
    some = count > 0
    mean = torch.where(some, (values * seen).sum(1) / count.clamp(min=1), torch.nan)
    low = torch.where(some, torch.where(seen, values, torch.inf).amin(1), torch.nan)
    high = torch.where(some, torch.where(seen, values, -torch.inf).amax(1), torch.nan)
    return mean, low, high, count


def image_columns(stream: Stream, _window_hours: float) -> torch.Tensor:
    """The latest image: pooled intensities of every channel, then each channel's mean and standard deviation."""
    latest = torch.where(stream.observed_times, stream.hours, -torch.inf).argmax(1)
    image = stream.values[torch.arange(len(latest), device=latest.device), latest].double()
    pool: Any = nn.functional.adaptive_avg_pool2d if image.ndim == 4 else nn.functional.adaptive_avg_pool3d
    pooled = pool(image, _pooled_shape(tuple(image.shape[2:])))
    every = tuple(range(2, image.ndim))
    return torch.cat([pooled.flatten(1), image.mean(every), image.std(every, correction=0)], 1)


def audio_columns(stream: Stream, _window_hours: float) -> torch.Tensor:
    """The mean and the standard deviation of each band or lead over its observed frames; NaN where it has none."""
    seen = stream.observed if stream.observed.ndim == 3 else stream.observed[:, :, None].expand_as(stream.values)
    values, count = stream.values.double(), seen.sum(1)
    mean = (values * seen).sum(1) / count.clamp(min=1)
    variance = ((values - mean[:, None]) ** 2 * seen).sum(1) / count.clamp(min=1)
    some = count > 0
    return torch.cat([torch.where(some, mean, torch.nan), torch.where(some, variance.sqrt(), torch.nan)], 1)


def token_bag(tokens: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
    """Counts (B, BAG_SIZE) of observed tokens and of neighbouring pairs, hashed. tokens (B, T) long."""
    bag = torch.zeros(len(tokens), BAG_SIZE, dtype=torch.float64, device=tokens.device)
    pair = observed[:, :-1] & observed[:, 1:]
    mixed = tokens[:, :-1] * 1_000_003 + tokens[:, 1:]
    bag.scatter_add_(1, _hashed(tokens), observed.double())
    return bag.scatter_add_(1, _hashed(mixed), pair.double())


def _bag(tokens: torch.Tensor, observed: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Logarithmic counts, which once weighted have length 1."""
    counts = token_bag(tokens, observed)
    damped = torch.where(counts > 0, 1 + counts.clamp(min=1).log(), 0.0)
    length = (damped * weight).square().sum(1, keepdim=True).sqrt()
    return damped / length.clamp(min=1e-12)


def _hashed(keys: torch.Tensor) -> torch.Tensor:
    """A place in the bag for each key, by Fibonacci hashing (Knuth, TAOCP 3, sec. 6.4), modulo 2^64 as integers are."""
    product = keys * -7046029254386353131  # 2^64 over the golden ratio, as a signed number
    return (product >> 32 & 0xFFFFFFFF) % BAG_SIZE


def _pooled_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(min(size, parts) for size, parts in zip(shape, POOLED[len(shape)], strict=True))


def _series_labels(statistics: StreamStatistics) -> list[str]:
    return [f"{name}, {part}" for name in statistics.names for part in SERIES_PARTS]


def _image_labels(statistics: StreamStatistics) -> list[str]:
    channels, *shape = statistics.feature_shape
    sizes = (channels, *_pooled_shape(tuple(shape)))
    places = torch.cartesian_prod(*(torch.arange(size) for size in sizes)).reshape(-1, len(sizes)).tolist()
    pooled = [f"channel {channel} at {', '.join(map(str, place))}" for channel, *place in places]
    return pooled + [f"channel {c}, {part}" for part in ("mean", "standard deviation") for c in range(channels)]


def _audio_labels(statistics: StreamStatistics) -> list[str]:
    bands = [f"lead {name}" for name in statistics.names]  # of a waveform
    bands = bands or [f"mel band {band}" for band in range(statistics.feature_shape[0])]
    return [f"{band}, {part}" for part in ("mean", "standard deviation") for band in bands]


COLUMNS: dict[str, Callable[[Stream, float], torch.Tensor]] = {
    "table": table_columns,
    "series": series_columns,
    "image": image_columns,
    "audio": audio_columns,
}
LABELS: dict[str, Callable[[StreamStatistics], list[str]]] = {
    "table": lambda statistics: list(statistics.names),
    "series": _series_labels,
    "image": _image_labels,
    "audio": _audio_labels,
}
