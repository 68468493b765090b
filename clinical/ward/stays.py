"""Who the patients of the demo ward are, and what happens to each from admission to the end of the stay."""

import hashlib
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone

import numpy as np

from clinical.ward.latent import MODALITIES, Latent

INDEX_HOURS = 24.0  # the risk is asked this long after admission
HORIZON_HOURS = 48.0
ZONE = timezone(timedelta(hours=1))  # the hospital's clock, the same all year
ISSUER_OID = "2.25.210866493507301265926834107461984750221"  # of the hospital's record numbers
LEFT_EARLY = 0.02  # share of the patients who are discharged before the index time
ICU_EARLY = 0.02  # and of those who are in the ICU before it
DEATHS = 0.2  # share of the outcomes that are a death on the ward, without the ICU
LATE_ICU = 0.03  # share of those without the outcome who reach the ICU after the horizon

# Invented: no list of real people went into these.
FAMILY_NAMES = (
    "Ashgrove", "Bellweather", "Brindle", "Cobblewick", "Dunmarrow", "Eldersby", "Fennimore", "Gorsedale",
    "Hathersby", "Inglenook", "Juniperson", "Kestrelby", "Larkmoor", "Mossbank", "Nettlefield", "Oakhollow",
    "Pebbleton", "Quillworth", "Rushbrook", "Saltmarsh", "Thistledown", "Umberleigh", "Vellacre", "Wrenfield",
    "Yarrowby", "Zephyrson", "Copperdale", "Drizzleby", "Fogbourne", "Lanternby"
)  # fmt: skip
GIVEN_NAMES = {
    "female": (
        "Alba", "Briony", "Celandine", "Delphi", "Elowen", "Fern", "Ginevra", "Hazel", "Iona", "Juniper",
        "Linnet", "Marigold", "Nerys", "Olwen", "Petra"
    ),
    "male": (
        "Alder", "Bram", "Corin", "Dorian", "Emrys", "Florian", "Garrick", "Hollis", "Idris", "Jorin",
        "Kester", "Lorcan", "Merrick", "Orrin", "Perrin"
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Stay:
    """One patient and one admission: what every file about them agrees on. Times carry the hospital's zone."""

    number: int  # the patient's place in the ward, from 0
    seed: int
    identifier: str  # the hospital's record number
    family: str
    given: str
    sex: str  # female or male
    age_years: float  # at the index time
    birth: date
    admitted: datetime
    ended: datetime
    died: datetime | None
    icu_from: datetime | None
    eligible: bool  # still there, and not in the ICU, at the index time
    outcome: bool | None  # None where the patient is not eligible
    readings: dict[str, float]
    has: dict[str, bool]
    note_points: int

    @property
    def fhir_id(self) -> str:
        """The id of the Patient resource."""
        return f"p{self.identifier}"

    @property
    def index_time(self) -> datetime:
        """When the risk is asked."""
        return self.after_admission(INDEX_HOURS)

    @property
    def hours(self) -> float:
        """The length of the stay."""
        return (self.ended - self.admitted).total_seconds() / 3600

    def after_admission(self, hours: float) -> datetime:
        """A moment of the stay, to the second."""
        return self.admitted + timedelta(seconds=round(hours * 3600))

    def generator(self, subject: int) -> np.random.Generator:
        """Random numbers for one subject (a small number) of this patient, whatever else is drawn."""
        return np.random.default_rng([self.seed, 1000 + self.number, subject])


def draw_stays(latent: Latent, seed: int) -> list[Stay]:
    """The patients of the ward, in the order of `latent`."""
    return [_draw_stay(latent, seed, number) for number in range(len(latent.risk))]


def age_of_reading(reading: float) -> float:
    """The age in years that shows the record's reading, exactly: about 60 + 15 * reading, within 20 to 100."""
    return 60.0 + 40.0 * float(np.tanh(reading * 15.0 / 40.0))


def stamp(moment: datetime) -> str:
    """A moment as FHIR writes it."""
    return moment.isoformat(timespec="seconds")


def _draw_stay(latent: Latent, seed: int, number: int) -> Stay:
    rng = np.random.default_rng([seed, 1000 + number, 0])
    sex = "female" if rng.random() < 0.5 else "male"
    readings = {name: float(latent.readings[number, i]) for i, name in enumerate(MODALITIES)}
    admitted = datetime(2025, 1, 1, tzinfo=ZONE) + timedelta(minutes=int(rng.integers(0, 350 * 24 * 60)))
    index = admitted + timedelta(hours=INDEX_HOURS)
    age_years = age_of_reading(readings["record"])
    outcome = bool(latent.outcome[number])
    icu_hours, death_hours, end_hours, eligible = _course(rng, outcome=outcome)
    return Stay(
        number=number,
        seed=seed,
        identifier=_record_number(seed, number),
        family=str(rng.choice(FAMILY_NAMES)),
        given=str(rng.choice(GIVEN_NAMES[sex])),
        sex=sex,
        age_years=age_years,
        birth=(index - timedelta(days=age_years * 365.2425)).date(),
        admitted=admitted,
        ended=_after(admitted, end_hours),
        died=None if death_hours is None else _after(admitted, death_hours),
        icu_from=None if icu_hours is None else _after(admitted, icu_hours),
        eligible=eligible,
        outcome=outcome if eligible else None,
        readings=readings,
        has={name: bool(latent.has[number, i]) for i, name in enumerate(MODALITIES)},
        note_points=int(latent.note_points[number]),
    )


def _course(rng: np.random.Generator, *, outcome: bool) -> tuple[float | None, float | None, float, bool]:
    """Hours from admission to the ICU, to death and to the end of the stay, and whether the patient is eligible."""
    kind, manner, event, later, tail = rng.random(5)
    if kind < LEFT_EARLY:
        return None, None, 12.0 + 11.0 * event, False
    if kind < LEFT_EARLY + ICU_EARLY:
        return 6.0 + 16.0 * event, None, 96.0 + 200.0 * later, False
    if outcome:
        hours = INDEX_HOURS + 1.0 + (HORIZON_HOURS - 2.0) * event
        if manner < DEATHS:
            return None, hours, hours, True
        end = hours + 48.0 + 240.0 * later
        return hours, (end if tail < 0.15 else None), end, True
    if manner < LATE_ICU:
        hours = INDEX_HOURS + HORIZON_HOURS + 3.0 + 60.0 * event
        return hours, None, hours + 48.0 + 240.0 * later, True
    return None, None, INDEX_HOURS + 8.0 + 180.0 * event, True


def _after(start: datetime, hours: float) -> datetime:
    return start + timedelta(seconds=round(hours * 3600))


def _record_number(seed: int, number: int) -> str:
    """Ten digits: four from the seed, so that two wards share none, and six that are different for each patient."""
    prefix = int.from_bytes(hashlib.sha256(f"ward {seed}".encode()).digest()[:4]) % 10_000
    return f"{prefix:04d}{(number * 700_001 + 137) % 1_000_000:06d}"
