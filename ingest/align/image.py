"""Image streams: the latest images of a case, brought to one size without distorting them."""

import os
import warnings
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from ingest.align.block import Block, Given
from ingest.align.events import Cases, Events, Seen, seen, sources_of
from ingest.align.report import Tally
from ingest.errors import InputError, TaskError
from ingest.files import sha256_of
from ingest.statistics import StreamStatistics
from ingest.task import ImageStream

CASES_AT_ONCE = 128
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601-7, section 2.5.1


class ImageAligner:
    """values (n, T, C, H, W) in [0, 1], observed and hours (n, T): the latest T = max_images, oldest first.

    An image keeps its proportions: it is resized to fit, and black borders fill the rest. Where every source holds 8
    bits they are stored as uint8 (a fraction of 255), else as float16; a cohort gives floats in both cases.
    """

    def __init__(self, spec: ImageStream, given: Given) -> None:
        if len(spec.shape) != 2:
            got = f"{list(spec.shape)} (volumes are not read yet)"
            raise TaskError(f"stream {given.stream}: expected shape [height, width], got {got}")
        self.spec, self.tally = spec, given.tally
        self.events, self.paths = with_asset(given.events.select(spec.codes), given.tally)
        self.sha256 = self.events.strings("asset_sha256")
        self.dtype = given.dtype or smallest_type(self.paths)

    @property
    def statistics(self) -> StreamStatistics:
        return StreamStatistics(
            kind="image", elements=self.spec.max_images, feature_shape=(self.spec.channels, *self.spec.shape)
        )

    def fit(self, training: Cases) -> None:
        """Nothing to learn."""

    def blocks(self, cases: Cases) -> Iterator[Block]:
        """Blocks of a few cases each, their images read in parallel."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start, some in cases.chunks(CASES_AT_ONCE):
                pairs = seen(self.events, some, self.spec.window_hours, self.tally)
                pairs = latest(pairs, self.spec.max_images, self.tally)
                with warnings.catch_warnings():  # once around the threads, of which each does it again
                    warnings.simplefilter("ignore")
                    images = list(pool.map(self._load, pairs.event))
                yield self._block(start, some, pairs, images)

    def empty(self) -> Block:
        return self._block(0, Cases.none(), Seen(np.zeros(0, np.int64), np.zeros(0, np.int64)), [])

    def _block(self, start: int, cases: Cases, pairs: Seen, images: list[np.ndarray | InputError]) -> Block:
        for image in images:
            if isinstance(image, InputError):
                self.tally.refuse("unreadable or changed", str(image))
        pixels = [image for image in images if isinstance(image, np.ndarray)]
        pairs = pairs.where(np.array([isinstance(image, np.ndarray) for image in images], bool))
        self.tally.add("used", len(pixels))
        have, row = np.unique(pairs.case, return_inverse=True)
        starts = np.searchsorted(pairs.case, have)
        slot = np.arange(len(pairs.case)) - starts[row] if len(have) else row
        shape = (len(have), self.spec.max_images)
        values = np.zeros((*shape, self.spec.channels, *self.spec.shape), self.dtype)
        observed, hours = np.zeros(shape, bool), np.zeros(shape, np.float32)
        for r, t, image in zip(row, slot, pixels, strict=True):
            values[r, t] = image
        observed[row, slot] = True
        hours[row, slot] = cases.hours(pairs.case, self.events.time[pairs.event])
        return Block(start + have, values, observed, hours, sources_of([(self.events, row, pairs.event)]))

    def _load(self, event: int) -> np.ndarray | InputError:
        from ingest.pixels import read_image

        path = Path(self.paths[event])
        try:
            check_unchanged(path, self.sha256[event])
            image = fit_image(read_image(path), self.spec.shape, self.spec.channels)
        except InputError as error:
            return error
        return np.rint(image * 255).astype(np.uint8) if self.dtype == np.uint8 else image.astype(np.float16)


def fit_image(image: np.ndarray, shape: tuple[int, ...], channels: int) -> np.ndarray:
    """(H, W) or (H, W, 3) in [0, 1] as (channels, *shape), proportions kept, black borders around.

    Shrinking averages over the area that a pixel covers (a triangle filter as wide as the scale), so fine patterns
    do not turn into false coarse ones.
    """
    planes = image[None] if image.ndim == 2 else np.moveaxis(image, 2, 0)
    if channels == 1 and len(planes) == 3:
        planes = np.tensordot(np.array(LUMA, np.float32), planes, 1)[None]
    height, width = planes.shape[1:]
    scale = min(shape[0] / height, shape[1] / width)
    size = (max(round(height * scale), 1), max(round(width * scale), 1))
    top, left = (shape[0] - size[0]) // 2, (shape[1] - size[1]) // 2
    out = np.zeros((len(planes), *shape), np.float32)
    for plane, target in zip(planes, out, strict=True):
        small = Image.fromarray(np.ascontiguousarray(plane, np.float32)).resize(
            (size[1], size[0]), Image.Resampling.BILINEAR
        )
        target[top : top + size[0], left : left + size[1]] = np.clip(np.asarray(small), 0, 1)
    return np.repeat(out, channels, 0) if len(out) < channels else out


def smallest_type(paths: Collection[str]) -> np.dtype:
    """uint8 where all of these files hold 8 bits, else float16."""
    return np.dtype(np.uint8 if all(holds_8_bits(Path(path)) for path in set(paths)) else np.float16)


def latest(pairs: Seen, count: int, tally: Tally) -> Seen:
    """The last `count` pairs of each case; the others are counted."""
    from_end = np.searchsorted(pairs.case, pairs.case, "right") - 1 - np.arange(len(pairs.case))
    tally.add("older than the latest kept", from_end >= count)
    return pairs.where(from_end < count)


def with_asset(events: Events, tally: Tally) -> tuple[Events, list[str]]:
    """The observations that name a file, and those files; the others are counted."""
    named = np.array([bool(path) for path in events.strings("asset")], bool)
    tally.add("without a file", ~named)
    events = events.take(named)
    return events, [str(path) for path in events.strings("asset")]


def check_unchanged(path: Path, sha256: str | None) -> None:
    """Refuse a file that is gone, or is not what it was when it was ingested."""
    try:
        found = sha256_of(path)
    except OSError as error:
        raise InputError(str(path), expected="a readable file", got=error.strerror or "an error") from None
    if sha256 and found != sha256:
        raise InputError(
            str(path), field="sha256", expected=f"{sha256[:12]}…", got=f"{found[:12]}…", hint="ingest it again"
        )


def holds_8_bits(path: Path) -> bool:
    """Whether an image file has 8 bits per channel, told from its name and its first bytes."""
    if path.suffix.lower() in (".jpg", ".jpeg"):
        return True
    if path.suffix.lower() != ".png" or not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(25)
    return start[:8] == b"\x89PNG\r\n\x1a\n" and start[24:25] in (b"\x01", b"\x02", b"\x04", b"\x08")  # IHDR bit depth
