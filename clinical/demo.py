"""The demo ward: a simulated hospital as the files that a hospital has, with a known risk.

How ill each patient is, what each modality knows of it and the risk that follows are written down in
`clinical.ward.latent`; the other modules of `clinical.ward` make the files that show it.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clinical.ward.dicom import write_studies
from clinical.ward.fhir import Resource, write_resources
from clinical.ward.latent import MODALITIES, Flags, Floats, Latent, attainable_risk, draw_latent, without_modalities
from clinical.ward.measurements import laboratory_results, vital_signs
from clinical.ward.notes import documents
from clinical.ward.readings import radiology_reports
from clinical.ward.readme import readme_text
from clinical.ward.records import conditions, encounters, locations, patient
from clinical.ward.sounds import recordings
from clinical.ward.stays import ISSUER_OID, Stay, draw_stays
from ingest.errors import InputError
from ingest.files import replacing_folder

ENTRIES = {"fhir", "imaging", "sounds", "truth.parquet", "README.txt"}
Progress = Callable[[str, int, int], None]  # what is being made, how many are done, of how many


@dataclass(frozen=True)
class WardSummary:
    """What was made, and how well its outcome can be told. Shares and AUROCs are over the eligible patients."""

    out: Path
    patients: int
    eligible: int
    prevalence: float
    files: dict[str, int]  # FHIR resources by type, and "radiographs"
    auroc_of_true_risk: float  # of somebody who knows the factors themselves
    attainable_auroc: float  # of somebody who reads the files as well as they can be read
    attainable_auroc_alone: dict[str, float]  # by modality, with nothing else, among the patients who have it


def make_ward(out: Path, patients: int, seed: int, progress: Progress | None = None) -> WardSummary:
    """Write a ward of `patients` patients to the folder `out`. The same seed gives the same bytes.

    A former ward at `out` is replaced; a folder that holds anything else raises InputError and is left alone.
    """
    _check(out, patients, seed)
    latent = draw_latent(patients, seed)
    stays = draw_stays(latent, seed)
    truth = truth_table(latent, stays)
    with replacing_folder(out) as folder:
        files = _write_fhir(folder, stays, progress)
        (folder / "imaging").mkdir()
        files["radiographs"] = 0
        for done, stay in enumerate(stays):
            _tell(progress, "radiographs", done, patients)
            files["radiographs"] += write_studies(stay, folder / "imaging")
        _tell(progress, "radiographs", patients, patients)
        pq.write_table(truth, folder / "truth.parquet", compression="zstd")
        summary = _summarise(out, truth, files)
        text = readme_text(patients, seed, summary.prevalence, summary.auroc_of_true_risk, summary.attainable_auroc)
        (folder / "README.txt").write_text(text, encoding="utf-8")
    return summary


def attainable_auroc(
    truth: Path | pa.Table, identifiers: Collection[str] | None = None, without: Collection[str] = ()
) -> float:
    """The AUROC of the best risk that the files allow, over the eligible patients of a truth table.

    `identifiers` (record numbers) narrows it to some patients, such as a test split; `without` names modalities that
    are to count as absent. NaN where all those patients have the same outcome.
    """
    table = pq.read_table(truth) if isinstance(truth, Path) else truth
    if unknown := set(without) - set(MODALITIES):
        raise ValueError(f"expected modalities among {', '.join(MODALITIES)}, got {', '.join(sorted(unknown))}")
    chosen = table["eligible"].to_numpy()
    if identifiers is not None:
        chosen = chosen & np.isin(table["identifier"].to_numpy(), list(identifiers))
    readings, has = _columns(table, "reading")[chosen], _columns(table, "has")[chosen].astype(bool)
    risk = attainable_risk(readings, without_modalities(has, without))
    return _auroc(_outcomes(table)[chosen], risk)


def truth_table(latent: Latent, stays: list[Stay]) -> pa.Table:
    """The truth of each patient, a row each: see README.txt of a ward for the columns."""
    columns: dict[str, pa.Array] = {
        "issuer": pa.array([f"urn:oid:{ISSUER_OID}"] * len(stays), pa.string()),
        "identifier": pa.array([stay.identifier for stay in stays], pa.string()),
        "fhir_id": pa.array([stay.fhir_id for stay in stays], pa.string()),
        "index_time": pa.array([stay.index_time for stay in stays], pa.timestamp("us", "UTC")),
        "eligible": pa.array([stay.eligible for stay in stays], pa.bool_()),
        "outcome": pa.array([stay.outcome for stay in stays], pa.bool_()),
        "risk": pa.array(latent.risk),
        "attainable_risk": pa.array(latent.attainable_risk),
        "severity": pa.array(latent.severity),
    }
    for prefix, values in (("factor", latent.factors), ("reading", latent.readings), ("has", latent.has)):
        columns |= {f"{prefix}_{name}": pa.array(values[:, place]) for place, name in enumerate(MODALITIES)}
    return pa.table(columns)


def _check(out: Path, patients: int, seed: int) -> None:
    """Refuse what would make no ward, or would overwrite what isn't one."""
    if not 1 <= patients <= 1_000_000:
        raise InputError(str(out), field="patients", expected="1 to 1000000", got=str(patients))
    if seed < 0:
        raise InputError(str(out), field="seed", expected="a number from 0", got=str(seed))
    if out.exists() and not out.is_dir():
        raise InputError(str(out), expected="a folder, or nothing yet", got="a file")
    if out.is_dir() and (foreign := sorted(entry.name for entry in out.iterdir() if entry.name not in ENTRIES)):
        raise InputError(
            str(out),
            expected="nothing, an empty folder or a former ward",
            got=f"a folder that holds {foreign[0]}",
            hint="name another folder",
        )


