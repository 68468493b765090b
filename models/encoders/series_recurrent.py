"""Recurrent networks over the events of a series: GRU-D, whose memory fades with time, and an LSTM."""

import torch
from torch import nn

from models.encoders.series_events import Events

DAY_H = 24.0  # what is not seen again for so long has faded to 1/e, before training


class GruD(nn.Module):
    """A gated recurrent unit whose inputs and state fade with the hours since each column was last observed.

    Che et al. 2018, "Recurrent neural networks for multivariate time series with missing values": the decay
    gamma = exp(-max(0, W delta + b)), W diagonal for inputs and full for the state; an unobserved input fades from its
    latest value to the training mean, which is 0 here; the mask enters every gate. hours: not seconds, not days.
    """

    def __init__(self, columns: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.input_decay = nn.Parameter(torch.full((columns,), 1 / DAY_H))
        self.input_decay_bias = nn.Parameter(torch.zeros(columns))
        self.state_decay = nn.Linear(columns, size)
        nn.init.uniform_(self.state_decay.weight, 0, 2 / (DAY_H * columns))
        nn.init.zeros_(self.state_decay.bias)
        self.enter = nn.Linear(2 * columns, 3 * size)  # update gate, reset gate, candidate
        self.gates = nn.Linear(size, 2 * size, bias=False)
        self.candidate = nn.Linear(size, size, bias=False)

    def forward(self, events: Events) -> torch.Tensor:
        """Events → states (B, S, size), each after its event."""
        latest, since = events.before()
        fading = torch.exp(-(self.input_decay * since + self.input_decay_bias).relu()) * latest
        mask = events.observed.to(latest.dtype)
        entering = self.enter(torch.cat([torch.where(events.observed, events.values, fading), mask], -1))
        decay = torch.exp(-self.state_decay(since).relu())
        state = entering.new_zeros(len(latest), self.size)
        states = []
        for now, kept in zip(entering.unbind(1), decay.unbind(1), strict=True):
            state = kept * state
            update, reset = (now[:, : 2 * self.size] + self.gates(state)).sigmoid().chunk(2, -1)
            candidate = (now[:, 2 * self.size :] + self.candidate(reset * state)).tanh()
            state = (1 - update) * state + update * candidate
            states.append(state)
        return torch.stack(states, 1)


class Lstm(nn.Module):
    """An LSTM that reads the latest value of every column, whether it is new, and how long ago it was seen.

    Masks and intervals as inputs: Lipton et al. 2016, "Directly modeling missing data in sequences with RNNs", and
    GRU-simple of Che et al. 2018.
    """

    def __init__(self, columns: int, size: int, layers: int, *, dropout: float) -> None:
        super().__init__()
        between = dropout if layers > 1 else 0.0
        self.lstm = nn.LSTM(3 * columns + 1, size, layers, batch_first=True, dropout=between)

    def forward(self, events: Events) -> torch.Tensor:
        """Events → states (B, S, size), each after its event."""
        states: torch.Tensor = self.lstm(events.inputs())[0]
        return states
