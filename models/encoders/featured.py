"""A stream as the features that a frozen network makes of it."""

from typing import cast

import torch
from torch import nn

from ingest.batch import Stream


@torch.no_grad()
def featured(encoder: nn.Module, stream: Stream) -> Stream:
    """values (B, T, C, *shape) or (B, T) token ids → features (B, T', F), as exact as they are kept on disk.

    Features are given as they are. Where T' is not T they are of the stream as a whole.
    """
    if stream.values.ndim == 3:
        return stream
    features = cast(torch.Tensor, encoder.features(stream)).half().float()  # type: ignore[operator]  # `frozen` promises it
    observed, hours = stream.observed_times, stream.hours
    if features.shape[1] != observed.shape[1]:
        hours = torch.where(observed, hours, 0.0).amin(1, keepdim=True)
        observed = observed.any(1, keepdim=True)
    return Stream(features, observed, hours)
