"""Losses: what training makes small."""

from collections.abc import Mapping
from typing import Protocol

import torch
import torch.distributed
from torch import nn

from ingest.batch import Batch, Stream
from models.encoders.tokens import Tokens
from models.evidence import NoEvidence
from models.network import Network
from models.training.contrast import Contrasts
from models.training.costs import Cost

Seen = dict[str, tuple[torch.Tensor, ...]]  # stream -> tensors whose first dimension is the cases


class Draw(Protocol):
    """`torch.rand`, or what gives each process its own cases' part of the same numbers (`models.training.devices`)."""

    def __call__(self, *size: int, device: torch.device) -> torch.Tensor:
        """Uniform on [0, 1), of a size that begins with the number of cases."""
        ...


class AloneLoss(nn.Module):
    """The first phase: every stream on its own, through its encoder and a linear reading of its mean token.

    Streams share no weight here, so one pass trains them all as if each were trained by itself; each keeps its own
    best epoch. Trained together from the start, a stream that is quick to learn stops the others from being learnt
    (Wang et al. 2020, "What makes training multi-modal classification networks hard?"). Only `contrasts` of streams,
    where they are asked for, tie them to each other.

    seen: after a pass, stream -> its tokens and its losses, case by case, for whoever looks for what is no number.
    """

    def __init__(
        self,
        network: Network,
        element_mask: float,
        cost: Cost | None = None,
        contrasts: Contrasts | None = None,
        draw: Draw = torch.rand,
    ) -> None:
        super().__init__()
        self.network = network
        self.element_mask = element_mask
        self.cost = cost or network.meaning
        self.contrasts, self.draw = contrasts, draw
        self.seen: Seen = {}

    def forward(self, batch: Batch) -> torch.Tensor:
        """The sum over the streams in the batch of each one's mean loss over the cases that have it."""
        total = batch.outcome.new_zeros(())
        found: dict[str, Tokens] = {}
        self.seen = {}
        for name, stream in batch.streams.items():
            found[name] = self.network.encoders[name](hide_elements(stream, self.element_mask, self.draw))
            losses = stream_losses(self.network, name, found[name], batch.outcome, self.cost)
            self.seen[name] = (found[name].values.detach(), losses.detach())
            total = total + _mean(losses, found[name].present.any(1))
        if self.contrasts is not None and self.contrasts.of_streams:
            total = total + self.contrasts.streams(found)
        return total


