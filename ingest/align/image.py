"""Image streams: the images or volumes of a case, chosen by rules, brought to one size without distorting them."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np

from ingest.align.block import Block, Given
from ingest.align.events import Cases, Events, Origin, Seen, seen, sources_of
from ingest.align.image_files import Fault, File, ImageJob, Wanted, load_image
from ingest.align.image_planes import Shown, fitted
from ingest.align.report import Tally
from ingest.align.series_choice import Chooser, Facts, Taken
from ingest.align.workers import each
from ingest.errors import Complaint
from ingest.statistics import StreamStatistics
from ingest.task import ImageStream

CASES_AT_ONCE = 128
BLOCK_BYTES = 1 << 26


class ImageAligner:
    """values (n, T, C, *shape) in [0, 1], observed and hours (n, T): the latest T = max_images, oldest first.

    An image keeps its proportions; black borders fill the rest. Where every source holds 8 bits they are stored as
    uint8 (a fraction of 255), else as float16; a cohort gives floats in both cases. A volume is one element, as old as
    the latest of its slices; one that lacks a slice is refused as a whole.
    """

    def __init__(self, spec: ImageStream, given: Given) -> None:
        self.spec, self.tally, self._catalogue = spec, given.tally, given.catalogue
        self.events, self.paths = with_asset(given.events.select(spec.codes), given.tally)
        self._mask_events = given.events.select(spec.mask_codes)
        self._is_flat = len(spec.shape) == 2
        self.dtype = given.dtype or (smallest_type(self.paths) if self._is_flat else np.dtype(np.float16))

    @property
    def statistics(self) -> StreamStatistics:
        return StreamStatistics(
            kind="image", elements=self.spec.max_images, feature_shape=(self.spec.channels, *self.spec.shape)
        )

    def blocks(self, cases: Cases) -> Iterator[Block]:
        """Blocks of a few cases each; images are read ahead of the block that is being made."""
        parts = [(start, some, *self._chosen(some)) for start, some in cases.chunks(self._cases_at_once)]
        jobs = [element.job for _, _, elements, _ in parts for element in elements]
        loaded = each(load_image, jobs, _lost)
        for start, some, elements, taken in parts:
            yield self._block(start, some, elements, list(islice(loaded, len(elements))), taken)

    def empty(self) -> Block:
        return self._block(0, Cases.none(), [], [], {})

    @property
    def _cases_at_once(self) -> int:
        size = self.spec.max_images * self.spec.channels * int(np.prod(self.spec.shape)) * self.dtype.itemsize
        return max(1, min(CASES_AT_ONCE, BLOCK_BYTES // size))

    @cached_property
    def _facts(self) -> Facts:
        return Facts.of(self.events, self._catalogue)

    @cached_property
    def _files(self) -> list[File]:
        digests, records = self.events.strings("asset_sha256"), self.events.strings("source_record")
        return [
            File(path, digest, record or "") for path, digest, record in zip(self.paths, digests, records, strict=True)
        ]

    def _chosen(self, cases: Cases) -> "tuple[list[_Element], dict[int, Taken]]":
        """The elements of these cases in order of case and time; what was said of the choice, by case."""
        pairs = seen(self.events, cases, self.spec.window_hours, self.tally)
        masks = self._masks(cases)
        if self._is_flat and not self.spec.series:
            return self._latest(pairs, masks), {}
        if not self._is_flat:
            localizer = self._facts.is_localizer[pairs.event]
            self.tally.add("localizers", localizer)
            pairs = pairs.where(~localizer)
        chooser = Chooser(self._facts, self.events.time, self.spec.series)
        elements: list[_Element] = []
        taken: dict[int, Taken] = {}
        have, first = np.unique(pairs.case, return_index=True)
        for case, images in zip(have.tolist(), np.split(pairs.event, first[1:]), strict=False):
            taken[case] = chooser.choose(images)
            mine = self._elements(case, taken[case].series, masks.get(case))
            elements.extend(mine)
            kept = len(np.unique(np.concatenate([element.images for element in mine]))) if mine else 0
            self.tally.add("of another series or older" if taken[case].series else "no series fits", len(images) - kept)
        return elements, taken

    def _latest(self, pairs: Seen, masks: dict[int, File]) -> "list[_Element]":
        """The latest images, whatever their series."""
        frames = self._facts.frames if self.spec.frames == "all" else np.ones(len(self.events), np.int64)
        count = frames[pairs.event]
        case, event = np.repeat(pairs.case, count), np.repeat(pairs.event, count)
        frame = np.arange(len(case)) - np.repeat(np.cumsum(count) - count, count)
        from_end = np.searchsorted(case, case, "right") - 1 - np.arange(len(case))
        kept = from_end < self.spec.max_images
        self.tally.add("older than the latest kept", ~kept)
        return [
            self._element(int(c), np.array([e]), int(f), masks.get(int(c)))
            for c, e, f in zip(case[kept], event[kept], frame[kept], strict=True)
        ]

    def _elements(self, case: int, series: Sequence[np.ndarray], mask: File | None) -> "list[_Element]":
        """Of the preferred series, as many as fit: volumes, or images (the latest of each series)."""
        if not self._is_flat:
            chosen = [self._element(case, images, 0, mask) for images in series[: self.spec.max_images]]
        else:
            chosen = []
            for images in series:
                frames = self._facts.frames if self.spec.frames == "all" else np.ones(len(self.events), np.int64)
                every = [(image, frame) for image in images.tolist() for frame in range(int(frames[image]))]
                left = self.spec.max_images - len(chosen)
                chosen += [self._element(case, np.array([i]), f, mask) for i, f in every[len(every) - left :][:left]]
                if len(chosen) == self.spec.max_images:
                    break
        return sorted(chosen, key=lambda element: (int(self.events.time[element.images].max()), element.images[0]))

    def _element(self, case: int, images: np.ndarray, frame: int, mask: File | None) -> "_Element":
        files = tuple(self._files[image] for image in images.tolist())
        refused = 0 if self._is_flat else int(self._facts.refused[images[0]])
        return _Element(case, images, ImageJob(files, self._wanted, frame, mask, refused))

    @cached_property
    def _wanted(self) -> Wanted:
        spec = self.spec
        return Wanted(
            spec.shape, spec.channels, spec.spacing_mm, spec.orientation, spec.intensity, spec.box,
            self.dtype == np.uint8,
        )  # fmt: skip

    def _masks(self, cases: Cases) -> dict[int, File]:
        """The latest mask that each case may see."""
        if not self.spec.mask_codes:
            return {}
        events, paths = with_asset(self._mask_events, Tally())
        digests, records = events.strings("asset_sha256"), events.strings("source_record")
        pairs = seen(events, cases, self.spec.window_hours)
        return {
            case: File(paths[event], digests[event], records[event] or "")
            for case, event in zip(pairs.case.tolist(), pairs.event.tolist(), strict=True)  # the last of each stays
        }

    def _block(
        self,
        start: int,
        cases: Cases,
        elements: "Sequence[_Element]",
        loaded: Sequence[np.ndarray | Fault],
        taken: dict[int, Taken],
    ) -> Block:
        good = [(e, image) for e, image in zip(elements, loaded, strict=True) if isinstance(image, np.ndarray)]
        faults = [(e, fault) for e, fault in zip(elements, loaded, strict=True) if isinstance(fault, Fault)]
        case = np.array([element.case for element, _ in good], np.int64)
        have, row = np.unique(case, return_inverse=True)
        slot = np.arange(len(case)) - np.searchsorted(case, have)[row] if len(have) else row
        shape = (len(have), self.spec.max_images)
        values = np.zeros((*shape, self.spec.channels, *self.spec.shape), self.dtype)
        observed, hours = np.zeros(shape, bool), np.zeros(shape, np.float32)
        for r, t, (_, image) in zip(row, slot, good, strict=True):
            values[r, t] = image
        observed[row, slot] = True
        latest = np.array([self.events.time[element.images].max() for element, _ in good], np.int64)
        hours[row, slot] = cases.hours(case, latest)
        each_count = [len(element.images) for element, _ in good]
        self.tally.add("used", sum(each_count))
        images = np.concatenate([element.images for element, _ in good]) if good else np.zeros(0, np.int64)
        origin = Origin(self.events, np.repeat(row, each_count), images, np.repeat(slot, each_count))
        problems = self._problems(faults, taken)
        noted = {c: said.note for c, said in taken.items() if said.note and c not in problems}
        return Block(
            start + have, values, observed, hours, sources_of([origin]),
            problems={start + c: line for c, line in problems.items()},
            notes={start + c: line for c, line in noted.items()},
        )  # fmt: skip

    def _problems(self, faults: "Sequence[tuple[_Element, Fault]]", taken: dict[int, Taken]) -> dict[int, str]:
        problems = {case: said.problem for case, said in taken.items() if said.problem}
        lines: dict[int, list[str]] = {}
        for element, fault in faults:
            what = "unreadable or changed" if self._is_flat else "in a volume that was refused"
            self.tally.refuse(what, *fault.whole(element.job.files[0]))
            self.tally.add(what, len(element.images) - 1)
            lines.setdefault(element.case, []).append(fault.short)
        for case, said in lines.items():
            more = f" (and {len(said) - 1} more refused)" if len(said) > 1 else ""
            choice = f"{taken[case].note}; " if case in taken else ""
            problems[case] = f"{choice}{said[0]}{more}"
        return problems


@dataclass(frozen=True)
class _Element:
    """One of the T of a case: the observations whose images it is made of, and how it is read."""

    case: int
    images: np.ndarray
    job: ImageJob


def fit_image(image: np.ndarray, shape: tuple[int, ...], channels: int) -> np.ndarray:
    """(H, W) or (H, W, 3) in [0, 1] as (channels, *shape), proportions kept, black borders around.

    Shrinking averages over the area that a pixel covers (a triangle filter as wide as the scale), so fine patterns
    do not turn into false coarse ones.
    """
    return fitted(Shown([image] if image.ndim == 2 else list(np.moveaxis(image, 2, 0))), shape, channels)


def smallest_type(paths: Collection[str]) -> np.dtype:
    """uint8 where all of these files hold 8 bits, else float16."""
    return np.dtype(np.uint8 if all(holds_8_bits(Path(path)) for path in set(paths)) else np.float16)


def with_asset(events: Events, tally: Tally) -> tuple[Events, list[str]]:
    """The observations that name a file, and those files; the others are counted."""
    named = np.array([bool(path) for path in events.strings("asset")], bool)
    tally.add("without a file", ~named)
    events = events.take(named)
    return events, [str(path) for path in events.strings("asset")]


def holds_8_bits(path: Path) -> bool:
    """Whether an image file has 8 bits per channel, told from its name and its first bytes."""
    if path.suffix.lower() in (".jpg", ".jpeg"):
        return True
    if path.suffix.lower() != ".png" or not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(25)
    return start[:8] == b"\x89PNG\r\n\x1a\n" and start[24:25] in (b"\x01", b"\x02", b"\x04", b"\x08")  # IHDR bit depth


def _lost(job: ImageJob, what: str) -> Fault:
    file = job.files[0]
    return Fault(Complaint(file.path, file.record, "Pixel Data", "an image", what))
