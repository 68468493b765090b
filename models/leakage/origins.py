"""Where the data came from: file, folder, kind of picture, group. An origin that tells the outcome will be learnt."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.cohort import Cohort
from models.leakage.finding import Finding, gravest
from models.leakage.marks import count_marks
from models.leakage.scope import Scope
from models.leakage.separation import best_auroc, cross_validated, separation

CHECK = "origin"
ALARM, LOOK = 0.9, 0.7  # of the AUROC of a rate per origin: hospitals do differ, so a look comes early
LEAST_CASES = 10  # an origin with fewer is among "others"
MOST_KINDS = 50
STEP = (
    "take both outcomes from the same places, or split by place (`group_by`) and report each: a model that knows the "
    "place has not learnt the illness"
)
FACTS = (
    "kind", "modality", "body_part", "view", "laterality", "description", "image_type", "photometric",
    "transfer_syntax", "bits_stored", "frames", "sample_rate_hz",
)  # fmt: skip
_DIGEST = re.compile(r"@[0-9a-f]{12}$")
_NUMBER = re.compile(r"[0-9a-f]*\d[0-9a-f]*")


@dataclass(frozen=True)
class Origin:
    """One way to say where the cases came from. kinds (n,) str, empty where it is not known."""

    where: str
    what: str
    kinds: np.ndarray


def origins_of(scope: Scope, groups: Mapping[int, str], catalogue: pa.Table | None) -> list[Origin]:
    """All that is known of the cases' origins. groups: subject -> the task's group; catalogue: of the workspace."""
    found = []
    if groups:
        kinds = np.array([groups.get(int(subject), "") for subject in scope.subjects], object)
        found.append(Origin("cohort", f"group {scope.cohort.task.split.group_by}", kinds))
    chosen = scope.cohort.index.iloc[scope.rows]
    for stream in scope.cohort.stream_names:
        sources = first_sources(scope.cohort, scope.rows, stream)
        found += [Origin(stream, what, kinds) for what, kinds in _paths(sources).items()]
        found += [Origin(stream, what, kinds) for what, kinds in _catalogued(sources["asset"], catalogue).items()]
        for said in ("note", "problem"):
            if (name := f"{stream}_{said}") in chosen:
                found.append(Origin(stream, f"{said} of the alignment", _without_numbers(_texts(chosen[name]))))
    return _distinct([Origin(o.where, o.what, _frequent(o.kinds)) for o in found])


def origin_findings(scope: Scope, origins: list[Origin]) -> list[Finding]:
    """The AUROC of each origin's rate of the outcome, as the other folds have it, and origins that settle it."""
    found = []
    for origin in origins:
        known = origin.kinds != ""
        target, subjects = scope.target[known], scope.subjects[known]
        kinds = np.unique(origin.kinds[known])
        coded = (origin.kinds[known][:, None] == kinds).astype(float)
        said = cross_validated(RatePerOrigin, coded, target, subjects, scope.seed)
        if said is None:
            continue
        told = separation(said, target, subjects)
        marks = count_marks(coded.astype(bool), target, scope.weight)
        verdicts = marks.verdicts()
        # One origin that settles the outcome of its few cases is for a person to judge: an outlying clinic may be real.
        verdict = gravest(told.verdict(ALARM, LOOK), "look" if "alarm" in verdicts else "fine")
        figure = f"{origin.what}, {len(kinds)} kinds: {told}"
        if "alarm" in verdicts:
            figure += f"; one of them {marks.said(verdicts.index('alarm'))}"
        found.append(Finding(CHECK, origin.where, figure, verdict, "" if verdict == "fine" else STEP, told.value))
    return found


class RatePerOrigin:
    """The rate of the outcome in each origin, drawn towards that of all; columns (n, K) are 1 for the case's origin."""

    def fit(self, columns: np.ndarray, target: np.ndarray) -> "RatePerOrigin":
        """Learn the rates."""
        rate = target.mean()
        self.rates = (columns.T @ target + rate) / (columns.sum(0) + 1)
        self.otherwise = rate
        return self

    def predict_proba(self, columns: np.ndarray) -> np.ndarray:
        """(n, 2) one less the rate, and the rate."""
        risk = np.where(columns.sum(1) > 0, columns @ self.rates, self.otherwise)
        return np.stack([1 - risk, risk], 1)


