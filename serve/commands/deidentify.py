"""`telltale deidentify`: a delivery written anew without who it is of."""

import os
import secrets
from pathlib import Path
from typing import Annotated

import typer

from serve.exits import Refused
from serve.options import find_mapping


def deidentify(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A file, folder or archive.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder, or that of an earlier run.")],
    key: Annotated[
        Path | None, typer.Option(help="A secret file: the same secret gives the same pseudonyms. Default: OUT-key.")
    ] = None,
    issuer: Annotated[str, typer.Option(help="Who issued identifiers whose issuer no file states.")] = "local",
    timezone: Annotated[str | None, typer.Option(help="The zone of table times that state none.")] = None,
    mapping: Annotated[str | None, typer.Option(help="For tables, notes: a mapping file or a built-in.")] = None,
    held: Annotated[Path | None, typer.Option(help="Where what may show text is held. Default: OUT-held.")] = None,
    reviewed: Annotated[Path | None, typer.Option(help="What was decided on held files, a line each.")] = None,
) -> None:
    """Write IN to OUT without who it is of. Exit code 2: something was refused, or is held for review."""
    from ingest.errors import InputError
    from ingest.privacy.keys import Keys
    from ingest.privacy.run import deidentify as write_anew
    from serve.console import say

    if not source.exists():
        raise InputError(str(source), expected="a file or a folder", got="nothing of that name")
    keys = Keys.of_secret(_secret(out, key))
    kept_aside = held or out.with_name(f"{out.name}-held")
    report = write_anew(
        source, out, keys, issuer=issuer, timezone=timezone, mapping=find_mapping(mapping), held=held, reviewed=reviewed
    )
    for line in report.lines():
        say(line)
    if report.count("held") or report.count("refused"):
        say(f"  which ones is in {kept_aside}: keep that folder to yourself")
    if report.count("held"):
        say("  look at each, then: --reviewed FILE with lines `<sha256> accept` or `<sha256> mask x0 y0 x1 y1`")
    if key is None:
        say(f"the key is {_own_key(out)}: who has it can tell who is who; keep it apart from OUT")
    if report.count("held") or report.count("refused"):
        raise Refused


def _secret(out: Path, key: Path | None) -> bytes:
    """The secret given; else that of an earlier run beside OUT; else a new one, which only its owner may read."""
    from ingest.errors import InputError

    place = key or _own_key(out)
    if key is None and not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(32))
            file.flush()
            os.fsync(file.fileno())
    if not place.is_file() or not place.stat().st_size:
        raise InputError(str(place), field="--key", expected="a file with a secret", got="none, or an empty one")
    return place.read_bytes()


def _own_key(out: Path) -> Path:
    return out.with_name(f"{out.name}-key")
