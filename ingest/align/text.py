"""Text streams: the notes of a case, joined in order of time and cut into tokens."""

import re
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from ingest.align.block import Block, Given
from ingest.align.events import Cases, Origin, seen, sources_of
from ingest.errors import TaskError
from ingest.notes.sections import select_sections
from ingest.notes.tokenizer import latest_tokens, load_tokenizer
from ingest.statistics import StreamStatistics
from ingest.task import TextStream

BETWEEN_NOTES = "\n\n"
CASES_AT_ONCE = 512


class TextAligner:
    """values (n, T) token ids (0: none), observed and hours (n, T): the latest T = max_tokens tokens.

    Of each note the sections asked for are taken, then what `redact` matches becomes one space: a mark in its place
    would itself tell that something was there. A text longer than T keeps its end; the case says how much that is, and
    the tokens before it are counted. The whole text that was tokenised is kept beside the arrays; `latest_tokens` gives
    the tokens of the arrays from it, with their places.
    """

    def __init__(self, spec: TextStream, given: Given) -> None:
        self.spec, self.tally = spec, given.tally
        self.events = given.events.select(spec.codes)
        self.tokenizer = load_tokenizer(spec.tokenizer)
        self.redact, self.sections, self.without = (
            [_pattern(pattern, given.stream, key) for pattern in getattr(spec, key)]
            for key in ("redact", "sections", "without_sections")
        )

    @property
    def statistics(self) -> StreamStatistics:
        return StreamStatistics(
            kind="text",
            elements=self.spec.max_tokens,
            feature_shape=(),
            vocabulary_size=self.tokenizer.vocabulary_size,
        )

    def blocks(self, cases: Cases) -> Iterator[Block]:
        """Blocks of a few hundred cases."""
        for start, some in cases.chunks(CASES_AT_ONCE):
            yield self._block(start, some)

    def empty(self) -> Block:
        return self._block(0, Cases.none())

    def _block(self, start: int, cases: Cases) -> Block:
        pairs = seen(self.events, cases, self.spec.window_hours, self.tally)
        texts = self.events.column("text_value").take(pa.array(pairs.event)).to_pylist()
        hours = cases.hours(pairs.case, self.events.time[pairs.event])
        notes = [self._prepared(text or "") for text in texts]
        there = np.array([bool(note) for note in notes], bool)
        self.tally.add("empty", ~there)
        case, event, hours = pairs.case[there], pairs.event[there], hours[there]
        notes = [note for note in notes if note]
        have, row = np.unique(case, return_inverse=True)
        starts = np.append(np.searchsorted(case, have), len(case))
        size = self.spec.max_tokens
        ids = np.zeros((len(have), size), np.int64)
        observed, token_hours = np.zeros((len(have), size), bool), np.zeros((len(have), size), np.float32)
        whole, cut = [], {}
        first_token, token_count = np.zeros(len(notes), np.int32), np.zeros(len(notes), np.int32)
        for r in range(len(have)):
            mine = slice(starts[r], starts[r + 1])
            text = BETWEEN_NOTES.join(notes[mine])
            found, offsets, dropped = latest_tokens(self.tokenizer, text, size)
            if dropped:
                cut[int(have[r])] = f"text of {len(found) + dropped:,} tokens: the latest {size:,} kept"
            self.tally.add("tokens beyond max_tokens", dropped)
            self.tally.add("used", len(found))
            ends = np.cumsum([len(note) + len(BETWEEN_NOTES) for note in notes[mine]])
            ids[r, : len(found)] = found
            observed[r, : len(found)] = True
            note_of_token = np.searchsorted(ends, [first for first, _ in offsets], "right")
            token_hours[r, : len(found)] = hours[mine][note_of_token]
            first_token[mine] = np.searchsorted(note_of_token, np.arange(len(notes[mine])), "left")
            token_count[mine] = np.bincount(note_of_token, minlength=len(notes[mine]))
            whole.append(text)
        self.tally.note("cases cut to max_tokens", len(cut))
        rows = np.where(token_count > 0, row, -1)  # a note that was cut away as a whole is no source
        return Block(
            start + have, ids, observed, token_hours,
            sources_of([Origin(self.events, rows, event, first_token, token_count)]), tuple(whole),
            problems=self._problems(start, pairs.case, have), notes={start + case: line for case, line in cut.items()},
        )  # fmt: skip

    def _problems(self, start: int, case: np.ndarray, have: np.ndarray) -> dict[int, str]:
        """The cases that have notes, but nothing in them to read."""
        lacking, counts = np.unique(case[~np.isin(case, have)], return_counts=True)
        nothing = "nothing but white space"
        if self.sections or self.without or self.redact:
            nothing = "nothing left after sections and redaction"
        lines = [f"{count:,} notes, {nothing}" if count > 1 else f"1 note, {nothing}" for count in counts.tolist()]
        return {start + place: line for place, line in zip(lacking.tolist(), lines, strict=True)}

    def _prepared(self, text: str) -> str:
        """What is read of a note: its sections, without what is redacted."""
        chosen = select_sections(text, self.sections, self.without)
        self.tally.add("notes without such a section", bool(text.strip()) and not chosen.strip())
        for pattern in self.redact:
            chosen, count = pattern.subn(" ", chosen)
            self.tally.note("passages redacted", count)
        return chosen.strip()


def _pattern(pattern: str, stream: str, key: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        where = f"stream {stream}, {key}"
        raise TaskError(f"{where}: expected regular expressions, got {pattern!r}: {error}") from None
