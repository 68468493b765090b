"""A workspace's observations as a MEDS 0.4 dataset, for the tools of that standard.

    <out>/data/<n>.parquet                 runs of whole subjects, each in order of time
    <out>/metadata/dataset.json            what it is, and what the further columns are
    <out>/metadata/codes.parquet           every code, once
    <out>/metadata/subject_splits.parquet  of a task's cohort, where one is named

SOURCE: Medical Event Data Standard 0.4, https://github.com/Medical-Event-Data-Standard/meds
"""

import datetime as dt
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ingest.cohort import Cohort
from ingest.errors import TelltaleError
from ingest.files import replacing_folder
from ingest.observations import SCHEMA
from ingest.store import Observations
from ingest.workspace import Workspace

MEDS_VERSION = "0.4.1"
ROWS_PER_FILE = 1_000_000  # about; a subject is never in two files
SPLITS = {"train": "train", "validation": "tuning", "test": "held_out"}
_CODES = pa.schema(
    [
        pa.field("code", pa.string(), nullable=False),
        pa.field("description", pa.string()),
        pa.field("parent_codes", pa.list_(pa.string())),
    ]
)
_SUBJECT_SPLITS = pa.schema(
    [pa.field("subject_id", pa.int64(), nullable=False), pa.field("split", pa.string(), nullable=False)]
)


def export_meds(workspace: Workspace, out: Path, cohort: Cohort | None = None, version: str = "") -> tuple[int, int]:
    """Write the dataset into the folder `out`, which must be new or empty; (subjects, observations) that it holds.

    Subjects keep the numbers that they have here. Raises TelltaleError where there is nothing to write, or something
    in the way.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise TelltaleError(f"{out}: expected a new or an empty folder, found something in it")
    observations = Observations(workspace)
    subjects = rows = 0
    with replacing_folder(out) as folder:
        (folder / "data").mkdir()
        (folder / "metadata").mkdir()
        for number, chunk in enumerate(observations.chunks(rows=ROWS_PER_FILE)):
            pq.write_table(chunk.cast(SCHEMA), folder / "data" / f"{number}.parquet", compression="zstd")
            subjects += len(chunk["subject_id"].unique())
            rows += len(chunk)
        if not rows:
            raise TelltaleError(
                f"{workspace.root}: expected observations, found none; `telltale ingest` brings some in"
            )
        _write_metadata(folder / "metadata", sorted(observations.code_counts), version)
        if cohort is not None:
            _write_splits(folder / "metadata" / "subject_splits.parquet", cohort)
    return subjects, rows


def _write_metadata(folder: Path, codes: list[str], version: str) -> None:
    empty = [None] * len(codes)
    pq.write_table(pa.table([codes, empty, empty], schema=_CODES), folder / "codes.parquet")
    described = {
        "dataset_name": "telltale-observations",
        "etl_name": "telltale",
        "etl_version": version or "unknown",
        "meds_version": MEDS_VERSION,
        "created_at": dt.datetime.now(dt.UTC).isoformat(),
        "raw_source_id_columns": ["source_file", "source_record"],
        "code_modifier_columns": ["unit"],
        "additional_value_modality_columns": ["asset"],
        "other_extension_columns": ["available_time", "asset_sha256"],
    }
    (folder / "dataset.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


def _write_splits(path: Path, cohort: Cohort) -> None:
    """A subject whose cases are in several parts (a split by time) has that of the first."""
    first = cohort.index.drop_duplicates("subject_id").sort_values("subject_id")
    split = [SPLITS[str(part)] for part in first["split"]]
    pq.write_table(pa.table([first["subject_id"].to_numpy(), split], schema=_SUBJECT_SPLITS), path)
