"""Radiology reports of the ward: what the radiograph made before the index time shows, in words, released after it.

They are there to be drafted, not to be read by a model: a task that asks at the index time does not see them. The
opacity, its heavier side and the size of the heart are those of the image; how each is put is random. A report says
nothing else that differs between patients, and nothing of what becomes of them.
"""

import base64
from collections.abc import Iterator, Sequence

import numpy as np

from clinical.ward.dicom import film_before_index
from clinical.ward.fhir import Resource, concept, reference
from clinical.ward.radiographs import Signs
from clinical.ward.records import admission_id
from clinical.ward.stays import INDEX_HOURS, Stay, stamp

AMOUNTS: tuple[tuple[float, tuple[str, ...], tuple[str, ...]], ...] = (  # below this amount: findings, impression
    (0.30, ("The lungs are clear", "No consolidation is seen"), ("No acute abnormality", "Clear lungs")),
    (0.45, ("There is faint opacity in {where}", "Faint haze over {where}"), ("Minimal basal opacity",)),
    (0.60, ("There is patchy opacity in {where}", "Patchy airspace opacity in {where}"), ("Basal consolidation",)),
    (0.75, ("There is moderate consolidation in {where}",), ("Moderate consolidation", "Marked basal consolidation")),
    (
        9.00,
        ("There is dense consolidation in {where}", "Dense, extensive opacity of {where}"),
        ("Dense consolidation",),
    ),
)
BOTH = ("both lower zones", "the lower zones of both lungs")
SIDES = {"right": "both lower zones, more on the right", "left": "both lower zones, more on the left"}
LEANING = 0.08  # the share of a side beyond one half from which it is called the heavier one
LARGE_HEART = 0.325
HEART = {
    True: ("The heart is enlarged", "Cardiac silhouette enlarged"),
    False: ("The heart is of normal size", "Heart size is normal"),
}
REST = (
    "No pneumothorax",
    "No pleural effusion",
    "The bones are intact",
    "No free air below the diaphragm",
    "The trachea is in the midline",
)


def radiology_reports(stay: Stay) -> Iterator[Resource]:
    """The report of the radiograph made before the index time, where there is one."""
    film = film_before_index(stay)
    if film is None:
        return
    rng = stay.generator(8)
    hour, shown = film
    released = stay.after_admission(INDEX_HOURS + float(rng.uniform(0.2, 6.0)))
    text = report_text(shown, rng)
    yield {
        "resourceType": "DiagnosticReport",
        "id": f"r{stay.identifier}",
        "status": "final",
        "code": concept("LOINC", "36554-4", "XR Chest Single view"),
        "subject": reference("Patient", stay.fhir_id),
        "encounter": reference("Encounter", admission_id(stay)),
        "effectiveDateTime": stamp(stay.after_admission(hour)),
        "issued": stamp(released),
        "presentedForm": [
            {
                "contentType": "text/plain; charset=utf-8",
                "language": "en",
                "data": base64.b64encode(text.encode()).decode(),
                "title": "Radiology report",
            }
        ],
    }


def report_text(shown: Signs, rng: np.random.Generator) -> str:
    """Findings and impression of one image."""
    _, findings, impressions = next(level for level in AMOUNTS if shown.opacity < level[0])
    where = _choose(BOTH, rng)
    if abs(shown.right) >= LEANING:
        where = SIDES["right" if shown.right > 0 else "left"]
    large = shown.heart >= LARGE_HEART
    said = [_choose(findings, rng).format(where=where), _choose(HEART[large], rng)]
    said += [REST[place] for place in rng.permutation(len(REST))[: int(rng.integers(1, 4))]]
    impression = _choose(impressions, rng) + (", enlarged heart" if large else "")
    return f"Findings: {'. '.join(said)}.\nImpression: {impression}."


def _choose(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]
