"""The README.txt of a demo ward: what its files are, and the whole of its risk."""

from clinical.ward import latent
from clinical.ward.stays import HORIZON_HOURS, INDEX_HOURS, ISSUER_OID


def readme_text(patients: int, seed: int, prevalence: float, true_auroc: float, attainable_auroc: float) -> str:
    """The text, with the numbers of one ward."""
    weights = "\n".join(
        f"    {name:<8} weight {weight:.2f}   tau {tau:.2f}   there in {share:.0%} of the patients"
        for name, weight, tau, share in zip(latent.MODALITIES, latent.WEIGHTS, latent.TAU, latent.PRESENT, strict=True)
    )
    end = latent.NOTE_POINTS / 2 * latent.NOTE_STEP
    return f"""Telltale demo ward: {patients} simulated patients, seed {seed}
Every person, place, image and sound in here is invented. Not for clinical use.

Files
    fhir/*.ndjson     a FHIR R4 bulk export: Patient, Encounter, Location, Condition, Observation, DocumentReference,
                      DiagnosticReport, Media
    imaging/          chest radiographs: DICOM, Digital X-Ray Image Storage - For Presentation
    sounds/           breath sounds: WAV, 4 kHz, 16 bit, mono; Media.ndjson says whose
    truth.parquet     what is true of each patient; a model must never read it
Record numbers are issued by urn:oid:{ISSUER_OID}, in FHIR and in DICOM.

The question
    {INDEX_HOURS:.0f} hours after admission (the index time): will the patient go to the ICU or die in the next
    {HORIZON_HOURS:.0f} hours? Patients who have left or are in the ICU by then are not eligible. What was measured or
    released after the index time gives the outcome away, on purpose.

The risk, with a factor and a reading for each modality m
    severity            s    ~ Normal(0, 1)
    factor              z_m  = {latent.RHO} * s + sqrt(1 - {latent.RHO}^2) * e_m,   e_m ~ Normal(0, 1)
    reading             r_m  = z_m + tau_m * n_m,                n_m ~ Normal(0, 1)
    logit of the risk   L    = {latent.INTERCEPT} + sum over m of weight_m * z_m
    outcome             drawn with probability 1 / (1 + exp(-L))
{weights}
    A modality's files are made from its reading and from much else that means nothing. The reading of a note is
    rounded to steps of {latent.NOTE_STEP}, from {-end:.2f} to {end:.2f}. Modalities are absent at random.

How well it can be told, in this ward
    outcome in {prevalence:.1%} of the eligible patients
    AUROC {true_auroc:.3f} of the true risk, which knows the factors
    AUROC {attainable_auroc:.3f} of the attainable risk: the exact probability, given the readings that the files show

Columns of truth.parquet
    issuer, identifier, fhir_id; index_time; eligible; outcome (empty where not eligible); risk; attainable_risk;
    severity; factor_<m>, reading_<m> and has_<m> (there before the index time) for each modality m
"""
