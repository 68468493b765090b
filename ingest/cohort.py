"""The cohort: a folder of shards, each an index and memory-mapped arrays; how it is opened and read in batches.

    <cohort>/task.json            the task, as validated
    <cohort>/statistics.json      what was fitted on the training split (normalisation, levels)
    <cohort>/report.json          cases found, excluded (by reason), events, values too late
    <cohort>/shards/00000/index.parquet           case_id, subject_id, index_time, target, split, <stream>_row;
                                                  outcome_0 ...: all that is to be learnt, where that is more
                                                  record_file, record where cases are records;
                                                  inputs: a digest of all that a model sees of the case;
                                                  <stream>_problem: why it could not be used (or only in part),
                                                  <stream>_note: how it was made, where there was a choice; or null
    <cohort>/shards/00000/report.json             in a shard that was added later: what was found for it
    <cohort>/shards/00000/<stream>.values.npy     (n, T, *feature): only the n cases that have the stream; images from
                                                  8-bit sources are kept as uint8 and given as a fraction of 255
    <cohort>/shards/00000/<stream>.observed.npy   (n, T[, *feature])
    <cohort>/shards/00000/<stream>.hours.npy      (n, T)
    <cohort>/shards/00000/<stream>.features-<key>.npy   what a frozen encoder made of the values, kept for next time
    <cohort>/shards/00000/<stream>.text.parquet   text streams: row, text (redacted, whole: the arrays hold the ids
                                                  that `ingest.notes.tokenizer.latest_tokens` gives for it)
    <cohort>/shards/00000/<stream>.source.parquet every stream: where each element came from (see `ingest.trace`)
    <cohort>/shards/00000/report.parquet          where the task asks for drafts: case_id, text (redacted) that was
                                                  written at the index time or later; no batch ever reads it

`<stream>_row` is the case's row in that stream's arrays, -1 where it is absent: an absent stream takes no disk.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ingest.errors import TelltaleError
from ingest.files import restore_folder
from ingest.statistics import Statistics
from ingest.task import Task, parse_task

if TYPE_CHECKING:  # a page that lists cases must not pay for torch
    from ingest.batch import Batch, Stream

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class StreamArrays:
    """The arrays of one stream in one shard, mapped not read. A stream that nobody has: zero rows."""

    values: np.ndarray
    observed: np.ndarray
    hours: np.ndarray


@dataclass(frozen=True)
class Cohort:
    """An aligned cohort on disk. Built by `open_cohort`.

    index: one row per case over all shards, with columns case_id, subject_id, index_time, target, split, shard,
    and <stream>_row for every stream; its order is the order of the cases.
    features: stream -> key, for streams whose `values` are the features of a frozen encoder, kept beside the arrays.
    """

    folder: Path
    task: Task
    statistics: Statistics
    index: pd.DataFrame
    features: Mapping[str, str] = field(default_factory=dict)
    _mapped: dict[tuple[int, str], StreamArrays] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def stream_names(self) -> list[str]:
        """The task's streams, in its order."""
        return list(self.task.streams)

    @cached_property
    def target(self) -> np.ndarray:
        """(N,) float32: whether the risk event happened, NaN where unknown."""
        return np.asarray(self.index["target"], np.float32)

    @cached_property
    def outcome(self) -> np.ndarray:
        """(N, K) float32: the numbers that state what is to be learnt, target by target; NaN where unknown."""
        names = self.task.outcome_columns
        return np.asarray(self.index[names], np.float32) if names else self.target[:, None]

    @cached_property
    def known(self) -> np.ndarray:
        """(N,) bool: whether anything is known of the outcome that the task's target asks for."""
        return np.asarray(~np.isnan(self.outcome[:, : len(self.task.target.columns)]).all(1))

    @cached_property
    def present(self) -> np.ndarray:
        """(N, M) bool: which streams each case has."""
        return np.stack([self.index[f"{name}_row"].to_numpy() >= 0 for name in self.stream_names], 1)

    def rows(self, split: str | None = None) -> np.ndarray:
        """The positions of a split's cases (all cases where None)."""
        if split is None:
            return np.arange(len(self))
        if split not in SPLITS:
            raise TelltaleError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
        return np.flatnonzero(self.index["split"].to_numpy() == split)

    def inputs(self, row: int) -> str | None:
        """The digest of all that a model sees of the case at this position; None where none is kept."""
        kept = self.index["inputs"].iloc[row] if "inputs" in self.index.columns else None
        return kept if isinstance(kept, str) else None

    def arrays(self, shard: int, stream: str) -> StreamArrays:
        """The memory-mapped arrays of a stream in a shard."""
        key = (shard, stream)
        if key not in self._mapped:
            values = self.features_file(shard, stream, self.features[stream]) if stream in self.features else None
            stem = self.shard_folder(shard) / stream
            self._mapped[key] = StreamArrays(
                np.load(values or f"{stem}.values.npy", mmap_mode="r"),
                np.load(f"{stem}.observed.npy", mmap_mode="r"),
                np.load(f"{stem}.hours.npy", mmap_mode="r"),
            )
        return self._mapped[key]

    def with_features(self, features: Mapping[str, str]) -> "Cohort":
        """The same cohort with these streams' values replaced by kept features (stream -> key)."""
        return replace(self, features=dict(features), _mapped={})

    def features_file(self, shard: int, stream: str, key: str) -> Path:
        """Where the features of a frozen encoder are kept: (n, T, F), for the rows of the stream's own arrays."""
        return self.shard_folder(shard) / f"{stream}.features-{key}.npy"

    def shard_folder(self, shard: int) -> Path:
        """Where a shard's files are."""
        return self.folder / "shards" / f"{shard:05d}"

    def batch(self, rows: Sequence[int] | np.ndarray, streams: Sequence[str] | None = None) -> "Batch":
        """The cases at these positions as tensors (`streams` limits which are read; the default is all)."""
        import torch

        from ingest.batch import Batch

        chosen = self.index.iloc[np.asarray(rows, dtype=np.int64)]
        names = self.stream_names if streams is None else list(streams)
        return Batch(
            case_ids=chosen["case_id"].to_numpy(str),
            subject_ids=chosen["subject_id"].to_numpy(np.int64),
            index_times=chosen["index_time"].to_numpy("datetime64[us]"),
            streams={name: self._stream(name, chosen) for name in names},
            target=torch.from_numpy(chosen["target"].to_numpy(np.float32).copy()),
            outcome=torch.from_numpy(self.outcome[np.asarray(rows, dtype=np.int64)]),
        )

    def stored(self, shard: int, stream: str, rows: slice) -> "Stream":
        """A run of a stream's own rows as they are stored, whichever cases they belong to."""
        arrays = self.with_features({}).arrays(shard, stream)
        return _tensors(np.array(arrays.values[rows]), np.array(arrays.observed[rows]), np.array(arrays.hours[rows]))

    def batches(self, rows: np.ndarray, size: int, streams: Sequence[str] | None = None) -> Iterator["Batch"]:
        """These cases in batches of at most `size`, in order."""
        for start in range(0, len(rows), size):
            yield self.batch(rows[start : start + size], streams)

    def texts(self, stream: str) -> pd.Series:
        """The text of a text stream by case_id, as it was tokenised (after redaction)."""
        parts = []
        for shard in sorted(self.index["shard"].unique()):
            held = pd.read_parquet(self.shard_folder(int(shard)) / f"{stream}.text.parquet").set_index("row")["text"]
            cases = self.index[(self.index["shard"] == shard) & (self.index[f"{stream}_row"] >= 0)]
            parts.append(pd.Series(held.loc[cases[f"{stream}_row"]].to_numpy(), index=cases["case_id"]))
        return pd.concat(parts) if parts else pd.Series(dtype=object)

    def sources(self, stream: str) -> pd.DataFrame:
        """Where a stream's elements came from: case_id and the columns of `ingest.align.events.SOURCE_SCHEMA`."""
        parts = []
        for shard in sorted(self.index["shard"].unique()):
            held = pd.read_parquet(self.shard_folder(int(shard)) / f"{stream}.source.parquet")
            cases = self.index.loc[self.index["shard"] == shard, ["case_id", f"{stream}_row"]]
            parts.append(
                cases.merge(held, left_on=f"{stream}_row", right_on="row").drop(columns=[f"{stream}_row", "row"])
            )
        return pd.concat(parts, ignore_index=True).drop_duplicates(ignore_index=True)

    def _stream(self, name: str, chosen: pd.DataFrame) -> "Stream":
        shards = chosen["shard"].to_numpy()
        at = chosen[f"{name}_row"].to_numpy()
        some = self.arrays(int(shards[0]) if len(shards) else 0, name)
        parts = []
        for array_name in ("values", "observed", "hours"):
            like: np.ndarray = getattr(some, array_name)
            out = np.zeros((len(chosen), *like.shape[1:]), like.dtype)
            for shard in np.unique(shards):
                here = np.flatnonzero((shards == shard) & (at >= 0))
                if len(here):
                    out[here] = getattr(self.arrays(int(shard), name), array_name)[at[here]]
            parts.append(out)
        values, observed, hours = parts
        if name in self.features and values.shape[1] != observed.shape[1]:  # features of the stream as a whole
            hours = np.where(observed, hours, 0).min(1, keepdims=True)
            observed = np.asarray(observed.any(1, keepdims=True))
        return _tensors(values, observed, hours)