class TogetherLoss(nn.Module):
    """The second phase: the fusion, on all streams that are there and on a random coalition of them.

    The coalition makes "absent" a state that the network knows: per case a share u ~ U(0, 1) of streams is kept, so
    coalitions of every size are seen equally often, as Shapley values weigh them. The encoders stay as the first
    phase left them: trained further through the fusion, the streams that are easy to memorise take it over.
    """

    def __init__(
        self, network: Network, cost: Cost | None = None, contrasts: Contrasts | None = None, draw: Draw = torch.rand
    ) -> None:
        super().__init__()
        self.network = network
        self.cost = cost or network.meaning
        self.contrasts, self.draw = contrasts, draw
        self.seen: Seen = {}

    def forward(self, tokens: Mapping[str, Tokens], outcome: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """tokens of B cases, outcome (B, K), weight (B, members): how often each member's bootstrap drew the case."""
        self.seen = {name: (part.values.detach(),) for name, part in tokens.items()}
        logits, fused = self.network.fuse_and_embed(tokens)
        whole = member_loss(self.cost, logits, outcome, weight)
        if self.contrasts is not None and self.contrasts.of_vectors:
            here = torch.stack([part.present.any(1) for part in tokens.values()], 1).any(1)
            whole = whole + self.contrasts.vectors(fused, outcome, here)
        share = self.draw(len(outcome), 1, device=weight.device)
        keep = self.draw(len(outcome), len(tokens), device=weight.device) < share
        return whole + member_loss(self.cost, self.network.fuse(tokens, keep), outcome, weight)


class JointLoss(nn.Module):
    """Both in one: the loss of the second phase, through encoders that are trained, with elements hidden.

    Where the evidence of single streams has no part in the logits, each stream's own reading is fitted beside, without
    a word to its encoder: it is what a stream says alone.
    """

    def __init__(
        self,
        network: Network,
        element_mask: float,
        cost: Cost | None = None,
        contrasts: Contrasts | None = None,
        draw: Draw = torch.rand,
    ) -> None:
        super().__init__()
        self.network = network
        self.element_mask = element_mask
        self.contrasts, self.draw = contrasts, draw
        self.together = TogetherLoss(network, cost, contrasts, draw)
        self.reads_alone = isinstance(network.evidence, NoEvidence)

    @property
    def seen(self) -> Seen:
        """After a pass, stream -> its tokens."""
        return self.together.seen

    def forward(self, batch: Batch, weight: torch.Tensor) -> torch.Tensor:
        """batch of B cases, weight (B, members)."""
        tokens: dict[str, Tokens] = {
            name: encoder(hide_elements(batch.streams[name], self.element_mask, self.draw))
            for name, encoder in self.network.encoders.items()
        }
        total: torch.Tensor = self.together(tokens, batch.outcome, weight)
        if self.contrasts is not None and self.contrasts.of_streams:
            total = total + self.contrasts.streams(tokens)
        if self.reads_alone:
            for name, part in tokens.items():
                apart = Tokens(part.values.detach(), part.present)
                total = total + alone_loss(self.network, name, apart, batch.outcome, self.together.cost)
        return total


def alone_loss(
    network: Network, name: str, tokens: Tokens, outcome: torch.Tensor, cost: Cost | None = None
) -> torch.Tensor:
    """The mean loss of one stream's own reading over the cases that have it."""
    return _mean(stream_losses(network, name, tokens, outcome, cost), tokens.present.any(1))


def stream_losses(
    network: Network, name: str, tokens: Tokens, outcome: torch.Tensor, cost: Cost | None = None
) -> torch.Tensor:
    """(B,) the loss of one stream's own reading, also of cases that lack it."""
    return (cost or network.meaning).loss(network.read_alone(name, tokens).float(), outcome)


def member_loss(cost: Cost, logits: torch.Tensor, outcome: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The weighted mean loss: logits (B, members, O), outcome (B, K), weight (B, members)."""
    return _mean(cost.loss(logits.float(), outcome[:, None]), weight)


def hide_elements(stream: Stream, most: float, draw: Draw = torch.rand) -> Stream:
    """Hide a random share, up to `most`, of each case's elements: features, times, channels, words, frames, patches."""
    if most == 0:
        return stream
    device, batch = stream.values.device, len(stream.values)
    share = draw(batch, *(1,) * (stream.observed.ndim - 1), device=device) * most
    keep = draw(*stream.observed.shape, device=device) > share
    if stream.observed.ndim == 3:  # a series: now and then a whole channel
        keep = keep & (draw(batch, 1, stream.observed.shape[2], device=device) > share)
    if stream.values.ndim >= 5:  # images: patches of an eighth of each side
        keep = _patches(stream, share.flatten(), draw)
    hidden = stream.masked(keep)
    # A stream is never hidden whole here: that is the coalition's part.
    gone = stream.present & ~hidden.present
    return stream.masked(keep | gone.reshape(-1, *(1,) * (keep.ndim - 1)))


def _mean(losses: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The weighted mean over the cases of all processes, in each of which gradients are averaged afterwards."""
    count = weight.sum()
    if not torch.distributed.is_initialized():
        return (losses * weight).sum() / count.clamp(min=1)
    processes = torch.distributed.get_world_size()
    count = count.detach().clone()
    torch.distributed.all_reduce(count)
    return (losses * weight).sum() * processes / count.clamp(min=1)


def _patches(stream: Stream, share: torch.Tensor, draw: Draw) -> torch.Tensor:
    """keep (B, T, 1, *shape): an 8-fold grid of patches, hidden with each case's share."""
    batch, times, _, *shape = stream.values.shape
    coarse = [min(8, side) for side in shape]
    keep = draw(batch, times, *coarse, device=share.device) > share.reshape(-1, 1, *(1,) * len(shape))
    return nn.functional.interpolate(keep.float(), size=shape, mode="nearest")[:, :, None] > 0.5
