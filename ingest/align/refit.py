"""What was fitted on a cohort's training split, fitted anew on other training cases: nothing is written or realigned.

Cross-validation and learning curves need it, and a model's evaluation on a cohort that was aligned without it.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace

import numpy as np

from ingest.align.check import features_of
from ingest.align.fit_statistics import Moments
from ingest.align.request import Request
from ingest.align.source import ObservationSource
from ingest.cohort import Cohort, StreamArrays
from ingest.statistics import StreamStatistics

BYTES_AT_ONCE = 1 << 26
Levels = Mapping[str, Mapping[str, tuple[str, ...]]]  # stream -> feature -> texts


@dataclass(frozen=True)
class Recoded(Cohort):
    """A cohort whose categorical values are read as positions among other levels than those it was written with.

    A view and not a copy on disk, and a `Cohort` so that whatever reads one reads it. places: stream -> the place of
    a feature -> (L,) the new position of each level it was written with, or -1: such a value is missing.
    """

    places: Mapping[str, Mapping[int, np.ndarray]] = field(default_factory=dict)

    def arrays(self, shard: int, stream: str) -> StreamArrays:
        """The arrays of a stream in a shard; those that are recoded are in memory."""
        mapped = (shard, stream) in self._mapped
        arrays = super().arrays(shard, stream)
        if not mapped and self.places.get(stream) and stream not in self.features:
            arrays = self._mapped[shard, stream] = _recoded(arrays, self.places[stream])
        return arrays


def refit(cohort: Cohort, split: np.ndarray, keep: Collection[str] = ()) -> Cohort:
    """The cohort with another split, and with statistics and `levels: auto` of its new training cases.

    split (N,): texts; a case in none of train, validation and test is left out of all. keep: streams whose statistics
    stay, as those of a frozen encoder, whose features are kept beside the cohort.
    Levels are chosen among those that the cohort was written with: a text that only its held-back cases have had is
    missing there already.
    """
    moved = replace(cohort.with_features({}), index=cohort.index.assign(split=split))
    train = moved.rows("train")
    view = with_levels(moved, {name: _levels(moved, name, train) for name in moved.stream_names})
    streams = {
        name: statistics if name in keep else _fitted(view, name, train)
        for name, statistics in view.statistics.streams.items()
    }
    target = view.target[train]
    prevalence = float(target[~np.isnan(target)].mean()) if (~np.isnan(target)).any() else float("nan")
    return replace(view, statistics=replace(view.statistics, streams=streams, cases=len(train), prevalence=prevalence))


def with_levels(cohort: Cohort, levels: Levels) -> Cohort:
    """The cohort with the values of these features as positions among these texts; any other text is missing."""
    places: dict[str, dict[int, np.ndarray]] = {}
    streams = dict(cohort.statistics.streams)
    earlier = cohort.places if isinstance(cohort, Recoded) else {}
    for name, statistics in cohort.statistics.streams.items():
        changed = {
            feature: texts
            for feature, texts in levels.get(name, {}).items()
            if feature in statistics.levels and statistics.levels[feature] != texts
        }
        mine = dict(earlier.get(name, {}))
        for feature, texts in changed.items():
            new = np.array([texts.index(text) if text in texts else -1 for text in statistics.levels[feature]], int)
            at = statistics.names.index(feature)
            mine[at] = np.where(mine[at] >= 0, new[mine[at]], -1) if at in mine else new
        places[name] = mine
        streams[name] = replace(statistics, levels={**statistics.levels, **changed})
    if not any(places.values()):
        return cohort
    plain = {part.name: getattr(cohort, part.name) for part in fields(Cohort)}
    plain |= {"statistics": replace(cohort.statistics, streams=streams), "_mapped": {}}
    return Recoded(**plain, places=places)


def blocks_of(cohort: Cohort, stream: str, rows: np.ndarray) -> Iterator[StreamArrays]:
    """The stored values of those of these cases that have the stream, some at a time, shard by shard."""
    chosen = cohort.index.iloc[rows]
    shards, at = chosen["shard"].to_numpy(), chosen[f"{stream}_row"].to_numpy()
    for shard in np.unique(shards):
        arrays = cohort.arrays(int(shard), stream)
        mine = at[(shards == shard) & (at >= 0)]
        step = max(BYTES_AT_ONCE // max(arrays.values[:1].nbytes, 1), 1)
        for start in range(0, len(mine), step):
            some = mine[start : start + step]
            yield StreamArrays(arrays.values[some], arrays.observed[some], arrays.hours[some])


def _fitted(cohort: Cohort, stream: str, rows: np.ndarray) -> StreamStatistics:
    """The stream's statistics over these cases, as alignment fits them."""
    moments = Moments(cohort.statistics.streams[stream])
    for arrays in blocks_of(cohort, stream, rows):
        moments.add(arrays.values, arrays.observed)
    return moments.statistics()


def _levels(cohort: Cohort, stream: str, rows: np.ndarray) -> dict[str, tuple[str, ...]]:
    """Feature with `levels: auto` -> its texts among these cases, the most frequent first, then by name."""
    auto = [feature.name for feature in features_of(cohort.task.streams[stream]) if feature.levels == "auto"]
    if not auto:
        return {}
    statistics = cohort.statistics.streams[stream]
    counts = {name: np.zeros(len(statistics.levels.get(name, ())), int) for name in auto}
    for arrays in blocks_of(cohort, stream, rows):
        for name in auto:
            at = statistics.names.index(name)
            seen = arrays.values[..., at][arrays.observed[..., at]].astype(int)
            counts[name] += np.bincount(seen, minlength=len(counts[name]))
    return {
        name: tuple(
            text for count, text in sorted(zip(-counted, statistics.levels.get(name, ()), strict=True)) if count < 0
        )
        for name, counted in counts.items()
    }


def _recoded(arrays: StreamArrays, places: Mapping[int, np.ndarray]) -> StreamArrays:
    values, observed = np.array(arrays.values), np.array(arrays.observed)
    for at, new in places.items():
        seen = observed[..., at]
        position = np.where(seen, new[np.where(seen, values[..., at], 0).astype(int)], -1) if len(new) else -1
        observed[..., at] = seen & (np.asarray(position) >= 0)
        values[..., at] = np.where(observed[..., at], position, 0)
    return StreamArrays(values, observed, arrays.hours)


def groups_of(cohort: Cohort, observations: ObservationSource) -> np.ndarray:
    """(N,) texts: what the task's `group_by` keeps each case together with: its subject's earliest stated group.

    A subject for whom none is stated is a group by itself.
    """
    code = cohort.task.split.group_by
    stated: dict[int, str] = {}
    if code is not None:
        for prepared in Request(cohort.task, observations).chunks({code}):
            events = prepared.events.select((code,))
            for subject, text in zip(events.column("subject_id").to_pylist(), events.texts(), strict=True):
                if text is not None:
                    stated.setdefault(subject, text)
    subjects = cohort.index["subject_id"].to_numpy(np.int64).tolist()
    return np.array([f"group {stated[s]}" if s in stated else f"subject {s}" for s in subjects])
