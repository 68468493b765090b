"""Losses: what training makes small."""

from collections.abc import Mapping

import torch
from torch import nn

from ingest.batch import Batch, Stream
from models.encoders.tokens import Tokens
from models.network import Network
from models.objectives import Objective


class AloneLoss(nn.Module):
    """The first phase: every stream on its own, through its encoder and a linear reading of its mean token.

    Streams share no weight here, so one pass trains them all as if each were trained by itself; each keeps its own
    best epoch. Trained together from the start, a stream that is quick to learn stops the others from being learnt
    (Wang et al. 2020, "What makes training multi-modal classification networks hard?").
    """

    def __init__(self, network: Network, element_mask: float) -> None:
        super().__init__()
        self.network = network
        self.element_mask = element_mask

    def forward(self, batch: Batch) -> torch.Tensor:
        """The sum over the streams in the batch of each one's mean loss over the cases that have it."""
        total = batch.outcome.new_zeros(())
        for name, stream in batch.streams.items():
            tokens = self.network.encoders[name](hide_elements(stream, self.element_mask))
            total = total + alone_loss(self.network, name, tokens, batch.outcome)
        return total


class TogetherLoss(nn.Module):
    """The second phase: the fusion, on all streams that are there and on a random coalition of them.

    The coalition makes "absent" a state that the network knows: per case a share u ~ U(0, 1) of streams is kept, so
    coalitions of every size are seen equally often, as Shapley values weigh them. The encoders stay as the first
    phase left them: trained further through the fusion, the streams that are easy to memorise take it over.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Mapping[str, Tokens], outcome: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """tokens of B cases, outcome (B, K), weight (B, members): how often each member's bootstrap drew the case."""
        objective = self.network.meaning
        whole = member_loss(objective, self.network.fuse(tokens), outcome, weight)
        share = torch.rand(len(outcome), 1, device=weight.device)
        keep = torch.rand(len(outcome), len(tokens), device=weight.device) < share
        return whole + member_loss(objective, self.network.fuse(tokens, keep), outcome, weight)


def alone_loss(network: Network, name: str, tokens: Tokens, outcome: torch.Tensor) -> torch.Tensor:
    """The mean loss of one stream's own reading over the cases that have it."""
    present = tokens.present.any(1)
    losses = network.meaning.loss(network.read_alone(name, tokens).float(), outcome)
    return (losses * present).sum() / present.sum().clamp(min=1)


def member_loss(
    objective: Objective, logits: torch.Tensor, outcome: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    """The weighted mean loss: logits (B, members, O), outcome (B, K), weight (B, members)."""
    losses = objective.loss(logits.float(), outcome[:, None])
    return (losses * weight).sum() / weight.sum().clamp(min=1)


def hide_elements(stream: Stream, most: float) -> Stream:
    """Hide a random share, up to `most`, of each case's elements: features, times, channels, words, frames, patches."""
    if most == 0:
        return stream
    device, batch = stream.values.device, len(stream.values)
    share = torch.rand(batch, *(1,) * (stream.observed.ndim - 1), device=device) * most
    keep = torch.rand(stream.observed.shape, device=device) > share
    if stream.observed.ndim == 3:  # a series: now and then a whole channel
        keep = keep & (torch.rand(batch, 1, stream.observed.shape[2], device=device) > share)
    if stream.values.ndim >= 5:  # images: patches of an eighth of each side
        keep = _patches(stream, share.flatten())
    hidden = stream.masked(keep)
    # A stream is never hidden whole here: that is the coalition's part.
    gone = stream.present & ~hidden.present
    return stream.masked(keep | gone.reshape(-1, *(1,) * (keep.ndim - 1)))


def _patches(stream: Stream, share: torch.Tensor) -> torch.Tensor:
    """keep (B, T, 1, *shape): an 8-fold grid of patches, hidden with each case's share."""
    batch, times, _, *shape = stream.values.shape
    coarse = [min(8, side) for side in shape]
    keep = torch.rand(batch, times, *coarse, device=share.device) > share.reshape(-1, 1, *(1,) * len(shape))
    return nn.functional.interpolate(keep.float(), size=shape, mode="nearest")[:, :, None] > 0.5
