"""Drafts of a cohort's cases as files: JSON lines for programs, CSV for people."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ingest.cohort import Cohort
from ingest.exports.safe_csv import write_csv
from ingest.files import replacing_file
from models.drafts.cases import CaseTokens
from models.drafts.draft import Drafter
from models.features import with_frozen_features
from models.prediction import Predictor
from models.score import check_fits

BATCH = 64


@dataclass(frozen=True)
class DraftFiles:
    """What was written: the same drafts twice."""

    jsonl: Path
    csv: Path
    cases: int


def write_drafts(
    predictor: Predictor,
    drafter: Drafter,
    cohort: Cohort,
    folder: Path,
    *,
    rows: np.ndarray | None = None,
    beams: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DraftFiles:
    """Draft cases (all where rows is None) and write `<version>.jsonl` and `.csv` into folder, whole or not at all.

    One draft for every case, also for one without streams, whose text is what holds of anybody.
    """
    check_fits(predictor, cohort)
    chosen = cohort.rows() if rows is None else rows
    cohort = with_frozen_features(cohort, predictor.network, predictor.device)
    case_ids = cohort.index["case_id"].to_numpy(str)
    files = DraftFiles(folder / f"{drafter.version}.jsonl", folder / f"{drafter.version}.csv", len(chosen))
    with (
        replacing_file(files.jsonl) as jsonl,
        replacing_file(files.csv) as csv,
        jsonl.open("w", encoding="utf-8") as out,
    ):
        write_csv(csv, pd.DataFrame(columns=list(COLUMNS)))
        for start in range(0, len(chosen), BATCH):
            part = chosen[start : start + BATCH]
            memory = CaseTokens(predictor, cohort, part).memory(np.arange(len(part)))
            drafts = drafter.draft(case_ids[part].tolist(), memory, beams)
            out.writelines(json.dumps(draft.to_json(), ensure_ascii=False) + "\n" for draft in drafts)
            write_csv(csv, pd.DataFrame([draft.to_row() for draft in drafts], columns=list(COLUMNS)), append=True)
            if progress is not None:
                progress(start + len(part), len(chosen))
    return files


COLUMNS = ("case_id", "draft", "status", "text", "probability", "unsure", "streams", "model_version", "decoder")
