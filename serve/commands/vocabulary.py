"""`telltale vocabulary`: what is known of codes and units."""

from typing import TYPE_CHECKING, Annotated

import typer

from serve.options import vocabulary as built_in

if TYPE_CHECKING:
    from ingest.meaning.vocabulary import Quantity


def vocabulary(
    what: Annotated[str | None, typer.Argument(help="A code, or part of a code or a name. Default: all.")] = None,
) -> None:
    """List the quantities: their codes, the units they may come in, and what is plausible."""
    from ingest.errors import InputError
    from serve.console import say, table

    known = built_in().quantities
    asked = (what or "").lower()
    found = {code: each for code, each in known.items() if asked in code.lower() or asked in each.name.lower()}
    if not found:
        hint = "values under other codes are kept as they are; docs/vocabulary.md says how to add one"
        raise InputError(
            "vocabulary", expected="a code or a name", got=f"none of {len(known):,} has {what!r}", hint=hint
        )
    exact = next((each for code, each in found.items() if asked in (code.lower(), code.lower().split("//")[-1])), None)
    if exact is not None or len(found) == 1:
        for line in _lines(exact or next(iter(found.values()))):
            say(line)
        return
    rows = [
        [code, each.name, each.unit, ", ".join(each.conversions) or "-", _range(each)] for code, each in found.items()
    ]
    table(f"{len(found):,} of {len(known):,} quantities", ["code", "name", "unit", "converted from", "plausible"], rows)


def _lines(quantity: "Quantity") -> list[str]:
    from ingest.meaning.units import PROPERTIES

    lines = [f"{quantity.code}: {quantity.name}", f"  kept in {quantity.unit}, plausible {_range(quantity)}"]
    if quantity.property:
        lines.append(f"  property {quantity.property} ({PROPERTIES[quantity.property][0]})")
    for unit, (factor, offset) in quantity.conversions.items():
        plus = f" {offset:+g}" if offset else ""
        lines.append(f"  from {unit}: times {factor:g}{plus}")
    return [*lines, f"  {quantity.source}"]


def _range(quantity: "Quantity") -> str:
    return "-" if quantity.plausible is None else f"{quantity.plausible[0]:g} to {quantity.plausible[1]:g}"
