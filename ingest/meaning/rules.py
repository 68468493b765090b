"""What becomes of a value with this code and this unit: kept, converted or refused. One rule for each pair."""

import builtins
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np

from ingest.meaning.units import (
    PROPERTIES,
    bare,
    factor_between,
    fits_property,
    is_unit,
    known_trap,
    property_words,
    respelled,
    same_kind,
    shown_unit,
)

Problem = tuple[str, str, str, str]  # field, expected, got, hint
SAME_READING = 0.05  # two units that give readings this close are no reason to doubt
SHOWN_NUMBER = 1e6  # seven digits may be somebody's number


@dataclass(frozen=True)
class Quantity:
    """One code. unit: UCUM, what values are kept in. property: LOINC's (MCnc, SCnc, NCnc ...), empty where unknown.

    conversions: unit -> (factor, offset), value in `unit` = value * factor + offset. plausible: (low, high) in `unit`,
    both allowed. source: where range and factors were published.
    """

    code: str
    name: str
    unit: str
    property: str = ""
    plausible: tuple[float, float] | None = None
    conversions: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    source: str = ""

    @builtins.property  # `property` is a field here
    def readings(self) -> dict[str, tuple[float, float]]:
        """All units that it may come in, its own first."""
        return {self.unit: (1.0, 0.0), **self.conversions}


@dataclass(frozen=True)
class Rule:
    """What is done with the values of one code in one unit.

    said: the unit as it came; unit: the one that values come out in. refusal: whatever the value, it is refused.
    doubted: no unit was stated and the quantity has more than one, so that a value may be readable in two ways.
    """

    said: str | None
    unit: str | None
    factor: float = 1.0
    offset: float = 0.0
    low: float = -inf
    high: float = inf
    note: str | None = None
    refusal: Problem | None = None
    quantity: Quantity | None = None
    doubted: bool = False

    def problem(self, value: float) -> Problem | None:
        """Why the value has to be refused, if it has to be."""
        if self.refusal is not None or self.quantity is None:
            return self.refusal
        converted = value * self.factor + self.offset
        if not self.low <= converted <= self.high:
            return self._implausible(value, converted)
        if self.doubted and (others := self._other_readings(value)):
            got = f"none: {_amount(value, self.quantity.unit)}, or {_listed(others)}"
            hint = "state the unit at the source or in the mapping"
            return "unit", f"a stated unit of {self.quantity.name}", got, hint
        return None

    def doubtful(self, values: np.ndarray) -> np.ndarray:
        """Which of `values` (N,) without a stated unit could be read in more than one."""
        assert self.quantity is not None
        doubt = np.zeros(len(values), bool)
        for factor, offset in self.quantity.conversions.values():
            other = values * factor + offset
            apart = np.abs(other - values) > SAME_READING * np.abs(values)
            doubt |= apart & (other >= self.low) & (other <= self.high)
        return doubt & (values >= self.low) & (values <= self.high)

    def _implausible(self, value: float, converted: float) -> Problem:
        assert self.quantity is not None
        unit = self.quantity.unit
        said = self.said if self.said in self.quantity.readings else shown_unit(self.said or unit)
        got = _amount(value, "without a unit" if self.doubted or said is None else said)
        if self.factor != 1.0 or self.offset != 0.0:
            got += f" ({_rounded(converted)} {unit})"
        others = self._other_readings(value)
        got += f", which {_listed(others)}" if others else ""
        hint = "correct the unit at the source or in the mapping" if others else ""
        return self.quantity.name, f"{self.low:g} to {self.high:g} {unit}", got, hint

    def _other_readings(self, value: float) -> list[str]:
        """The other units in which the value would be plausible, each with what it would be."""
        assert self.quantity is not None
        found = []
        for unit, (factor, offset) in self.quantity.readings.items():
            other = value * factor + offset
            mine = value * self.factor + self.offset
            if self.low <= other <= self.high and abs(other - mine) > SAME_READING * abs(mine):
                found.append(f"read as {unit} would be {_rounded(other)} {self.quantity.unit}")
        return found


