"""Vital signs and laboratory results of the ward, as FHIR Observations.

Each channel's value is its centre, plus a slope times the modality's reading, plus an offset of the person and the
noise of the single measurement, which mean nothing. Vital signs also drift through the day in proportion to the
reading. Laboratory results are released 0.5 to 3 hours after the draw.

What is measured after the index time gives the outcome away, and so do results that are released after it though
drawn before: a model that can see them is looking ahead, and its AUROC will say so.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from clinical.ward.fhir import Resource, concept, quantity, reference
from clinical.ward.records import admission_id
from clinical.ward.stays import INDEX_HOURS, Stay, stamp

DRIFT = 0.3  # of a vital sign's effect, from admission to the index time
GIVEAWAY = 2.5  # added to the reading after the index time, where the outcome is to come


@dataclass(frozen=True)
class Channel:
    """One quantity: centre + slope * reading + person * n + noise * n', written with `digits` decimals."""

    code: str
    display: str
    unit: str
    centre: float
    slope: float
    person: float
    noise: float
    digits: int
    share: float  # of the times at which it is measured
    low: float
    high: float


VITALS = (
    Channel("8867-4", "Heart rate", "/min", 88, 10.0, 3.5, 4.0, 0, 0.95, 30, 220),
    Channel("9279-1", "Respiratory rate", "/min", 20, 3.6, 1.1, 1.5, 0, 0.85, 6, 60),
    Channel("59408-5", "Oxygen saturation by Pulse oximetry", "%", 94.2, -1.9, 0.5, 0.9, 0, 0.95, 60, 100),
    Channel("8310-5", "Body temperature", "Cel", 37.4, 0.50, 0.18, 0.15, 1, 0.40, 34, 42),
)
SYSTOLIC = Channel("8480-6", "Systolic blood pressure", "mm[Hg]", 124, -10.0, 5.0, 6.0, 0, 0.55, 60, 240)
DIASTOLIC = Channel("8462-4", "Diastolic blood pressure", "mm[Hg]", 72, 0.0, 5.0, 4.0, 0, 0.55, 30, 140)
LABS = (
    Channel("1988-5", "C reactive protein [Mass/volume]", "mg/L", 120, 45.0, 12.0, 5.0, 0, 0.75, 1, 600),
    Channel("2524-7", "Lactate [Moles/volume]", "mmol/L", 2.0, 0.50, 0.15, 0.08, 1, 0.65, 0.4, 15),
    Channel("6690-2", "Leukocytes [#/volume] in Blood", "10*3/uL", 12.0, 3.0, 0.9, 0.5, 1, 0.85, 1, 60),
    Channel("2160-0", "Creatinine [Mass/volume]", "mg/dL", 1.15, 0.22, 0.12, 0.04, 2, 0.85, 0.3, 8),
    Channel("777-3", "Platelets [#/volume] in Blood", "10*3/uL", 250, -40.0, 25.0, 10.0, 0, 0.80, 20, 900),
    Channel("718-7", "Hemoglobin [Mass/volume] in Blood", "g/dL", 12.8, 0.0, 1.4, 0.2, 1, 0.80, 6, 19),
    Channel("2951-2", "Sodium [Moles/volume]", "mmol/L", 138, 0.0, 3.0, 1.0, 0, 0.60, 115, 160),
    Channel("2823-3", "Potassium [Moles/volume]", "mmol/L", 4.1, 0.0, 0.35, 0.15, 1, 0.60, 2.5, 7),
)  # fmt: skip


