"""What is hidden so that it can be reconstructed."""

import torch

from ingest.batch import Stream
from models.training.losses import hide_elements

# The largest share of a case's elements that is hidden; each case draws its own below it. Words are hidden sparsely
# (15 % in Devlin et al. 2019, sec. 3.1), patches mostly (75 % in He et al. 2022, fig. 5): neighbours tell them.
MOST = {"table": 0.6, "series": 0.6, "image": 0.9, "text": 0.4, "audio": 0.8}
SEGMENTS = 64  # of a recording: single frames could be filled in from their neighbours


def hide(stream: Stream, kind: str) -> Stream:
    """The stream with elements hidden at random: values, words, patches of images, segments of sound."""
    if kind == "audio":
        return _hide_segments(stream, MOST[kind])
    return hide_elements(stream, MOST[kind])


def hidden_elements(stream: Stream, shown: Stream) -> torch.Tensor:
    """Bool, of the shape of `shown.observed`: what was observed and is not shown."""
    observed = stream.observed
    return observed.reshape(*observed.shape, *(1,) * (shown.observed.ndim - observed.ndim)) & ~shown.observed


def segment_frames(frames: int) -> int:
    """How many frames a segment has."""
    return max(1, -(-frames // SEGMENTS))


def _hide_segments(stream: Stream, most: float) -> Stream:
    batch, frames = stream.hours.shape
    length = segment_frames(frames)
    share = torch.rand(batch, 1, device=stream.hours.device) * most
    keep = torch.rand(batch, -(-frames // length), device=stream.hours.device) > share
    keep = keep.repeat_interleave(length, 1)[:, :frames]
    gone = stream.present & ~stream.masked(keep).present
    return stream.masked(keep | gone[:, None])
