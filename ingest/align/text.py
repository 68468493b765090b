"""Text streams: the notes of a case, joined in order of time and cut into tokens."""

import re
from collections.abc import Iterator

import numpy as np

from ingest.align.block import Block, Given
from ingest.align.events import Cases, seen, sources_of
from ingest.errors import TaskError
from ingest.statistics import StreamStatistics
from ingest.task import TextStream
from ingest.tokenizer import latest_tokens, load_tokenizer

BETWEEN_NOTES = "\n\n"
CASES_AT_ONCE = 512


class TextAligner:
    """values (n, T) token ids (0: none), observed and hours (n, T): the latest T = max_tokens tokens.

    What `redact` matches becomes one space: a mark in its place would itself tell that something was there. A text
    longer than T keeps its end, and the tokens before it are counted. The whole redacted text is kept beside the
    arrays; `latest_tokens` gives the tokens of the arrays from it, with their places.
    """

    def __init__(self, spec: TextStream, given: Given) -> None:
        self.spec, self.tally = spec, given.tally
        self.events = given.events.select(spec.codes)
        self.tokenizer = load_tokenizer(spec.tokenizer)
        try:
            self.redact = [re.compile(pattern, re.IGNORECASE) for pattern in spec.redact]
        except re.error as error:
            where = f"stream {given.stream}, redact"
            raise TaskError(f"{where}: expected regular expressions, got {error.pattern!r}: {error}") from None

    @property
    def statistics(self) -> StreamStatistics:
        return StreamStatistics(
            kind="text",
            elements=self.spec.max_tokens,
            feature_shape=(),
            vocabulary_size=self.tokenizer.vocabulary_size,
        )

    def fit(self, training: Cases) -> None:
        """Nothing to learn."""

    def blocks(self, cases: Cases) -> Iterator[Block]:
        """Blocks of a few hundred cases."""
        for start, some in cases.chunks(CASES_AT_ONCE):
            yield self._block(start, some)

    def empty(self) -> Block:
        return self._block(0, Cases.none())

    def _block(self, start: int, cases: Cases) -> Block:
        pairs = seen(self.events, cases, self.spec.window_hours, self.tally)
        texts = self.events.table["text_value"].take(pairs.event).to_pylist()
        hours = cases.hours(pairs.case, self.events.time[pairs.event])
        notes = [self._redacted(text or "") for text in texts]
        there = np.array([bool(note) for note in notes], bool)
        self.tally.add("empty", ~there)
        case, event, hours = pairs.case[there], pairs.event[there], hours[there]
        notes = [note for note in notes if note]
        have, row = np.unique(case, return_inverse=True)
        starts = np.append(np.searchsorted(case, have), len(case))
        size = self.spec.max_tokens
        ids = np.zeros((len(have), size), np.int64)
        observed, token_hours = np.zeros((len(have), size), bool), np.zeros((len(have), size), np.float32)
        whole = []
        for r in range(len(have)):
            mine = slice(starts[r], starts[r + 1])
            text = BETWEEN_NOTES.join(notes[mine])
            found, offsets, dropped = latest_tokens(self.tokenizer, text, size)
            self.tally.add("tokens beyond max_tokens", dropped)
            self.tally.add("used", len(found))
            ends = np.cumsum([len(note) + len(BETWEEN_NOTES) for note in notes[mine]])
            ids[r, : len(found)] = found
            observed[r, : len(found)] = True
            note_of_token = np.searchsorted(ends, [first for first, _ in offsets], "right")
            token_hours[r, : len(found)] = hours[mine][note_of_token]
            whole.append(text)
        sources = sources_of([(self.events, row, event)])
        return Block(start + have, ids, observed, token_hours, sources, tuple(whole))

    def _redacted(self, text: str) -> str:
        for pattern in self.redact:
            text, count = pattern.subn(" ", text)
            self.tally.add("redacted", count)
        return text.strip()
