"""Audio streams: the latest usable recording of a case, as log-mel frames or as a waveform."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ingest.align.block import Block, Given
from ingest.align.events import STATIC, TIMELESS, Cases, Origin, Seen, seen, sources_of
from ingest.align.image import with_asset
from ingest.align.waveform import FORMS, Form, Made
from ingest.delivery.shown_names import ShownName
from ingest.errors import Complaint, InputError
from ingest.machine import cores
from ingest.signals.files import recording_sha256
from ingest.statistics import StreamStatistics
from ingest.task import AudioStream

CASES_AT_ONCE = 128
BLOCK_BYTES = 1 << 26
TRIES = 5  # recordings that are looked at for a case before it counts as having none
MOMENT_S = 60.0  # a recording of at most so long counts as one moment, that of its time
_MICROSECONDS = 1e6


@dataclass(frozen=True)
class _Taken:
    """What was found for a case: the recording's event (-1: none), what became of it, and what is to be said.

    left: kind, complaint and file, as it may be shown, of every recording that could not be used.
    """

    event: int
    made: Made | None
    problem: str = ""
    note: str = ""
    left: tuple[tuple[str, str, str], ...] = ()
    tried: int = 0


class AudioAligner:
    """values (n, T, F), observed (n, T[, F]), hours (n, T): the first `seconds` of the latest usable recording.

    What is beyond the end of a shorter recording is not observed. Every element has the hours of its recording; what
    a recording of more than a minute holds from after the index time is cut off, unless it is stated to have been
    available by then. Where the latest recording is unusable the one before it is taken, and the case says so.
    """

    def __init__(self, spec: AudioStream, given: Given) -> None:
        self.spec, self.tally = spec, given.tally
        self.events, self.paths = with_asset(given.events.select(spec.codes), given.tally)
        self.sha256 = self.events.strings("asset_sha256")
        self.form: Form = FORMS[spec.form](spec, given.stream)

    @property
    def statistics(self) -> StreamStatistics:
        return self.form.statistics

    def blocks(self, cases: Cases) -> Iterator[Block]:
        """Blocks of a few cases each, their recordings read in parallel."""
        each = 4 * self.statistics.elements * self.statistics.feature_shape[0]
        at_once = int(np.clip(BLOCK_BYTES // each, 1, CASES_AT_ONCE))
        with ThreadPoolExecutor(cores()) as pool:
            for start, some in cases.chunks(at_once):
                pairs = seen(self.events, some, self.spec.window_hours, self.tally)
                have, first = np.unique(pairs.case, return_index=True)
                latest_first = [mine[::-1] for mine in np.split(pairs.event, first[1:])] if len(have) else []
                indexes = some.index_time[have]
                taken = list(pool.map(self._choose, latest_first, indexes))
                yield self._block(start, some, have, taken, pairs)

    def empty(self) -> Block:
        nobody = np.zeros(0, np.int64)
        return self._block(0, Cases.none(), nobody, [], Seen(nobody, nobody))

    def _block(self, start: int, cases: Cases, have: np.ndarray, taken: list[_Taken], pairs: Seen) -> Block:
        for found in taken:
            for each in found.left:
                self.tally.refuse(*each)
        good = [(int(case), found) for case, found in zip(have, taken, strict=True) if found.made is not None]
        self.tally.add("used", len(good))
        self.tally.add("older than the latest kept", len(pairs.case) - sum(found.tried for found in taken))
        rows, case = np.arange(len(good)), np.array([case for case, _ in good], np.int64)
        events = np.array([found.event for _, found in good], np.int64)
        shape = (self.statistics.elements, *self.statistics.feature_shape)
        values = np.zeros((len(good), *shape), np.float32)
        observed = np.zeros((len(good), *self.form.observed_shape), bool)
        for row, (_, found) in enumerate(good):
            assert found.made is not None
            values[row, : len(found.made.values)] = found.made.values
            observed[row, : len(found.made.values)] = found.made.observed
        there: np.ndarray = observed if observed.ndim == 2 else np.asarray(observed.any(2))
        hours = there * cases.hours(case, self.events.time[events])[:, None]
        last = there.shape[1] - there[:, ::-1].argmax(1)
        return Block(
            start + case,
            values,
            observed,
            hours,
            sources_of([Origin(self.events, rows, events, 0, last)]),
            problems={start + int(c): found.problem for c, found in zip(have, taken, strict=True) if found.problem},
            notes={start + int(c): found.note for c, found in zip(have, taken, strict=True) if found.note},
        )

    def _choose(self, events: np.ndarray, index_time: int) -> _Taken:
        """The latest recording that can be used. events: latest first."""
        left: list[tuple[str, str, str]] = []
        latest = ""
        for tried, event in enumerate(events[:TRIES], 1):
            try:
                made = self._made(int(event), int(index_time))
            except InputError as error:
                why, kind = f"cannot be read: {_said(error.complaint)}", "unreadable or changed"
                file = ShownName(error.complaint.file)
                complaint = str(replace(error.complaint, file=file))
            else:
                if made.usable:
                    place = f"recording {len(events) - tried + 1} of {len(events)}"
                    note = f"{place}, since the latest could not be used: {latest}" if latest else ""
                    return _Taken(int(event), made, made.problem, note, tuple(left), tried)
                why, kind = made.problem or "nothing in it", "unusable"
                file = ShownName(self.paths[event])
                complaint = f"{file}: {why}"
            latest = latest or why
            left.append((kind, complaint, file))
        return _Taken(-1, None, latest, "", tuple(left), min(len(events), TRIES))

    def _made(self, event: int, index_time: int) -> Made:
        path = Path(self.paths[event])
        try:
            found = recording_sha256(path)
        except OSError as error:
            raise InputError(str(path), expected="a readable file", got=error.strerror or "an error") from None
        expected = self.sha256[event]
        if expected and found != expected:
            raise InputError(
                str(path), field="sha256", expected=f"{expected[:12]}…", got=f"{found[:12]}…", hint="ingest it again"
            )
        return self.form.make(path, self._most_seconds(event, index_time))

    def _most_seconds(self, event: int, index_time: int) -> float:
        """How much of a recording a case may see: up to the index time, unless all of it was available by then."""
        time, known = int(self.events.time[event]), int(self.events.known[event])
        if STATIC in (time, known) or index_time == TIMELESS or known > time:
            return float("inf")
        return max((index_time - time) / _MICROSECONDS, MOMENT_S)


def _said(complaint: Complaint) -> str:
    """A complaint without its file, whose name may be a person's."""
    where = f"{complaint.field}: " if complaint.field else ""
    return f"{where}expected {complaint.expected}, got {complaint.got}"