def vital_signs(stay: Stay) -> Iterator[Resource]:
    """About hourly rounds over the first day, some skipped, and for some patients rounds after the index time."""
    rng = stay.generator(3)
    people = rng.standard_normal(len(VITALS) + 2)
    before = np.arange(0.3, INDEX_HOURS - 0.4) + rng.uniform(-0.3, 0.3, size=24)
    before = before[rng.random(len(before)) < 0.85]
    later = INDEX_HOURS + 1 + 2 * np.arange(6) + rng.uniform(-0.3, 0.3, size=6)
    hours = np.concatenate([before, later if rng.random() < 0.3 else later[:0]])
    for number, hour in enumerate(hours[hours < stay.hours - 0.2]):
        level = stay.readings["vitals"] * (1 + DRIFT * (min(hour, INDEX_HOURS) / INDEX_HOURS - 0.5))
        level += _giveaway(stay, after_index=hour > INDEX_HOURS)
        values = _values((*VITALS, SYSTOLIC, DIASTOLIC), level, people, rng)
        done = rng.random(len(VITALS) + 1) < [*(channel.share for channel in VITALS), SYSTOLIC.share]
        released = hour + rng.uniform(0.02, 0.1)
        for place, channel in enumerate(VITALS):
            if done[place]:
                one = _observation(stay, f"v{number}", "vital-signs", "Vital Signs", channel, hour, released)
                yield one | {"valueQuantity": quantity(values[place], channel.unit)}
        if done[-1]:
            yield _blood_pressure(stay, f"v{number}", hour, released, values[-2:])


def laboratory_results(stay: Stay) -> Iterator[Resource]:
    """One to four draws in the first day, each with some analytes, and for some patients later ones."""
    rng = stay.generator(4)
    people = rng.standard_normal(len(LABS))
    draws = [float(rng.uniform(0.3, 2.0)), *np.sort(rng.uniform(4.0, 20.5, size=int(rng.integers(0, 4))))]
    released = [hour + float(rng.uniform(0.5, 3.0)) for hour in draws]
    if rng.random() < 0.12:  # drawn before the index time, released after it
        draws.append(INDEX_HOURS - float(rng.uniform(0.2, 1.5)))
        released.append(INDEX_HOURS + float(rng.uniform(0.2, 1.4)))
    if rng.random() < 0.25:
        draws.append(INDEX_HOURS + float(rng.uniform(1.0, 6.0)))
        released.append(draws[-1] + float(rng.uniform(0.5, 3.0)))
    for number, (hour, release) in enumerate(zip(draws, released, strict=True)):
        level = stay.readings["labs"] + _giveaway(stay, after_index=release > INDEX_HOURS)
        values = _values(LABS, level, people, rng)
        ordered = rng.random(len(LABS)) < [max(channel.share, 0.9 * (number == 0)) for channel in LABS]
        for place, channel in enumerate(LABS):
            if ordered[place] and hour < stay.hours:
                one = _observation(stay, f"l{number}", "laboratory", "Laboratory", channel, hour, release)
                yield one | {"valueQuantity": quantity(values[place], channel.unit)}


def _giveaway(stay: Stay, *, after_index: bool) -> float:
    return GIVEAWAY if after_index and stay.outcome else 0.0


def _values(
    channels: tuple[Channel, ...], level: float, people: npt.NDArray[np.float64], rng: np.random.Generator
) -> list[float]:
    """One value for each channel, within its bounds and rounded as it is reported."""
    noise = rng.standard_normal(len(channels))
    found = []
    for channel, person, error in zip(channels, people, noise, strict=True):
        value = channel.centre + channel.slope * level + channel.person * person + channel.noise * error
        found.append(round(float(min(max(value, channel.low), channel.high)), channel.digits))
    return found


def _observation(
    stay: Stay, group: str, category: str, title: str, channel: Channel, hour: float, released: float
) -> Resource:
    return {
        "resourceType": "Observation",
        "id": f"o{stay.identifier}-{group}-{channel.code}",
        "status": "final",
        "category": [concept("category", category, title)],
        "code": concept("LOINC", channel.code, channel.display),
        "subject": reference("Patient", stay.fhir_id),
        "encounter": reference("Encounter", admission_id(stay)),
        "effectiveDateTime": stamp(stay.after_admission(hour)),
        "issued": stamp(stay.after_admission(released)),
    }


PANEL = Channel("85354-9", "Blood pressure panel with all children optional", "mm[Hg]", 0, 0, 0, 0, 0, 1, 0, 0)


def _blood_pressure(stay: Stay, group: str, hour: float, released: float, values: list[float]) -> Resource:
    """Both pressures as components of one panel."""
    parts = [
        {"code": concept("LOINC", channel.code, channel.display), "valueQuantity": quantity(value, channel.unit)}
        for channel, value in zip((SYSTOLIC, DIASTOLIC), values, strict=True)
    ]
    return _observation(stay, group, "vital-signs", "Vital Signs", PANEL, hour, released) | {"component": parts}