def _write_fhir(folder: Path, stays: list[Stay], progress: Progress | None) -> dict[str, int]:
    """Write fhir/ and sounds/. Returns the number of resources by type."""
    fhir, sounds = folder / "fhir", folder / "sounds"
    fhir.mkdir()
    sounds.mkdir()
    makers: dict[str, Callable[[Stay], Iterable[Resource]]] = {
        "Patient": lambda stay: [patient(stay)],
        "Encounter": encounters,
        "Condition": conditions,
        "DocumentReference": documents,
        "Observation": lambda stay: (*vital_signs(stay), *laboratory_results(stay)),
        "DiagnosticReport": radiology_reports,
        "Media": lambda stay: recordings(stay, sounds),
    }
    counts = {"Location": write_resources(fhir / "Location.ndjson", locations())}
    for done, (kind, maker) in enumerate(makers.items()):
        _tell(progress, "records", done, len(makers))
        resources = (resource for stay in stays for resource in maker(stay))
        counts[kind] = write_resources(fhir / f"{kind}.ndjson", resources)
    _tell(progress, "records", len(makers), len(makers))
    return counts


def _tell(progress: Progress | None, what: str, done: int, total: int) -> None:
    if progress is not None:
        progress(what, done, total)


def _summarise(out: Path, truth: pa.Table, files: dict[str, int]) -> WardSummary:
    eligible = truth["eligible"].to_numpy()
    outcomes = _outcomes(truth)
    alone = {}
    for name in MODALITIES:
        having = truth.filter(truth[f"has_{name}"])
        alone[name] = attainable_auroc(having, without=[other for other in MODALITIES if other != name])
    return WardSummary(
        out=out,
        patients=len(truth),
        eligible=int(eligible.sum()),
        prevalence=float(outcomes[eligible].mean()) if eligible.any() else float("nan"),
        files=files,
        auroc_of_true_risk=_auroc(outcomes[eligible], truth["risk"].to_numpy()[eligible]),
        attainable_auroc=attainable_auroc(truth),
        attainable_auroc_alone=alone,
    )


def _columns(table: pa.Table, prefix: str) -> Floats:
    """The columns of one prefix over the modalities, (N, 6)."""
    return np.column_stack([table[f"{prefix}_{name}"].to_numpy().astype(np.float64) for name in MODALITIES])


def _outcomes(table: pa.Table) -> Flags:
    """The outcomes, with False where there is none: only to be used together with `eligible`."""
    filled: Flags = table["outcome"].fill_null(False).to_numpy()
    return filled


def _auroc(outcomes: Flags, risk: Floats) -> float:
    """The area under the ROC curve, or NaN where all outcomes are the same."""
    from sklearn.metrics import roc_auc_score  # takes a second to import

    return float(roc_auc_score(outcomes, risk)) if len(np.unique(outcomes)) == 2 else float("nan")
