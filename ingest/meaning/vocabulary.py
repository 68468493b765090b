"""What codes and units mean: one vocabulary, handed in by a domain; the engine knows no word of it.

A quantity is a code with the unit that its values are kept in, the units that they may come in, and the range outside
of which a value is no measurement but a mistake. Each states its source.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ingest.account.quarantine import Refusal
from ingest.meaning.rules import Problem, Quantity, Rule, hurried_rule, rule_of
from ingest.meaning.units import factor_between

__all__ = ["EMPTY", "Judged", "Quantity", "Vocabulary"]

MAX_RULES = 20_000  # pairs of a code and a unit; no source has as many, unless its unit column holds something else


@dataclass(frozen=True)
class Judged:
    """A column of values, judged. values (N,) float64 in the vocabulary's units, units (N,) strings.

    problems: row -> (field, expected, got, hint), for what has to be refused. notes: what was converted, how often.
    """

    values: np.ndarray
    units: pa.Array
    problems: Mapping[int, Problem]
    notes: Mapping[str, int]


@dataclass(frozen=True)
class Vocabulary:
    """Quantities by code, and spellings: how units are written by those who do not write UCUM -> UCUM.

    Built by `ingest.meaning.vocabulary_file.load_vocabulary`. `EMPTY` lets everything pass as it is.
    """

    quantities: Mapping[str, Quantity] = field(default_factory=dict)
    spellings: Mapping[str, str] = field(default_factory=dict)
    _rules: dict[tuple[str, str | None], Rule] = field(default_factory=dict, init=False, repr=False, compare=False)

    def judge(self, codes: pa.Array, values: np.ndarray, units: pa.Array) -> Judged:
        """Convert what can be converted, and name what cannot be right.

        codes (N,) strings; values (N,) float64, NaN where there is no number (passed over); units (N,) strings or null.
        """
        values = np.asarray(values, np.float64)
        if not self.quantities or not len(values):
            return Judged(values, units, {}, {})
        rules, rule = self._rules_of(codes, units)
        number = ~np.isnan(values)
        factor, offset, low, high = (
            np.array([getattr(each, name) for each in rules])[rule] for name in ("factor", "offset", "low", "high")
        )
        converted = values * factor + offset
        refused = np.array([each.refusal is not None for each in rules])[rule]
        bad = number & (refused | (converted < low) | (converted > high))
        for place, each in enumerate(rules):
            if each.doubted:
                here = np.flatnonzero(rule == place)
                bad[here] |= each.doubtful(values[here])
        problems = {}
        for row in np.flatnonzero(bad).tolist():
            if (problem := rules[rule[row]].problem(float(values[row]))) is not None:
                problems[row] = problem
        counts = np.bincount(rule[number & ~bad], minlength=len(rules)).tolist()
        notes: Counter[str] = Counter()
        for each, count in zip(rules, counts, strict=True):
            if each.note and count:
                notes[each.note] += int(count)
        return Judged(np.where(number, converted, values), _units(rules, rule, number, units), problems, notes)

    def judge_one(self, code: str, value: float, unit: str | None) -> tuple[float, str | None, str | None]:
        """(value, unit, note) of one value in the vocabulary's unit; note: what was decided, for `Report.note`.

        For readers that go record by record. Raises ingest.account.quarantine.Refusal where the value cannot be right.
        """
        if not self.quantities or value != value:
            return value, unit, None
        rule = self._rule(code, unit)
        if (problem := rule.problem(value)) is not None:
            raise Refusal(*problem)
        return value * rule.factor + rule.offset, rule.unit, rule.note

    def conversion(self, code: str, from_unit: str, to_unit: str) -> tuple[float, float] | None:
        """(factor, offset) so that value in `to_unit` = value * factor + offset; None where they do not convert.

        By the code's quantity where there is one; of other codes only units of one dimension convert.
        """
        if from_unit == to_unit:
            return 1.0, 0.0
        if code not in self.quantities:
            return factor_between(self.spellings.get(from_unit, from_unit), self.spellings.get(to_unit, to_unit))
        given, wanted = self._rule(code, from_unit), self._rule(code, to_unit)
        if given.refusal is not None or wanted.refusal is not None:
            return None
        return given.factor / wanted.factor, (given.offset - wanted.offset) / wanted.factor

    def _rule(self, code: str, unit: str | None) -> Rule:
        quantity = self.quantities.get(code)
        key = (code if quantity else "", unit)  # other codes are all treated alike
        rule = self._rules.get(key)
        if rule is None:
            if unit is not None and len(self._rules) >= MAX_RULES:
                return hurried_rule(quantity, unit)
            rule = self._rules[key] = rule_of(code, quantity, unit, self.spellings, self._twins(code))
        return rule

    def _twins(self, code: str) -> list[Quantity]:
        """The quantities of the same name under another code: what a contradicted code may have meant."""
        mine = self.quantities.get(code)
        return [q for q in self.quantities.values() if mine and q.name == mine.name and q.code != code]

    def _rules_of(self, codes: pa.Array, units: pa.Array) -> tuple[list[Rule], np.ndarray]:
        """(the rules of the distinct pairs of code and unit, and (N,) which of them each row has)."""
        code_texts, code = _encoded(codes)
        unit_texts, unit = _encoded(units)
        pair = code * len(unit_texts) + unit
        present = np.zeros(len(code_texts) * len(unit_texts), bool)
        present[pair] = True
        pairs = np.flatnonzero(present)
        place = np.cumsum(present) - 1
        rules = [
            self._rule(code_texts[i // len(unit_texts)] or "", unit_texts[i % len(unit_texts)]) for i in pairs.tolist()
        ]
        return rules, place[pair]


def _encoded(texts: pa.Array) -> tuple[list[str | None], np.ndarray]:
    """(the distinct texts, null among them, and (N,) the place of each row's)."""
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    if not pa.types.is_dictionary(texts.type):
        texts = texts.dictionary_encode()
    distinct = [*texts.dictionary.to_pylist(), None]
    places = pc.fill_null(texts.indices, len(distinct) - 1) if texts.null_count else texts.indices
    return distinct, places.to_numpy(zero_copy_only=False).astype(np.int64)


def _units(rules: list[Rule], rule: np.ndarray, number: np.ndarray, units: pa.Array) -> pa.Array:
    """The unit of every row after judging; rows without a number keep theirs."""
    if all(each.unit == each.said for each in rules):
        return units
    found = pa.array([each.unit for each in rules], pa.string()).take(pa.array(rule))
    return found if number.all() else pc.if_else(pa.array(number), found, units.cast(pa.string()))


EMPTY = Vocabulary()
