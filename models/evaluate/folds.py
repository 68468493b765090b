"""Cross-validation: every case is judged by models that have seen nothing of its subject, normalisation included."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.align.refit import refit
from ingest.cohort import Cohort
from ingest.errors import TelltaleError
from ingest.files import write_parquet
from models.config import ModelConfig
from models.evaluate.metrics import EvaluationError, Measure, check_risk
from models.evaluate.partition import check_groups, check_whole, deal
from models.evaluate.pooled import CrossValidation, pooled
from models.evaluate.rivals import RIVALS, Part, Rival

FORMAT = 1  # of what is kept of a fold; another is done again
DIGEST = b"telltale.digest"
Step = Callable[[str, int, int], None]  # what, done, of


@dataclass(frozen=True)
class Folding:
    """How cases are dealt. groups (N,): what keeps cases together; part (repeats, N): the fold that tests each case."""

    groups: np.ndarray
    part: np.ndarray
    folds: int
    seed: int

    def split(self, repeat: int, fold: int, cohort: Cohort) -> np.ndarray:
        """(N,) texts: this fold is the test split; validation is cut from the others, in whole groups too.

        It has the share of them that the task's own split gives it.
        """
        own = cohort.task.split
        pieces = max(2, round((own.train + own.validation) / own.validation))
        split = np.full(len(cohort), "test", object)
        rest = np.flatnonzero(self.part[repeat] != fold)
        rng = np.random.default_rng([self.seed, repeat, fold])
        piece = deal(self.groups[rest], cohort.target[rest], pieces, rng)
        split[rest] = np.where(piece == 0, "validation", "train")
        return split

    def seed_of(self, repeat: int, fold: int) -> int:
        """The seed of the models of a fold."""
        return int(np.random.default_rng([self.seed, repeat, fold]).integers(100_000))  # others multiply it


def cross_validate(
    cohort: Cohort,
    config: ModelConfig,
    *,
    folds: int = 5,
    repeats: int = 1,
    seed: int = 0,
    groups: np.ndarray | None = None,
    rivals: Mapping[str, Rival] = RIVALS,
    folder: Path | None = None,
    measures: Mapping[str, Measure] | None = None,
    resamples: int = 1000,
    on_step: Step | None = None,
) -> CrossValidation:
    """Fit every rival `repeats` times `folds` times, and judge the risks of the cases left out.

    groups (N,): what must stay together, of any type (the default is the subject). folder: where the risks of each
    fold are kept; what is there of the same settings is used again, so a killed run goes on. A rival of the caller's
    is known by its name alone: give a changed one another. measures: more than those of every evaluation. Raises
    EvaluationError where there are too few groups of either class.
    """
    folding = make_folding(cohort, folds, repeats, seed, groups)
    frames: list[pd.DataFrame] = []
    for repeat, fold in np.ndindex(repeats, folds):
        where = f"repeat {repeat + 1}, fold {fold + 1}"
        mine = refit(cohort, folding.split(repeat, fold, cohort), keep=frozen_streams(config))
        rows = mine.rows("test")
        rows = rows[~np.isnan(mine.target[rows])]
        for at, (name, rival) in enumerate(rivals.items()):
            if on_step is not None:
                on_step(f"{where}: {name}", (repeat * folds + fold) * len(rivals) + at, repeats * folds * len(rivals))
            run = None if folder is None else folder / ".runs" / name
            kept = None if folder is None else folder / "folds" / f"{repeat + 1}-{fold + 1}-{name}.parquet"
            try:
                found = risks_of(rival, name, Part(mine, config, rows, folding.seed_of(repeat, fold), run), kept)
            except TelltaleError as error:
                raise EvaluationError(f"{where}, {name}: {error}") from None
            frames += [_frame(mine, rows, repeat, fold, model, risk) for model, risk in found.items()]
    risks = pd.concat(frames, ignore_index=True)
    if folder is not None:
        write_parquet(folder / "out-of-fold.parquet", pa.Table.from_pandas(risks, preserve_index=False))
    return pooled(risks, task=cohort.task.name, seed=seed, measures=measures, resamples=resamples)


def make_folding(cohort: Cohort, folds: int, repeats: int, seed: int, groups: np.ndarray | None = None) -> Folding:
    """Deal the cohort's cases. The same seed gives the same folds."""
    if folds < 2 or repeats < 1:
        raise EvaluationError(f"cross-validation: expected 2 folds or more, 1 repeat or more; got {folds}, {repeats}")
    subjects = cohort.index["subject_id"].to_numpy()
    groups = subjects if groups is None else np.asarray(groups)
    check_whole(groups, subjects)
    check_groups(groups, cohort.target, max(folds, 3), f"cross-validation in {folds} folds")
    part = [deal(groups, cohort.target, folds, np.random.default_rng([seed, repeat])) for repeat in range(repeats)]
    return Folding(groups, np.stack(part), folds, seed)


def frozen_streams(config: ModelConfig) -> list[str]:
    """The streams whose features do not change from fold to fold, and with them their centre and scale."""
    return [name for name, encoder in config.encoders.items() if encoder.frozen]


def risks_of(rival: Rival, name: str, part: Part, kept: Path | None = None) -> dict[str, np.ndarray]:
    """A rival's risks of the part's rows; those kept in the file `kept` where they are of the same settings."""
    digest = _digest(name, part)
    if kept is not None and kept.is_file():
        table = pq.read_table(kept)
        if (table.schema.metadata or {}).get(DIGEST) == digest:
            return {model: table[model].to_numpy() for model in table.column_names}
    risks = {model: np.asarray(risk, float) for model, risk in rival(part).items()}
    for risk in risks.values():
        check_risk(risk, len(part.rows))
    if kept is not None:
        write_parquet(kept, pa.table(risks).replace_schema_metadata({DIGEST: digest}))
    if part.folder is not None:
        shutil.rmtree(part.folder, ignore_errors=True)
    return risks


def _frame(cohort: Cohort, rows: np.ndarray, repeat: int, fold: int, model: str, risk: np.ndarray) -> pd.DataFrame:
    """The risks that a model gives the cases left out of a fold, in long form."""
    return pd.DataFrame(
        {
            "repeat": repeat + 1,
            "fold": fold + 1,
            "case_id": cohort.index["case_id"].to_numpy(str)[rows],
            "subject_id": cohort.index["subject_id"].to_numpy(np.int64)[rows],
            "target": cohort.target[rows],
            "model": model,
            "risk": risk,
        }
    )


def _digest(name: str, part: Part) -> bytes:
    """What the risks follow from: the rival, settings, cases, their outcomes and splits, and what was seen of them."""
    cohort = part.cohort
    said = [FORMAT, name, part.seed, part.config.model_dump(), cohort.task.model_dump(), cohort.statistics.to_json()]
    digest = hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode())
    columns = [c for c in ("case_id", "subject_id", "split", "inputs") if c in cohort.index.columns]
    for column in columns:
        digest.update("\n".join(cohort.index[column].astype(str)).encode())
    digest.update(cohort.target.tobytes() + np.asarray(part.rows, np.int64).tobytes())
    return digest.hexdigest().encode()
