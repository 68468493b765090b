"""A first mapping of an unknown table, guessed from its header and some of its rows, with what to check as comments.

It loads, and it reads the table; whether it means the right thing is for a person to say. No cell is shown in it:
only the names of columns, and the words and numbers that usually stand for "no value".
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import yaml

from ingest.delivery.sources import SourceFile
from ingest.errors import InputError
from ingest.mapping.columns import Guess, guess_column, words_of
from ingest.mapping.form import Form, form_of, sample
from ingest.mapping.mapping import parse_mapping

# What names whom a row is about, the likeliest first.
_SUBJECT_NAMES = (
    r"\b(?:patient|subject|person|participant|mrn|pid|pat)\b", r"patient|subject|person|participant",
    r"\b(?:stay|encounter|visit|admission|case|record|hadm|lesion|who|vehicle)\b|stay ?id|encounter ?id|record ?id",
    r"\bid\b|id$|\bno\b|number$",
)  # fmt: skip
_CODE_NAMES = (
    r"^(?:code|parameter|variable|item|test|measure\w*|name|label|concept|analyte|component)\b"
    r"|(?:name|label|code|item)$"
)
_VALUE_NAMES = r"^(?:value|result|amount|reading|number)\b|(?:value|result|valuenum|numeric)$"
_UNIT_NAMES = r"^(?:unit|units|uom|valueuom|unit of measure)$|unit$|uom$"
_KNOWN_NAMES = r"releas|result|report|available|entered|entry|issued|stor|verif|record"
_ENDS_NAMES = r"end|stop|discharge|until|death|out"


def propose_mapping(path: Path) -> str:
    """A mapping file for the table at `path`, as text. Raises InputError where it cannot be read."""
    if not path.is_file():
        raise InputError(str(path), expected="a table", got="nothing of that name")
    file = SourceFile(path.resolve(), path.resolve().parent)
    form = form_of(file)
    names, cells = sample(file, form)
    decimal = form.keys.get("decimal", ".")
    guesses = [guess_column(name, cells[name], file.path.parent, decimal) for name in names if name in cells]
    if not guesses or not any(guess.filled for guess in guesses):
        raise InputError(file.name, expected="a table with rows", got="a header alone")
    text = "\n".join(_Proposal(file, form, names, guesses, cells).lines()) + "\n"
    parse_mapping(yaml.safe_load(text), file.name)
    return text


class _Proposal:
    """The guesses put together as a mapping, a line at a time."""

    def __init__(
        self, file: SourceFile, form: Form, names: list[str], guesses: list[Guess], cells: dict[str, list[str]]
    ) -> None:
        self.file, self.form, self.names, self.cells = file, form, names, cells
        self.guesses = {guess.name: guess for guess in guesses}
        self.rows = max(len(each) for each in cells.values())
        self.stem = re.sub(r"\W+", "_", file.path.name.split(".")[0]).upper().strip("_") or "TABLE"
        self.subject, self.others = self._subject()
        self.code, self.value, self.unit = self._long()
        self.time, self.known = self._times()

    def lines(self) -> list[str]:
        lines = [
            f"# A first mapping of {self.file.path.name}, guessed from {self.rows:,} rows. Go through every CHECK."
        ]
        lines += [f"# {remark}" for remark in self.form.remarks]
        lines += ["files:", f"  - path: {_quoted(self.file.path.name)}"]
        lines += [f"    {key}: {_quoted(value)}" for key, value in self.form.keys.items()]
        lines += [*self._subject_lines(), *self._time_lines(), "    columns:", *self._column_lines()]
        return lines

    def _subject_lines(self) -> list[str]:
        remark = "    # CHECK: whom a row is about, and who issued the number (say it as the other sources do)"
        lines = [remark]
        if self.others:
            lines.append(
                f"    # it could as well be {', '.join(map(_shown, self.others))}; this is the likeliest by its name"
            )
        return [*lines, f"    subject: {{column: {_quoted(self.subject)}, issuer: local}}"]

    def _time_lines(self) -> list[str]:
        lines = []
        for key, name in (("time", self.time), ("available_time", self.known)):
            if not name:
                continue
            guess = self.guesses[name]
            keys = [f"column: {_quoted(name)}"]
            if guess.time in ("s", "min", "h", "d", "wk", "hh:mm"):
                keys.append(f"unit: {_quoted(guess.time)}")
            elif guess.time != "iso":
                keys.append(f"format: {_quoted(guess.time)}")
            if guess.filled < self.rows:
                keys.append("missing: skip" if key == "time" else "missing: static")
                lines.append(f"    # CHECK: {self.rows - guess.filled:,} of the rows looked at lack this time")
            if not guess.zoned:
                lines.append("    # these times state no zone: give it to `telltale ingest` as --timezone")
            if not guess.sure:
                lines.append("    # CHECK: the unit, or the order of day and month")
            lines.append(f"    {key}: {{{', '.join(keys)}}}")
        left = [g.name for g in self.guesses.values() if g.kind == "time" and g.name not in (self.time, self.known)]
        if not self.time:
            lines.append(
                "    # no `time`: every row is static, true at any time. CHECK that none of it was known only later"
            )
        if left:
            lines.append(
                f"    # other times, which a column can have as its own `time`: {', '.join(map(_shown, left))}"
            )
        return lines

    def _column_lines(self) -> list[str]:
        lines, used = [], {self.subject, self.time, self.known}
        if self.code and self.value:
            lines += self._long_lines()
            used |= {self.code, self.value, self.unit}
        for guess in self.guesses.values():
            if guess.name not in used:
                lines += self._line(guess)
        if not any(line.lstrip().startswith("-") for line in lines):
            lines.append(f"      - {{code: {_quoted(f'{self.stem}//ROW')}, kind: flag}}")
        if unnamed := [name for name in self.names if name not in self.guesses]:
            why = "without a name of their own, or with cells that have no text"
            lines.append(f"      # {len(unnamed)} columns left out: {why}")
        return lines

    def _line(self, guess: Guess) -> list[str]:
        code, shown = _quoted(f"{self.stem}//{guess.name}"), _shown(guess.name)
        if guess.kind in ("empty", "time"):
            return [f"      # {shown}: empty in the rows looked at"] if guess.kind == "empty" else []
        if guess.kind == "personal":
            return [f"      # {shown}: left out, it may name a person"]
        if guess.kind == "asset":
            return [f"      - {{code: {code}, asset: {_quoted(guess.asset)}}} # files that lie beside the table"]
        keys = [f"code: {code}", f"column: {_quoted(guess.name)}"]
        if guess.kind == "numeric":
            keys.append("kind: numeric")
        if guess.unit:
            keys.append(f"unit: {_quoted(guess.unit)}")
        if guess.null:
            keys.append(f'"null": [{", ".join(json.dumps(text) for text in guess.null)}]')
        if guess.unparseable:
            keys.append('unparseable: "null"')
        return [f"      - {{{', '.join(keys)}}}{self._remark(guess)}"]

    def _remark(self, guess: Guess) -> str:
        if guess.unparseable:
            return f" # CHECK: {guess.unparseable:,} cells are no numbers and count as missing"
        if guess.kind == "numeric" and not guess.unit and guess.distinct > 12:
            return " # CHECK: unit"
        if guess.kind == "numeric" and guess.distinct <= 2 and guess.filled > 10:
            return " # CHECK: a yes or no? As text it can be a label or a level"
        if guess.kind == "text" and guess.longest > 80:
            return " # free text: it may name persons"
        return ""

    def _long_lines(self) -> list[str]:
        value = self.guesses[self.value]
        keys = [f"code: {{column: {_quoted(self.code)}, prefix: {_quoted(self.stem + '//')}}}"]
        keys += [f"column: {_quoted(self.value)}", "kind: numeric"]
        if self.unit:
            keys.append(f"unit: {{column: {_quoted(self.unit)}}}")
        if value.null:
            keys.append(f'"null": [{", ".join(json.dumps(text) for text in value.null)}]')
        if value.numbers < value.filled:
            keys.append('unparseable: "null"')
        lines = ["      # CHECK: one column says what was measured, another the value. A `map` can name the codes."]
        if self.unit:
            lines.append("      # CHECK: units that are not UCUM need a `map` too")
        return [*lines, f"      - {{{', '.join(keys)}}}"]

    def _subject(self) -> tuple[str, list[str]]:
        """(the likeliest, others that are as likely by their names)."""
        scored: dict[str, tuple[int, int, int]] = {}
        for place, guess in enumerate(self.guesses.values()):
            likely = (
                guess.kind in ("text", "numeric", "asset") and guess.filled >= 0.5 * self.rows and guess.longest <= 64
            )
            decimal = guess.kind == "numeric" and any("." in cell for cell in self.cells[guess.name][:200])
            rank = next((n for n, form in enumerate(_SUBJECT_NAMES) if re.search(form, words_of(guess.name))), None)
            if likely and not decimal and rank is not None and guess.distinct > 1:
                own_row = guess.distinct == self.rows and rank >= 3  # an identifier of rows, rather than of people
                scored[guess.name] = (rank + 4 * own_row, -guess.distinct, place)
        if not scored:
            first = max(self.guesses.values(), key=lambda guess: (guess.filled, guess.distinct))
            return first.name, [name for name in self.guesses if name != first.name][:5]
        best = min(scored, key=lambda name: scored[name])
        return best, [name for name in scored if name != best and scored[name][0] <= scored[best][0] + 1]

    def _long(self) -> tuple[str, str, str]:
        def named(pattern: str, fits: Callable[[Guess], bool]) -> str:
            return next((g.name for g in self.guesses.values() if fits(g) and re.search(pattern, words_of(g.name))), "")

        code = named(_CODE_NAMES, lambda guess: guess.kind == "text" and guess.numbers == 0)
        value = named(_VALUE_NAMES, lambda guess: guess.numbers > 0.5 * guess.filled and guess.name != code)
        if not code or not value or self.subject in (code, value):
            return "", "", ""
        numbers = sum(guess.kind == "numeric" for guess in self.guesses.values())
        repeated = self.guesses[code].distinct <= max(2, self.rows // 2)
        unit = named(_UNIT_NAMES, lambda guess: guess.kind == "text")
        return (code, value, unit) if repeated and numbers <= 6 else ("", "", "")

    def _times(self) -> tuple[str, str]:
        """(when a row was, when it was known); none where each subject has one row and times are relative."""
        times = [guess for guess in self.guesses.values() if guess.kind == "time" and guess.filled >= 0.5 * self.rows]
        alone = self.guesses[self.subject].distinct >= self.rows
        if alone:
            times = [guess for guess in times if guess.time in ("iso",) or "%" in guess.time]
        known = [guess for guess in times if re.search(_KNOWN_NAMES, words_of(guess.name))]
        first = [g for g in times if g not in known and not re.search(_ENDS_NAMES, words_of(g.name))] or times
        if not first:
            return "", ""
        later = [guess for guess in known if guess.name != first[0].name and guess.time == first[0].time]
        return first[0].name, later[0].name if later else ""


def _quoted(text: str) -> str:
    """A text as YAML takes it within braces."""
    plain = re.fullmatch(r"[A-Za-z_][\w./ -]*(?<! )", text) and yaml.safe_load(text) == text
    return text if plain else json.dumps(text, ensure_ascii=False)


def _shown(name: str) -> str:
    """A column's name in a comment, on one line."""
    return " ".join(name.split()) or "(no name)"
