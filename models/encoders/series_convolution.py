"""A temporal convolutional network over the events of a series."""

import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from models.encoders.series_events import Events

KERNEL = 3
MOST_LAYERS = 8


class Tcn(nn.Module):
    """Causal convolutions whose dilation doubles from block to block (Bai et al. 2018, "An empirical evaluation of
    generic convolutional and recurrent networks for sequence modeling", sec. 3).

    It reads what an LSTM would: the latest values, masks and intervals. A state sees its own event and the
    2 (KERNEL - 1) (2^layers - 1) before it.
    """

    def __init__(self, columns: int, size: int, layers: int, *, dropout: float) -> None:
        super().__init__()
        sizes = [3 * columns + 1, *(size,) * layers]
        self.blocks = nn.Sequential(
            *(Block(sizes[i], sizes[i + 1], dilation=2**i, dropout=dropout) for i in range(layers))
        )

    def forward(self, events: Events) -> torch.Tensor:
        """Events → states (B, S, size), none of which knows a later event."""
        states: torch.Tensor = self.blocks(events.inputs().transpose(1, 2)).transpose(1, 2)
        return states


class Block(nn.Module):
    """Two dilated causal convolutions with weight normalisation, ReLU and dropout, beside a residual connection."""

    def __init__(self, entering: int, size: int, *, dilation: int, dropout: float) -> None:
        super().__init__()
        self.padding = (KERNEL - 1) * dilation
        self.first = weight_norm(nn.Conv1d(entering, size, KERNEL, dilation=dilation))
        self.second = weight_norm(nn.Conv1d(size, size, KERNEL, dilation=dilation))
        self.dropout = nn.Dropout(dropout)
        self.residual = nn.Conv1d(entering, size, 1) if entering != size else nn.Identity()

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        """signal (B, C, S) → (B, size, S)."""
        hidden = signal
        for convolution in (self.first, self.second):
            hidden = self.dropout(convolution(nn.functional.pad(hidden, (self.padding, 0))).relu())
        out: torch.Tensor = (hidden + self.residual(signal)).relu()
        return out


def enough_layers(elements: int) -> int:
    """The fewest blocks with which the last state sees so many events, at most MOST_LAYERS."""
    layers = 1
    while 1 + 2 * (KERNEL - 1) * (2**layers - 1) < elements and layers < MOST_LAYERS:
        layers += 1
    return layers
