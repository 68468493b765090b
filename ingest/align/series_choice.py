"""Which series of a case is taken, by the rules of its task, and in which words that is said.

A rule is judged image by image, so that the one lateral view of a series can be told from its frontal ones; then the
images that fulfil it are counted series by series. The first rule that any series fulfils decides. Among several series
the latest is taken, then the one of most slices, then the one whose UID has the lowest SHA-256: always the same.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ingest.align.events import Events
from ingest.catalogue import REFUSED
from ingest.task import SeriesRule

# What a rule says -> the column of the catalogue that it is about.
CONDITIONS = {
    "modality": "modality",
    "body_part": "body_part",
    "view": "view",
    "laterality": "laterality",
    "description": "description",
    "image_type": "image_type",
    "not_description": "description",
}
SPOKEN = ("modality", "body_part", "view", "laterality")  # codes, not free text: they may be repeated in a message
_CODE = re.compile(r"[A-Za-z0-9_ ]{1,16}")


@dataclass(frozen=True)
class Facts:
    """What the catalogue says of the images of E observations.

    table: the columns of the catalogue, null where an image is not in it. assets (E,): the digest of each file, or its
    path. series (E,): a number for what belongs together; digest (E,): the SHA-256 of its UID. frames (E,): at least 1.
    is_localizer (E,): scouts, on which others were planned. refused (E,): how many images of its series were refused
    when they were ingested, and have not come since.
    """

    table: pd.DataFrame
    assets: Sequence[str]
    series: np.ndarray
    digest: np.ndarray
    frames: np.ndarray
    is_localizer: np.ndarray
    refused: np.ndarray

    @classmethod
    def of(cls, events: Events, catalogue: pa.Table | None) -> "Facts":
        """The facts of these observations, in their order."""
        digests = events.strings("asset_sha256")
        columns = ["kind", "series", "instance", "frames", *sorted(set(CONDITIONS.values()))]
        if catalogue is None:
            table = pd.DataFrame({name: [None] * len(digests) for name in columns}, dtype=object)
        else:
            known = catalogue.filter(pc.is_in(catalogue["asset_sha256"], pa.array(digests, pa.string())))
            frame = known.select(["asset_sha256", *columns]).to_pandas().astype(object)
            table = frame.drop_duplicates("asset_sha256").set_index("asset_sha256").reindex(digests)
            table = table.reset_index(drop=True)
        table = table.where(table.notna(), None)
        frames = np.array([max(int(n), 1) if n is not None else 1 for n in table["frames"]], np.int64)
        is_whole = np.array([kind == "volume" for kind in table["kind"]], bool) | (frames > 1)
        assets = [digest or path for digest, path in zip(digests, events.strings("asset"), strict=True)]
        names = [
            f"asset {asset}" if whole or series is None else f"series {series}"
            for asset, whole, series in zip(assets, is_whole, table["series"], strict=True)
        ]
        numbers, distinct = pd.factorize(np.array(names, object))
        hashed = np.array([hashlib.sha256(name.partition(" ")[2].encode()).hexdigest() for name in distinct], object)
        localizer = np.array(["LOCALIZER" in (text or "").upper() for text in table["image_type"]], bool)
        digest = hashed[numbers] if len(numbers) else np.zeros(0, object)
        lost = _refused(table, catalogue)
        refused = np.array([lost[uid] if uid is not None else 0 for uid in table["series"]], np.int64)
        return cls(table, assets, numbers, digest, frames, localizer, np.where(is_whole, 0, refused))

    def fulfil(self, rule: SeriesRule) -> dict[str, np.ndarray]:
        """(E,) for each condition of the rule but `slices`: which images meet it."""
        return {
            name: ~matches(self.table[column], getattr(rule, name))
            if name == "not_description"
            else matches(self.table[column], getattr(rule, name))
            for name, column in CONDITIONS.items()
            if getattr(rule, name) is not None
        }


@dataclass(frozen=True)
class Taken:
    """What is taken of a case: series in order of preference, each the positions of its images, in order of time.

    note: which and why; problem: why nothing. One of them is empty.
    """

    series: Sequence[np.ndarray] = ()
    note: str = ""
    problem: str = ""


@dataclass
class Chooser:
    """Chooses among the images of one case after another. time (E,): microseconds."""

    facts: Facts
    time: np.ndarray
    rules: Sequence[SeriesRule]
    _met: list[Mapping[str, np.ndarray]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._met = [self.facts.fulfil(rule) for rule in self.rules]

    def choose(self, images: np.ndarray) -> Taken:
        """From the images (positions in order of time) that a case may see."""
        groups = self._groups(images)
        if not self.rules:
            ranked = self._ranked(groups)
            return Taken(ranked, self._note(ranked, groups, "the latest"))
        for number, (rule, met) in enumerate(zip(self.rules, self._met, strict=True), 1):
            fitting = [
                group[np.all([mask[group] for mask in met.values()], axis=0)] if met else group for group in groups
            ]
            fitting = [group for group in fitting if len(group) and self._counted(rule, group)]
            if fitting:
                ranked = self._ranked(fitting)
                return Taken(ranked, self._note(ranked, groups, f"rule {number} ({spoken(rule)})"))
        return Taken(problem=self._problem(groups))

    def _groups(self, images: np.ndarray) -> list[np.ndarray]:
        """Series in order of their first image, each file of one once."""
        groups: dict[int, dict[str, int]] = {}
        for image in images.tolist():
            groups.setdefault(int(self.facts.series[image]), {}).setdefault(self.facts.assets[image], image)
        return [np.array(list(group.values()), np.int64) for group in groups.values()]

    def _ranked(self, groups: Sequence[np.ndarray]) -> list[np.ndarray]:
        return sorted(
            groups,
            key=lambda group: (-int(self.time[group].max()), -self._slices(group), self.facts.digest[group[0]]),
        )

    def _slices(self, group: np.ndarray) -> int:
        return int(self.facts.frames[group].sum())

    def _counted(self, rule: SeriesRule, group: np.ndarray) -> bool:
        return rule.slices is None or rule.slices[0] <= self._slices(group) <= rule.slices[1]

    def _note(self, ranked: Sequence[np.ndarray], groups: Sequence[np.ndarray], why: str) -> str:
        best = ranked[0]
        place = next(
            n for n, group in enumerate(groups, 1) if self.facts.series[group[0]] == self.facts.series[best[0]]
        )
        count = self._slices(best)
        return f"series {place} of {len(groups)}: {why}, {count} {'slice' if count == 1 else 'slices'}"

    def _problem(self, groups: Sequence[np.ndarray]) -> str:
        parts = [f"no series fits: {len(groups)} seen"]
        for number, (rule, met) in enumerate(zip(self.rules, self._met, strict=True), 1):
            said = Counter(self._failing(group, rule, met) for group in groups)
            parts.append(
                f"rule {number}: " + ", ".join(f"{n} of {what}" if n > 1 else what for what, n in said.items())
            )
        return "; ".join(parts)

    def _failing(self, group: np.ndarray, rule: SeriesRule, met: Mapping[str, np.ndarray]) -> str:
        """The first condition of the rule that leaves no image of a series, and what the series has there."""
        left = group
        for name, mask in met.items():
            remaining = left[mask[left]]
            if not len(remaining) and name == "not_description":
                return f"description that holds '{rule.not_description}'"
            if not len(remaining):
                return f"{name.replace('_', ' ')} {self._has(name, left)}"
            left = remaining
        count = self._slices(left)
        return f"{count} {'slice' if count == 1 else 'slices'}"

    def _has(self, name: str, images: np.ndarray) -> str:
        held = sorted({str(text) for text in self.facts.table[CONDITIONS[name]].iloc[images] if text is not None})
        if not held:
            return "not stated"
        codes = [text for text in held if _CODE.fullmatch(text)]
        return "/".join(codes[:3]) if name in SPOKEN and codes else "another"


def _refused(table: pd.DataFrame, catalogue: pa.Table | None) -> Counter[str]:
    """How many images of each of these series are not here because they were refused."""
    if catalogue is None:
        return Counter()
    there = set(table["instance"].dropna())
    of_these = pc.and_(
        pc.equal(catalogue["kind"], REFUSED),
        pc.is_in(catalogue["series"], pa.array(table["series"].dropna().unique(), pa.string())),
    )
    rows = catalogue.filter(of_these).select(["series", "instance", "asset_sha256"]).to_pylist()
    lost = {(row["series"], row["instance"] or row["asset_sha256"]) for row in rows if row["instance"] not in there}
    return Counter(series for series, _ in lost)


def matches(texts: pd.Series, pattern: str) -> np.ndarray:
    """(E,) whether the pattern is found in each text, in any case; not where there is no text."""
    compiled = re.compile(pattern, re.IGNORECASE)
    distinct = {text: bool(compiled.search(text)) for text in texts.dropna().unique()}
    return np.array([distinct.get(text, False) for text in texts], bool)


def spoken(rule: SeriesRule) -> str:
    """A rule as its task states it."""
    parts = []
    for name in CONDITIONS:
        if (pattern := getattr(rule, name)) is not None:
            parts.append(
                f"{name.replace('_', ' ')} {pattern}" if name in SPOKEN else f"{name.replace('_', ' ')} '{pattern}'"
            )
    if rule.slices is not None:
        parts.append(f"{rule.slices[0]} to {rule.slices[1]} slices")
    return ", ".join(parts) or "any series"
