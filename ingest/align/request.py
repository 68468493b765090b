"""What is to be aligned: a task over observations, with the words and the catalogue to understand them by."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingest.align.audio import AudioAligner
from ingest.align.block import Aligner, Given
from ingest.align.check import stream_codes
from ingest.align.events import Events
from ingest.align.image import ImageAligner
from ingest.align.prepare import Prepared, prepare_events
from ingest.align.report import Tally
from ingest.align.series import SeriesAligner
from ingest.align.source import ROWS_AT_ONCE, ObservationSource, ahead
from ingest.align.table import TableAligner
from ingest.align.text import TextAligner
from ingest.catalogue import REFUSED
from ingest.delivery.shown_names import Bearing
from ingest.meaning.vocabulary import EMPTY, Vocabulary
from ingest.task import StreamSpec, Task


@dataclass(frozen=True)
class Request:
    """A task over the observations of some subjects (all where None)."""

    task: Task
    source: ObservationSource
    subjects: Collection[int] | None = None
    vocabulary: Vocabulary = EMPTY
    catalogue: pa.Table | None = None
    bearing: Bearing = lambda words: set()

    def chunks(self, codes: Collection[str]) -> Iterator[Prepared]:
        """The events of these codes, some whole subjects at a time."""
        records = 0
        if self.task.index.per_record is not None:  # every pass numbers the records alike
            codes = {*codes, self.task.index.per_record}
        for table in ahead(self.source.chunks(codes, self.subjects, ROWS_AT_ONCE)):
            prepared = prepare_events(table, self.task, records)
            records += len(prepared.records.subject) if prepared.records is not None else 0
            yield prepared

    def aligner(
        self,
        stream: str,
        events: Events,
        tally: Tally,
        levels: Mapping[str, tuple[str, ...]] | None = None,
        dtype: np.dtype | None = None,
    ) -> Aligner:
        """The aligner of a stream over the events of some subjects."""
        spec = self.task.streams[stream]
        given = Given(stream, events, tally, levels or {}, dtype, self.vocabulary, self._catalogued(spec, events))
        return ALIGNERS[spec.kind](spec, given)

    def _catalogued(self, spec: StreamSpec, events: Events) -> pa.Table | None:
        """What the catalogue says of the files of these events, and of what was refused."""
        if self.catalogue is None or spec.kind not in ("image", "audio"):
            return None
        digests = events.select(stream_codes(spec)).column("asset_sha256")
        theirs = pc.is_in(self.catalogue["asset_sha256"], pc.unique(digests))
        return self.catalogue.filter(pc.or_(theirs, pc.equal(self.catalogue["kind"], REFUSED)))


# stream kind -> what aligns it; each takes its own part of a task and a `Given`
ALIGNERS: dict[str, Callable[..., Aligner]] = {
    "table": TableAligner,
    "series": SeriesAligner,
    "image": ImageAligner,
    "text": TextAligner,
    "audio": AudioAligner,
}