def rule_of(
    code: str, quantity: Quantity | None, unit: str | None, spellings: Mapping[str, str], twins: Sequence[Quantity]
) -> Rule:
    """Find the rule for a code and a unit. twins: quantities of the same name, to suggest where this code is wrong."""
    if unit is not None and not unit.strip():
        unit = None
    own = quantity is not None and unit in quantity.readings
    if unit is not None and not own and (trap := known_trap(unit)):
        return Rule(unit, unit, refusal=_trapped(quantity, unit, *trap))
    if quantity is None:
        note = None
        if unit is not None and unit not in spellings.values() and not is_unit(unit):
            note = f"unit {shown_unit(unit, spellings)} is not UCUM: kept as it is"
        return Rule(unit, unit, note=note)
    if unit is None:
        note = f"{code}: unit not stated, taken as {quantity.unit}"
        return _rule(quantity, None, (1.0, 0.0), note, doubted=bool(quantity.conversions))
    meant = _meant(quantity, unit, spellings)
    if meant is not None:
        spelled, (factor, offset) = meant
        note = None
        if (factor, offset) != (1.0, 0.0) or spelled in quantity.conversions:
            note = f"{code}: {shown_unit(unit, spellings)} converted to {quantity.unit}"
        elif unit != quantity.unit:
            note = f"{code}: {shown_unit(unit, spellings)} taken as {quantity.unit}"
        return _rule(quantity, unit, (factor, offset), note)
    return Rule(unit, unit, refusal=_refused(quantity, unit, spellings, twins))


def hurried_rule(quantity: Quantity | None, unit: str | None) -> Rule:
    """A rule without looking closely at the unit: for a source that has had far too many different ones."""
    if quantity is None:
        return Rule(unit, unit)
    if unit in quantity.readings:
        return _rule(quantity, unit, quantity.readings[unit], None)
    expected = f"a unit of {quantity.name}: {' or '.join(quantity.readings)}"
    return Rule(unit, unit, refusal=("unit", expected, "one of too many different ones", "is it the right column?"))


def _rule(
    quantity: Quantity, said: str | None, reading: tuple[float, float], note: str | None, *, doubted: bool = False
) -> Rule:
    low, high = quantity.plausible or (-inf, inf)
    return Rule(
        said, quantity.unit, *reading, low=low, high=high, note=note, quantity=quantity,
        doubted=doubted and quantity.plausible is not None,
    )  # fmt: skip


def _meant(quantity: Quantity, unit: str, spellings: Mapping[str, str]) -> tuple[str, tuple[float, float]] | None:
    """(a unit that the quantity comes in, how it converts) of a unit however it is written; None: it is another."""
    readings = quantity.readings
    written = {bare(each): each for each in reversed(readings)}
    for candidate in (unit, *respelled(unit, spellings)):
        if candidate in readings:
            return candidate, readings[candidate]
        if bare(candidate) in written and same_kind(candidate, written[bare(candidate)]):
            return written[bare(candidate)], readings[written[bare(candidate)]]
    for candidate in (unit, *respelled(unit, spellings)):
        for each, (factor, offset) in readings.items():
            if (step := factor_between(candidate, each)) is not None:
                return each, (step[0] * factor, step[1] * factor + offset)
    return None


def _trapped(quantity: Quantity | None, unit: str, suggestion: str, meaning: str) -> Problem:
    expected = f"a UCUM unit of {quantity.name}, such as {quantity.unit}" if quantity else "a UCUM unit"
    return "unit", expected, f"{unit!r}{meaning}", f"write {suggestion}"


def _refused(quantity: Quantity, unit: str, spellings: Mapping[str, str], twins: Sequence[Quantity]) -> Problem:
    """A unit of another property, or none at all."""
    allowed = " or ".join(quantity.readings)
    candidates = [each for each in (unit, *respelled(unit, spellings)) if is_unit(each)]
    if candidates and quantity.property in PROPERTIES:
        words = property_words(quantity.property)
        expected = f"a unit of {quantity.name}, whose property is {quantity.property} ({words}): {allowed}"
        fitting = [twin for twin in twins if any(fits_property(each, twin.property) for each in candidates)]
        hint = f"the code for this unit is {fitting[0].code}" if fitting else "the code or the unit is wrong"
        return "unit", expected, f"{shown_unit(unit, spellings)!r}, which contradicts it", hint
    near = difflib.get_close_matches(unit, [*quantity.readings, *spellings], n=1, cutoff=0.5)
    hint = f"the nearest is {near[0]}" if near else "add a conversion to the vocabulary"
    return "unit", f"a unit of {quantity.name}: {allowed}", repr(shown_unit(unit, spellings)), hint


def _listed(readings: Sequence[str]) -> str:
    return ", or ".join(readings)


def _rounded(value: float) -> str:
    return f"{float(f'{value:.3g}'):g}"


def _amount(value: float, unit: str) -> str:
    return f"{value:g} {unit}" if abs(value) < SHOWN_NUMBER else f"a number beyond {SHOWN_NUMBER:,.0f} {unit}"
