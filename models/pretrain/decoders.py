"""From tokens back to elements: one light decoder per kind of stream, used in pretraining alone.

Every decoder asks the tokens by queries that say where an element is, never what it is, and measures its answers only
where an element was observed and hidden. `losses(stream, hidden, tokens, encoder)` takes the whole stream.
"""

from collections.abc import Callable

import torch
from torch import nn

from ingest.batch import Stream
from ingest.statistics import StreamStatistics
from models.encoders.columns import Columns
from models.encoders.series_attention import Time2Vec
from models.encoders.text_networks import WordEncoder, sinusoids
from models.encoders.tokens import Standardise, Tokens
from models.pretrain.hiding import segment_frames
from models.pretrain.objective import Loss

PATCHES = 8  # per side of an image, as `models.training.losses.hide_elements` hides them
CELLS = {1: 4, 2: 4, 3: 2}  # per side of a patch, by the number of dimensions
WHOLE_VOCABULARY = 4096  # a larger one is sampled
SAMPLED = 1024


class Reading(nn.Module):
    """What the tokens say to each query: attention of one head over the present tokens, then a perceptron."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.norm = nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.last = nn.LayerNorm(width)

    def forward(self, queries: torch.Tensor, tokens: Tokens) -> torch.Tensor:
        """queries (B or 1, Q, D), tokens (B, K, D) → (B, Q, D)."""
        batch = len(tokens.values)
        present = tokens.present | ~tokens.present.any(1, keepdim=True)  # a softmax over nothing is not a number
        asked = self.query(queries).expand(batch, -1, -1)
        seen = nn.functional.scaled_dot_product_attention(
            asked, self.key(tokens.values), self.value(tokens.values), attn_mask=present[:, None]
        )
        read = queries + seen
        out: torch.Tensor = self.last(read + self.feed(self.norm(read)))
        return out


class TableDecoder(nn.Module):
    """A query per feature: its number (squared error of z-scores) or its level (cross-entropy)."""

    def __init__(self, statistics: StreamStatistics, width: int) -> None:
        super().__init__()
        self.columns = Columns(statistics)
        self.queries = nn.Parameter(torch.randn(1, statistics.elements, width) * 0.5)
        self.reading = Reading(width)
        self.weight = nn.Parameter(torch.randn(self.columns.count, width) * width**-0.5)
        self.bias = nn.Parameter(torch.zeros(self.columns.count))

    def losses(self, stream: Stream, hidden: torch.Tensor, tokens: Tokens, _encoder: nn.Module) -> Loss:
        """values, hidden (B, F)."""
        read = self.reading(self.queries, tokens)
        said = (read[:, self.columns.feature] * self.weight).sum(-1) + self.bias
        return element_losses(self.columns, said, stream.values, hidden)


class SeriesDecoder(nn.Module):
    """A query per time: what each channel was then."""

    def __init__(self, statistics: StreamStatistics, width: int) -> None:
        super().__init__()
        self.columns = Columns(statistics)
        self.time = Time2Vec(width)
        self.reading = Reading(width)
        self.out = nn.Linear(width, self.columns.count)

    def losses(self, stream: Stream, hidden: torch.Tensor, tokens: Tokens, _encoder: nn.Module) -> Loss:
        """values, hidden (B, T, F)."""
        said = self.out(self.reading(self.time(stream.hours), tokens))
        return element_losses(self.columns, said, stream.values, hidden)


class ImageDecoder(nn.Module):
    """A query per patch: the means of its cells, standardised (after He et al. 2022, sec. 3, without their depth).

    A token of some dozens of numbers cannot hold pixels, so a patch is asked for no more than CELLS per side. Of a cell
    only the hidden pixels count.
    """

    def __init__(self, statistics: StreamStatistics, width: int) -> None:
        super().__init__()
        self.channels, *shape = statistics.feature_shape
        self.standardise = Standardise(statistics.mean, statistics.std, trailing=len(shape))
        self.grid = [min(PATCHES, side) for side in shape]
        most = CELLS[len(shape)]
        self.cells = [max(1, min(most, side // patches)) for side, patches in zip(shape, self.grid, strict=True)]
        patches = int(torch.tensor(self.grid).prod())
        self.patches = nn.Parameter(torch.randn(1, patches, width) * 0.5)
        self.places = nn.Parameter(torch.randn(statistics.elements, 1, width) * 0.5)
        self.reading = Reading(width)
        self.out = nn.Linear(width, self.channels * int(torch.tensor(self.cells).prod()))

    def losses(self, stream: Stream, hidden: torch.Tensor, tokens: Tokens, _encoder: nn.Module) -> Loss:
        """values (B, T, C, *shape), hidden (B, T, C or 1, *shape)."""
        batch, images = stream.values.shape[:2]
        queries = (self.patches + self.places[:images]).flatten(0, 1)[None]
        said = self._picture(self.out(self.reading(queries, tokens)), batch * images)
        weight = hidden.expand(stream.values.shape).flatten(0, 1).to(said.dtype)
        pool: Callable[..., torch.Tensor] = POOLS[len(self.grid)]
        sides = list(said.shape[2:])
        there = pool(weight, sides)
        shown = pool(self.standardise(stream.values).flatten(0, 1) * weight, sides) / there.clamp(min=1e-6)
        return _squared(said, shown, there > 0)

    def _picture(self, said: torch.Tensor, images: int) -> torch.Tensor:
        """(B, T * patches, C * cells) → (B * T, C, *sides)."""
        dims = len(self.grid)
        said = said.reshape(images, *self.grid, self.channels, *self.cells)
        mixed = [axis for i in range(dims) for axis in (1 + i, 2 + dims + i)]
        sides = [grid * cells for grid, cells in zip(self.grid, self.cells, strict=True)]
        return said.permute(0, 1 + dims, *mixed).reshape(images, self.channels, *sides)


class TextDecoder(nn.Module):
    """A query per place: which word was there (Devlin et al. 2019, sec. 3.1), a softmax over the encoder's own words.

    Of a vocabulary beyond WHOLE_VOCABULARY, the batch's hidden words and SAMPLED others stand for all (Jean et al.
    2015, "On using very large target vocabulary", sec. 3).
    """

    def __init__(self, statistics: StreamStatistics, width: int) -> None:
        super().__init__()
        self.place = nn.Linear(width, width)
        self.reading = Reading(width)
        self.bias = nn.Parameter(torch.zeros(statistics.vocabulary_size))
        self.words = nn.Embedding(statistics.vocabulary_size, width)  # for encoders whose words are not of this width
        nn.init.normal_(self.words.weight, std=width**-0.5)

    def losses(self, stream: Stream, hidden: torch.Tensor, tokens: Tokens, encoder: nn.Module) -> Loss:
        """values, hidden (B, T)."""
        words = encoder.words if isinstance(encoder, WordEncoder) else self.words
        places = sinusoids(stream.values.shape[1], words.embedding_dim, stream.values.device)
        read = self.reading(self.place(places)[None], tokens)[hidden]
        target = stream.values[hidden]
        chosen = self._candidates(target)
        logits = read @ words(chosen).T + self.bias[chosen]
        total = nn.functional.cross_entropy(logits.float(), torch.searchsorted(chosen, target), reduction="sum")
        return Loss(total, hidden.sum())

    def _candidates(self, target: torch.Tensor) -> torch.Tensor:
        """Ids in order, those of `target` among them."""
        size = len(self.bias)
        if size <= WHOLE_VOCABULARY:
            return torch.arange(size, device=target.device)
        drawn = torch.randint(size, (SAMPLED,), device=target.device)
        return torch.unique(torch.cat([target, drawn]))  # type: ignore[no-any-return]  # torch leaves it untyped


class AudioDecoder(nn.Module):
    """A query per segment: all of its frames or samples, standardised."""

    def __init__(self, statistics: StreamStatistics, width: int) -> None:
        super().__init__()
        self.standardise = Standardise(statistics.mean, statistics.std)
        self.bands = statistics.feature_shape[0]
        self.length = segment_frames(statistics.elements)
        self.queries = nn.Parameter(torch.randn(1, -(-statistics.elements // self.length), width) * 0.5)
        self.reading = Reading(width)
        self.out = nn.Linear(width, self.length * self.bands)

    def losses(self, stream: Stream, hidden: torch.Tensor, tokens: Tokens, _encoder: nn.Module) -> Loss:
        """values (B, T, mels or leads), hidden (B, T[, mels or leads])."""
        batch, frames = stream.hours.shape
        said = self.out(self.reading(self.queries, tokens)).reshape(batch, -1, self.bands)[:, :frames]
        there = hidden if hidden.ndim == 3 else hidden[..., None]
        return _squared(said, self.standardise(stream.values), there.expand(stream.values.shape))


def element_losses(columns: Columns, said: torch.Tensor, values: torch.Tensor, hidden: torch.Tensor) -> Loss:
    """Squared errors of numbers and cross-entropies of levels, over hidden elements.

    said (..., C) a prediction per column, values and hidden (..., F).
    """
    target, there = columns(values, hidden)
    total = _squared(said, target, there & (columns.level < 0)).total
    for feature in columns.feature[columns.level == 0].tolist():
        here = hidden[..., feature]
        logits = said[..., columns.feature == feature][here].float()
        total = total + nn.functional.cross_entropy(logits, values[..., feature][here].round().long(), reduction="sum")
    return Loss(total, hidden.sum())


def _squared(said: torch.Tensor, target: torch.Tensor, there: torch.Tensor) -> Loss:
    error = torch.where(there, said.float() - target.float(), 0.0)
    return Loss(error.square().sum(), there.sum())


POOLS: dict[int, Callable[..., torch.Tensor]] = {
    2: nn.functional.adaptive_avg_pool2d,
    3: nn.functional.adaptive_avg_pool3d,
}

Decoder = TableDecoder | SeriesDecoder | ImageDecoder | TextDecoder | AudioDecoder

DECODERS: dict[str, Callable[[StreamStatistics, int], Decoder]] = {
    "table": TableDecoder,
    "series": SeriesDecoder,
    "image": ImageDecoder,
    "text": TextDecoder,
    "audio": AudioDecoder,
}
