"""Admission notes of the ward: sections of plain sentences, some of them telling, some not.

A note shows `Stay.note_points`, from 0 to 14. Four signs can be worth one point or two, six are worth one; which of
them carry the points is random. A sign without points is denied, or (now and then) not spoken of. Denials often use
the words of the assertion ("no cyanosis", "lips cyanosed"), and denials of other things surround them, so counting
words does not suffice. Family history, past illness, social history and the plan mean nothing. No note tells what
became of the patient.
"""

import base64
from collections.abc import Iterator, Sequence

import numpy as np

from clinical.ward.fhir import Resource, concept, reference
from clinical.ward.latent import NOTE_POINTS, NOTE_STEP
from clinical.ward.measurements import GIVEAWAY
from clinical.ward.records import admission_id
from clinical.ward.stays import INDEX_HOURS, Stay, stamp

Phrases = tuple[tuple[str, ...], ...]  # at index p: ways to say that the sign is worth p points

HISTORY: tuple[Phrases, ...] = (
    (
        ("no dyspnoea at rest or on exertion", "denies dyspnoea"),
        ("dyspnoea on exertion only", "dyspnoea on the stairs"),
        ("severe dyspnoea at rest", "severe dyspnoea even in bed"),
    ),
    (("denies fever and rigors overnight",), ("fever and rigors overnight",)),
    (("no purulent sputum",), ("purulent sputum",)),
    (("able to lie flat",), ("unable to lie flat",)),
)
EXAMINATION: tuple[Phrases, ...] = (
    (
        ("able to speak in full sentences",),
        ("unable to speak in full sentences",),
        ("able to speak in single words only",),
    ),
    (("not confused",), ("slightly confused about the date",), ("confused and agitated",)),
    (
        ("no crackles at either base", "chest clear without crackles"),
        ("crackles at one base", "a few crackles at the left base"),
        ("widespread crackles to the mid zones", "widespread coarse crackles in both lungs"),
    ),
    (("no central cyanosis",), ("central cyanosis",)),
    (("no use of accessory muscles",), ("marked use of accessory muscles",)),
    (("skin not clammy",), ("skin clammy",)),
)

COMPLAINTS = ("cough", "malaise", "chest discomfort", "poor appetite", "tiredness", "a chest infection")
FAMILY = (
    "Father had a severe pneumonia years ago.",
    "Mother spent two weeks in intensive care with sepsis in 2009 and recovered.",
    "A brother has severe asthma.",
    "Sister had dyspnoea and cyanosis from a heart defect in childhood.",
    "Family history of heart failure.",
    "Family history unremarkable.",
    "A grandmother died of tuberculosis.",
    "Daughter was recently confused with fever, now well.",
)
SOCIAL = (
    "Lives alone on the second floor.",
    "Lives with a partner and a dog.",
    "Former smoker, stopped in 2011.",
    "Never smoked, no alcohol.",
    "Retired teacher, walks daily.",
    "Works as a gardener.",
    "No recent travel, denies contact with sick people.",
)
OTHER = (
    "No chest pain.",
    "Denies palpitations.",
    "No bleeding, no bruises.",
    "No jaundice.",
    "Not on blood thinners.",
    "No urinary complaints.",
    "No nausea, no vomiting.",
    "Old knee pain, unchanged.",
    "No known allergies.",
    "Allergic to penicillin.",
    "Ankles without oedema.",
    "Abdomen soft, no tenderness.",
    "Heart sounds regular, no murmur.",
    "Some lower back ache.",
    "Hearing aid on the left.",
    "No rash.",
    "Denies headache.",
)
PLANS = (
    "Blood tests, chest film, fluids; review tomorrow.",
    "Antibiotics by mouth, physiotherapy, observe.",
    "Continue home medication, repeat laboratory tests in the morning.",
    "Cultures taken, antibiotics started, chest physiotherapy.",
    "Oxygen as required, mobilise with help.",
)


def documents(stay: Stay) -> Iterator[Resource]:
    """The admission note, where there is one, and for some patients a note written after the index time."""
    rng = stay.generator(5)
    written = float(rng.uniform(1.0, 8.0))
    text = note_text(stay.note_points, rng)
    if stay.has["notes"]:
        yield _document(stay, "n0", written, text)
    hour = INDEX_HOURS + float(rng.uniform(0.5, 10.0))
    if rng.random() < 0.1 and hour < stay.hours:
        points = stay.note_points + round(GIVEAWAY / NOTE_STEP if stay.outcome else 0)
        yield _document(stay, "n1", hour, note_text(min(points, NOTE_POINTS), rng))


def note_text(points: int, rng: np.random.Generator) -> str:
    """A note worth `points` points, of about 60 to 130 words."""
    signs = [*HISTORY, *EXAMINATION]
    shown = _spread_points([len(sign) - 1 for sign in signs], points, rng)
    silent = rng.random(len(signs)) < 0.1
    said = [
        "" if quiet and not worth else _choose(sign[worth], rng)
        for sign, worth, quiet in zip(signs, shown, silent, strict=True)
    ]
    history, examination = (_shuffled([text for text in part if text], rng) for part in (said[:4], said[4:]))
    other = _some(OTHER, int(rng.integers(1, 8)), rng)
    halfway = len(other) // 2
    family = [*_some(FAMILY, int(rng.integers(1, 3)), rng), _choose(SOCIAL, rng)]
    sections = [
        ("Presenting complaint", f"{_choose(COMPLAINTS, rng)} for {rng.integers(2, 9)} days.".capitalize()),
        ("History", " ".join([_sentences(history, rng), *other[:halfway]])),
        ("Family and social", " ".join(family)),
        ("Examination", " ".join([_sentences(examination, rng), *other[halfway:]])),
        ("Plan", _choose(PLANS, rng)),
    ]
    return "\n".join(f"{title}: {' '.join(body.split())}" for title, body in sections)


def _spread_points(most: list[int], points: int, rng: np.random.Generator) -> list[int]:
    """Give each sign some points, at most its most, `points` in all."""
    tokens = np.repeat(np.arange(len(most)), most)
    shown = np.bincount(rng.permutation(tokens)[:points], minlength=len(most))
    return [int(worth) for worth in shown]


def _sentences(phrases: list[str], rng: np.random.Generator) -> str:
    """The phrases in order, one or two to a sentence."""
    found = []
    while phrases:
        count = int(rng.integers(1, 3))
        sentence = "; ".join(phrases[:count])
        found.append(sentence[0].upper() + sentence[1:] + ".")
        phrases = phrases[count:]
    return " ".join(found)


def _choose(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _some(options: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    return [options[i] for i in rng.permutation(len(options))[:count]]


def _shuffled(options: Sequence[str], rng: np.random.Generator) -> list[str]:
    return _some(options, len(options), rng)


def _document(stay: Stay, number: str, hour: float, text: str) -> Resource:
    moment = stamp(stay.after_admission(hour))
    return {
        "resourceType": "DocumentReference",
        "id": f"d{stay.identifier}-{number}",
        "status": "current",
        "docStatus": "final",
        "type": concept("LOINC", "34117-2", "History and physical note"),
        "subject": reference("Patient", stay.fhir_id),
        "date": moment,
        "content": [
            {
                "attachment": {
                    "contentType": "text/plain; charset=utf-8",
                    "language": "en",
                    "data": base64.b64encode(text.encode()).decode(),
                    "title": "Admission note",
                    "creation": moment,
                }
            }
        ],
        "context": {"encounter": [reference("Encounter", admission_id(stay))], "period": {"start": moment}},
    }