def strongest(scope: Scope, origins: list[Origin]) -> list[Origin]:
    """The same, the most telling first."""

    def told(origin: Origin) -> float:
        _, place = np.unique(origin.kinds, return_inverse=True)
        rates = np.bincount(place, scope.target) / np.bincount(place)
        return best_auroc(rates[place], scope.target)

    return sorted(origins, key=told, reverse=True)


def first_sources(cohort: Cohort, rows: np.ndarray, stream: str) -> pd.DataFrame:
    """source_file and asset (n,) of the first source of each case, empty where there is none."""
    out = {name: np.full(len(rows), "", object) for name in ("source_file", "asset")}
    chosen = cohort.index.iloc[rows]
    shards, held = chosen["shard"].to_numpy(), chosen[f"{stream}_row"].to_numpy()
    for shard in np.unique(shards):
        here = np.flatnonzero((shards == shard) & (held >= 0))
        place = pd.Series(here, index=held[here])
        path = cohort.shard_folder(int(shard)) / f"{stream}.source.parquet"
        for batch in pq.ParquetFile(path).iter_batches(columns=["row", *out]):
            frame = batch.to_pandas().drop_duplicates("row")
            frame = frame[frame["row"].isin(place.index)]
            at = place[frame["row"]].to_numpy()
            for name, kinds in out.items():
                new = kinds[at] == ""
                kinds[at[new]] = frame[name].fillna("").to_numpy(object)[new]
    return pd.DataFrame(out)


def _paths(sources: pd.DataFrame) -> dict[str, np.ndarray]:
    """The source file, and folders and form of name of the assets."""
    files = np.array([_DIGEST.sub("", file) for file in sources["source_file"]], object)
    paths = [PurePosixPath(asset) for asset in sources["asset"]]
    parents = [[str(parent) for parent in path.parents] + ["", "", ""] for path in paths]
    return {
        "source file": files,
        "folder of the source file": np.array([file.rpartition("/")[0] for file in files], object),
        "folder of the file": np.array([each[0] for each in parents], object),
        "folder above that": np.array([each[1] for each in parents], object),
        "folder above those": np.array([each[2] for each in parents], object),
        "form of the file's name": _without_numbers(np.array([path.name for path in paths], object)),
    }


def _catalogued(assets: pd.Series, catalogue: pa.Table | None) -> dict[str, np.ndarray]:
    """What the catalogue says of the files, each fact a kind of origin."""
    if catalogue is None or not (assets != "").any():
        return {}
    known = (
        catalogue.select(["asset", *FACTS, "rows", "columns"]).to_pandas().drop_duplicates("asset").set_index("asset")
    )
    theirs = known.reindex(assets)
    found = {name.replace("_", " "): _texts(theirs[name]) for name in FACTS}
    sizes = _texts(theirs["rows"]) + np.full(len(theirs), " x ", object) + _texts(theirs["columns"])
    return {**found, "size in pixels": np.where(theirs["rows"].isna(), "", sizes)}


def _texts(column: pd.Series) -> np.ndarray:
    return np.array(["" if pd.isna(value) else str(value) for value in column], object)


def _without_numbers(names: np.ndarray) -> np.ndarray:
    return np.array([_NUMBER.sub("#", name) for name in names], object)


def _frequent(kinds: np.ndarray) -> np.ndarray:
    """The same with the rare ones, and what is left of very many, called "others"; absent stays empty."""
    names, counts = np.unique(kinds.astype(str), return_counts=True)
    often = names[(counts >= LEAST_CASES) & (names != "")]
    often = often[np.argsort(-counts[np.isin(names, often)], kind="stable")][:MOST_KINDS]
    return np.where(np.isin(kinds.astype(str), [*often, ""]), kinds.astype(str), "others")


def _distinct(origins: list[Origin]) -> list[Origin]:
    """Those with two known kinds or more, and of those that part the cases alike the first."""
    found: dict[bytes, Origin] = {}
    for origin in origins:
        known = origin.kinds != ""
        _, first, place = np.unique(origin.kinds[known], return_index=True, return_inverse=True)
        if len(first) > 1:
            found.setdefault(known.tobytes() + np.argsort(np.argsort(first))[place].tobytes(), origin)
    return list(found.values())