def open_cohort(folder: Path) -> Cohort:
    """Open an aligned cohort. Raises TelltaleError where the folder holds none."""
    restore_folder(folder)
    if not (folder / "task.json").is_file():
        raise TelltaleError(f"{folder}: expected an aligned cohort, found none; run `telltale align` first")
    task = parse_task(json.loads((folder / "task.json").read_text()), str(folder / "task.json"))
    statistics = Statistics.from_json(json.loads((folder / "statistics.json").read_text()))
    shards = sorted(int(path.name) for path in (folder / "shards").iterdir() if path.name.isdigit())
    frames = [
        pd.read_parquet(folder / "shards" / f"{shard:05d}" / "index.parquet").assign(shard=shard) for shard in shards
    ]
    return Cohort(folder, task, statistics, pd.concat(frames, ignore_index=True))


def presence_pattern(present: np.ndarray, names: Sequence[str]) -> list[str]:
    """Each case's streams as text, such as "labs + notes"; "none" where nothing is there. present (N, M) bool."""
    return [" + ".join(n for n, here in zip(names, row, strict=True) if here) or "none" for row in present]


def _tensors(values: np.ndarray, observed: np.ndarray, hours: np.ndarray) -> "Stream":
    """Stored arrays as a stream: token ids stay integers, 8-bit intensities become [0, 1]."""
    import torch

    from ingest.batch import Stream

    tensor = torch.from_numpy(values)
    if tensor.dtype == torch.uint8:
        tensor = tensor.float() / 255
    elif tensor.dtype != torch.int64:
        tensor = tensor.float()
    return Stream(tensor, torch.from_numpy(observed), torch.from_numpy(hours).float())
