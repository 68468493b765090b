"""A vocabulary file is checked as it is read, and the ones that come with Telltale make sense."""

from pathlib import Path

import pytest

from ingest.errors import InputError
from ingest.meaning.units import factor_between, fits_property, is_unit
from ingest.meaning.vocabulary import Quantity, Vocabulary
from ingest.meaning.vocabulary_file import load_vocabulary, merge_vocabularies
from serve.options import vocabulary

BUILT_IN = vocabulary()
ENTRY = "{codes: [X], name: x, unit: mg/dL, property: MCnc, plausible: [0, 5], source: here}"


def write(folder: Path, text: str) -> Path:
    path = folder / "vocabulary.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_is_read(tmp_path: Path) -> None:
    entry = ENTRY.replace("[X]", "[X, Y]").replace("plausible", 'units: {mmol/L: 2, "[degF]": [1, -3]}, plausible')
    read = load_vocabulary(write(tmp_path, f"spellings: {{mgs: mg}}\nquantities:\n  - {entry}\n"))
    assert list(read.quantities) == ["X", "Y"]
    assert read.quantities["Y"] == Quantity(
        "Y", "x", "mg/dL", "MCnc", (0, 5), {"mmol/L": (2, 0), "[degF]": (1, -3)}, "here"
    )
    assert read.spellings == {"mgs": "mg"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"quantities: [{ENTRY.replace('name', 'nmae')}]", "quantities.0.*expected a valid vocabulary"),
        (f"quantities: [{ENTRY.replace('MCnc', 'Mcnc')}]", "property: expected one of MCnc"),
        (f"quantities: [{ENTRY.replace('[0, 5]', '[5, 0]')}]", r"plausible is \[low, high\]"),
        (f"quantities: [{ENTRY.replace('[0, 5]', '[.nan, 5]')}]", "finite number"),
        (f"quantities: [{ENTRY}, {ENTRY}]", "more than once: X"),
        (f"quantities: [{ENTRY.replace('source', 'units: {g/L: 0}, source')}]", "a factor is not 0"),
        ("quantities: []", "quantities"),
        ("- 1", "expected a mapping with quantities, got list"),
        ("a: [", "line 2.*expected YAML"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_vocabulary(write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a vocabulary file, got nothing of that name"):
        load_vocabulary(tmp_path / "none.yaml")


def test_two_vocabularies_may_agree_but_not_differ() -> None:
    one = Vocabulary({"X": Quantity("X", "x", "m")}, {"metre": "m"})
    assert merge_vocabularies([one, one]).quantities == one.quantities
    with pytest.raises(InputError, match="X: expected one meaning of a code"):
        merge_vocabularies([one, Vocabulary({"X": Quantity("X", "x", "cm")})])
    with pytest.raises(InputError, match="metre: expected one meaning of a spelling, got m and cm"):
        merge_vocabularies([one, Vocabulary({}, {"metre": "cm"})])


def test_there_are_the_quantities_that_hospitals_send() -> None:
    assert len({(each.name, each.property) for each in BUILT_IN.quantities.values()}) >= 90
    wanted = (
        "8867-4 9279-1 59408-5 2708-6 8310-5 8480-6 8462-4 8478-0 9269-2 29463-7 8302-2 39156-5 3150-0 2160-0 2345-7"
    )
    assert {f"LOINC//{number}" for number in wanted.split()} <= BUILT_IN.quantities.keys()


@pytest.mark.parametrize("code", [code for code in BUILT_IN.quantities if code.startswith("LOINC//")])
def test_every_loinc_code_has_its_check_digit(code: str) -> None:
    """Luhn's, as the LOINC Users' Guide has it."""
    number, check = code.removeprefix("LOINC//").split("-")
    doubled = [int(d) * (2 if i % 2 == 0 else 1) for i, d in enumerate(reversed(number))]
    assert (10 - sum(d // 10 + d % 10 for d in doubled) % 10) % 10 == int(check)


@pytest.mark.parametrize("code", BUILT_IN.quantities)
def test_every_unit_is_ucum_and_measures_the_property(code: str) -> None:
    quantity = BUILT_IN.quantities[code]
    assert all(is_unit(unit) for unit in quantity.readings)
    assert quantity.source
    assert quantity.plausible is not None
    if quantity.property not in ("Score", "Ratio", "RelTime", "Rden", "MRto"):
        assert fits_property(quantity.unit, quantity.property), (quantity.unit, quantity.property)


@pytest.mark.parametrize("code", BUILT_IN.quantities)
def test_every_stated_factor_is_that_of_the_units_where_they_have_one(code: str) -> None:
    quantity = BUILT_IN.quantities[code]
    for unit, (factor, offset) in quantity.conversions.items():
        if (reckoned := factor_between(unit, quantity.unit)) is not None:
            assert factor == pytest.approx(reckoned[0], rel=1e-5), unit
            assert offset == pytest.approx(reckoned[1], rel=1e-5), unit


@pytest.mark.parametrize("spelling", BUILT_IN.spellings)
def test_every_spelling_stands_for_a_unit(spelling: str) -> None:
    assert is_unit(BUILT_IN.spellings[spelling])


MOLAR = {  # g/mol, PubChem; the reference for the factors between amount and mass
    "creatinine": 113.12, "glucose": 180.156, "urea": 60.056, "calcium": 40.078, "magnesium": 24.305, "urate": 168.11,
    "cholesterol": 386.65, "bilirubin, total": 584.66, "bilirubin, direct": 584.66, "phosphate": 30.974,
}  # fmt: skip


@pytest.mark.parametrize("name", MOLAR)
def test_factors_between_amount_and_mass_are_molar_masses(name: str) -> None:
    found = [q for q in BUILT_IN.quantities.values() if q.name == name and q.property == "MCnc"]
    assert found
    for quantity in found:
        for unit in quantity.conversions.keys() & {"mmol/L", "umol/L"}:
            scale = {"mmol/L": 0.1, "umol/L": 0.0001}[unit]  # g/mol in mg/dL
            assert quantity.conversions[unit][0] == pytest.approx(MOLAR[name] * scale, rel=1e-3)


def test_a_mass_and_its_amount_have_the_same_plausible_range() -> None:
    for name in ("creatinine", "glucose", "cholesterol", "calcium", "magnesium", "phosphate"):
        mass, amount = (
            next(q for q in BUILT_IN.quantities.values() if q.name == name and q.property == p)
            for p in ("MCnc", "SCnc")
        )
        factor, _ = mass.conversions.get(amount.unit, (0, 0))
        assert mass.plausible
        assert amount.plausible
        assert amount.plausible[1] * factor == pytest.approx(mass.plausible[1], rel=0.05), name
        assert amount.plausible[0] * factor == pytest.approx(mass.plausible[0], rel=0.15), name


def test_the_demo_ward_s_channels_are_all_plausible() -> None:
    from clinical.ward.measurements import DIASTOLIC, LABS, SYSTOLIC, VITALS

    for channel in (*VITALS, SYSTOLIC, DIASTOLIC, *LABS):
        for value in (channel.low, channel.high):
            assert BUILT_IN.judge_one(f"LOINC//{channel.code}", value, channel.unit) == (value, channel.unit, None)
