"""Units are converted where that is certain, and refused by name where it is not."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest.account.quarantine import Refusal
from ingest.meaning.vocabulary import EMPTY, Quantity, Vocabulary

ROOT = Path(__file__).parents[3]
SPELLINGS = {"mmHg": "mm[Hg]", "bpm": "/min", "degC": "Cel"}
QUANTITIES = [
    Quantity("L//glucose", "glucose", "mg/dL", "MCnc", (10, 1500), {"mmol/L": (18.0156, 0)}),
    Quantity("L//creatinine", "creatinine", "mg/dL", "MCnc", (0.05, 60), {"umol/L": (0.011312, 0)}),
    Quantity("L//lactate-mass", "lactate", "mg/dL", "MCnc", (0, 450)),
    Quantity("L//lactate", "lactate", "mmol/L", "SCnc", (0, 50)),
    Quantity("L//leukocytes", "leukocytes", "10*3/uL", "NCnc", (0, 1100)),
    Quantity("L//pressure", "pressure", "mm[Hg]", "Pres", (0, 375), {"kPa": (7.50061683, 0)}),
    Quantity("L//pulse", "pulse", "/min", "NRat", (0, 390)),
    Quantity("L//temperature", "temperature", "Cel", "Temp", (13, 47), {"[degF]": (5 / 9, -160 / 9)}),
    Quantity("L//score", "score", "{score}", "Score", (3, 15), {"1": (1, 0)}),
    Quantity("L//tsh", "thyrotropin", "m[iU]/L", "ACnc", (0, 1000)),
    Quantity("L//dimer", "D-dimer", "ng/mL{FEU}", "MCnc", (0, 1e6)),
    Quantity("L//renal", "filtration", "mL/min/{1.73_m2}", "ArVRat", (0, 250)),
]
WORDS = Vocabulary({each.code: each for each in QUANTITIES}, SPELLINGS)


def said(code: str, value: float, unit: str | None) -> str:
    with pytest.raises(Refusal) as refusal:
        WORDS.judge_one(code, value, unit)
    return str(refusal.value.complaint("labs.csv", "row 17"))


def test_the_quantity_s_own_unit_passes_without_a_word() -> None:
    assert WORDS.judge_one("L//glucose", 90.0, "mg/dL") == (90.0, "mg/dL", None)


def test_glucose_in_mmol_per_litre_labelled_mg_per_decilitre_is_refused_naming_both_readings() -> None:
    """FAULTS 15."""
    assert said("L//glucose", 5.4, "mg/dL") == (
        "labs.csv, row 17, glucose: expected 10 to 1500 mg/dL, got 5.4 mg/dL, "
        "which read as mmol/L would be 97.3 mg/dL; correct the unit at the source or in the mapping"
    )
    assert "got 300 mmol/L (5400 mg/dL), which read as mg/dL would be 300 mg/dL" in said("L//glucose", 300, "mmol/L")


def test_creatinine_in_micromoles_is_converted_and_noted() -> None:
    """FAULTS 16. 88.42 umol/L are 1 mg/dL (molar mass 113.12)."""
    value, unit, note = WORDS.judge_one("L//creatinine", 88.42, "umol/L")
    assert (round(value, 3), unit) == (1.0, "mg/dL")
    assert note == "L//creatinine: umol/L converted to mg/dL"
    for spelled in ("µmol/L", "μmol/l", "umol/l"):
        assert WORDS.judge_one("L//creatinine", 88.42, spelled)[0] == pytest.approx(1.0, abs=1e-3)


def test_a_unit_that_contradicts_the_code_s_property_is_refused_and_the_right_code_named() -> None:
    """FAULTS 17: lactate as mass per volume in mmol/L (synthea#1198), and the other way round."""
    assert said("L//lactate-mass", 2.1, "mmol/L") == (
        "labs.csv, row 17, unit: expected a unit of lactate, whose property is MCnc (mass concentration): mg/dL, "
        "got 'mmol/L', which contradicts it; the code for this unit is L//lactate"
    )
    assert "property is SCnc (substance concentration)" in said("L//lactate", 20, "mg/dL")
    assert "the code or the unit is wrong" in said("L//pulse", 80, "mg/dL")


@pytest.mark.parametrize(
    ("unit", "write"),
    [
        ("K/uL", "10*3/uL"), ("k/ul", "10*3/uL"), ("K/mcL", "10*3/uL"), ("K/µL", "10*3/uL"), ("thou/mm3", "10*3/uL"),
        ("x10^3/uL", "10*3/uL"), ("×10³/uL", "10*3/uL"), ("10^3/uL", "10*3/uL"), ("10E3/uL", "10*3/uL"),
        ("x10E3/uL", "10*3/uL"), ("10**3/uL", "10*3/uL"), ("1000/uL", "10*3/uL"), ("M/uL", "10*6/uL"),
        ("10^9/L", "10*9/L, which is 10*3/uL"), ("G/L", "10*9/L, which is 10*3/uL"),
        ("10^12/L", "10*12/L, which is 10*6/uL"), ("T/L", "10*12/L, which is 10*6/uL"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("code", ["L//leukocytes", "L//unheard-of"])
def test_counts_in_units_that_are_none_are_refused_with_the_suggestion(code: str, unit: str, write: str) -> None:
    """FAULTS 18: under any code, because UCUM reads K as kelvin."""
    assert said(code, 7.2, unit).endswith(f"; write {write}")


def test_kelvin_is_named() -> None:
    """FAULTS 18."""
    assert "got 'K/uL', which UCUM reads as kelvin per microlitre" in said("L//leukocytes", 7.2, "K/uL")


@pytest.mark.parametrize("unit", ["10*3/uL", "10*9/L", "10*3/mm3", "/nL", "10*3/uL{cells}"])
def test_counts_as_ucum_has_them_pass(unit: str) -> None:
    assert WORDS.judge_one("L//leukocytes", 7.2, unit)[:2] == (7.2, "10*3/uL")


@pytest.mark.parametrize(
    ("code", "unit", "value", "expected"),
    [
        ("L//pressure", "mmHg", 120, 120), ("L//pressure", "MMHG", 120, 120), ("L//pressure", "cm[H2O]", 100, 73.556),
        ("L//pressure", "kPa", 16, 120.01), ("L//pulse", "bpm", 80, 80), ("L//pulse", "{beats}/min", 80, 80),
        ("L//pulse", "/s", 1.5, 90), ("L//temperature", "degC", 37, 37), ("L//temperature", "[degF]", 98.6, 37),
        ("L//temperature", "K", 310.15, 37), ("L//creatinine", "nmol/mL", 88.4, 1.0), ("L//glucose", "g/L", 0.9, 90),
        ("L//glucose", "mg/dl", 90, 90), ("L//glucose", "mg%", 90, None), ("L//lactate", "mEq/L", 2, None),
        ("L//tsh", "uIU/mL", 2, 2), ("L//tsh", "mIU/L", 2, 2), ("L//score", "1", 15, 15),
        ("L//dimer", "ng/mL", 500, 500), ("L//renal", "mL/min/{1.73_m2}", 60, 60),
    ],
)  # fmt: skip
def test_the_same_quantity_in_another_unit_is_converted(
    code: str, unit: str, value: float, expected: float | None
) -> None:
    if expected is None:
        with pytest.raises(Refusal):
            WORDS.judge_one(code, value, unit)
    else:
        assert WORDS.judge_one(code, value, unit)[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("code", "unit"),
    [
        ("L//score", "%"), ("L//pulse", "ug/kg/min"), ("L//pulse", "rad/s"), ("L//pulse", "Bq"), ("L//tsh", "10*3/uL"),
        ("L//leukocytes", "m[iU]/L"), ("L//dimer", "ng/mL{DDU}"), ("L//renal", "mL/min"),
    ],
)  # fmt: skip
def test_units_of_one_dimension_that_mean_different_things_do_not_convert(code: str, unit: str) -> None:
    said(code, 10, unit)


def test_an_unknown_unit_is_refused_with_the_nearest_and_not_shown_where_it_may_be_a_name() -> None:
    assert said("L//pressure", 120, "mm[Hgg]").endswith("got 'mm[Hgg]'; the nearest is mm[Hg]")
    assert "Archer" not in said("L//pressure", 120, "Ann Archer")
    assert "text of 10 characters" in said("L//pressure", 120, "Ann Archer")


def test_without_a_unit_only_what_can_be_read_in_one_way_is_taken() -> None:
    value, unit, note = WORDS.judge_one("L//temperature", 37.0, None)
    assert (value, unit, note) == (37.0, "Cel", "L//temperature: unit not stated, taken as Cel")
    assert WORDS.judge_one("L//pulse", 80.0, "")[1] == "/min"
    assert "got none: 30 mg/dL, or read as mmol/L would be 540 mg/dL; state the unit" in said("L//glucose", 30, None)
    assert "got 5.4 without a unit, which read as mmol/L would be 97.3 mg/dL" in said("L//glucose", 5.4, None)


def test_codes_that_are_not_in_the_vocabulary_pass_untouched() -> None:
    assert WORDS.judge_one("X", 1e9, "mmHg") == (1e9, "mmHg", "unit mmHg is not UCUM: kept as it is")
    assert WORDS.judge_one("X", 1.0, "mm[Hg]") == (1.0, "mm[Hg]", None)
    assert WORDS.judge_one("X", 1.0, None) == (1.0, None, None)
    assert EMPTY.judge_one("L//glucose", 5.4, "K/uL") == (5.4, "K/uL", None)


def test_a_number_that_may_be_somebody_s_is_not_shown() -> None:
    assert "12345678" not in said("L//glucose", 12345678, "mg/dL")


UNITS = ["mg/dL", "mmol/L", "mmHg", "mm[Hg]", "K/uL", "10*3/uL", None, "", "bpm", "Cel", "nonsense", "kPa", "%"]
ROWS = st.lists(
    st.tuples(
        st.sampled_from([*WORDS.quantities, "X"]), st.floats(-10, 2000) | st.just(float("nan")), st.sampled_from(UNITS)
    ),
    max_size=40,
)


@given(ROWS)
@example([("L//lactate-mass", 1.0, None), ("L//lactate-mass", 1.0, "")])
@settings(max_examples=80, deadline=None)
def test_a_column_is_judged_as_its_values_are_one_by_one(rows: list[tuple[str, float, str | None]]) -> None:
    codes, values, units = ([row[i] for row in rows] for i in range(3))
    judged = WORDS.judge(pa.array(codes, pa.string()), np.array(values, np.float64), pa.array(units, pa.string()))
    noted: dict[str, int] = {}
    for row, (code, value, unit) in enumerate(rows):
        problem = None
        try:
            one, kept, note = WORDS.judge_one(code, value, unit)
        except Refusal as refusal:
            problem = (refusal.field, refusal.expected, refusal.got, refusal.hint)
        assert judged.problems.get(row) == problem
        if problem is not None:
            continue
        assert judged.values[row] == pytest.approx(one, nan_ok=True)
        assert (judged.units[row].as_py() or None) == (kept or None)
        if note:
            noted[note] = noted.get(note, 0) + 1
    assert dict(judged.notes) == noted


def test_dictionaries_and_chunks_are_columns_too() -> None:
    codes = pa.chunked_array([["L//glucose"], ["L//pulse", "X"]]).dictionary_encode()
    units = pa.chunked_array([["mmol/L"], ["bpm", None]]).dictionary_encode()
    judged = WORDS.judge(codes, np.array([5.0, 80.0, np.nan]), units)
    assert judged.values[:2].tolist() == [pytest.approx(90.078), 80.0]
    assert judged.units.to_pylist() == ["mg/dL", "/min", None]
    nothing = WORDS.judge(pa.array([], pa.string()), np.zeros(0), pa.array([], pa.string()))
    assert (len(nothing.values), dict(nothing.problems)) == (0, {})


def test_conversions_for_aligners_go_both_ways() -> None:
    assert WORDS.conversion("L//creatinine", "umol/L", "mg/dL") == (pytest.approx(0.011312), 0.0)
    factor, offset = WORDS.conversion("L//temperature", "Cel", "[degF]") or (0, 0)
    assert 37 * factor + offset == pytest.approx(98.6)
    assert WORDS.conversion("L//lactate", "mmol/L", "mg/dL") is None
    assert WORDS.conversion("X", "km/h", "m/s") == (pytest.approx(1 / 3.6), 0.0)
    assert WORDS.conversion("X", "mmol/L", "mg/dL") is None
    assert EMPTY.conversion("X", "m", "m") == (1.0, 0.0)


@given(st.text(max_size=60) | st.from_regex(r"[a-zA-Z0-9*/.\[\]{}()^%-]{1,40}"))
@settings(max_examples=300, deadline=2000)
def test_any_text_for_a_unit_gives_a_verdict(unit: str) -> None:
    for code in ("L//glucose", "X"):
        with suppress(Refusal):
            WORDS.judge_one(code, 100.0, unit)


def test_units_that_the_tables_know_load_no_unit_library() -> None:
    program = (
        "import sys; from serve.options import vocabulary; v = vocabulary();"
        "v.judge_one('LOINC//2160-0', 80, 'umol/L'); v.judge_one('LOINC//8480-6', 120, 'mmHg');"
        "v.judge_one('LOINC//6690-2', 7, '10*9/L'); print('pint' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"


def test_a_unit_column_that_holds_something_else_costs_neither_time_nor_memory() -> None:
    import time

    words = Vocabulary(WORDS.quantities, SPELLINGS)
    for number in range(20_000):
        words._rules["", f"filled {number}"] = words._rule("X", None)
    units = [f"note {number}" for number in range(50_000)] + ["mg/dL"]
    start = time.perf_counter()
    judged = words.judge(pa.array(["L//glucose"] * len(units)), np.full(len(units), 90.0), pa.array(units))
    assert time.perf_counter() - start < 5
    assert len(judged.problems) == 50_000
    assert judged.problems[0][2:] == ("one of too many different ones", "is it the right column?")
    assert len(words._rules) <= 20_001
