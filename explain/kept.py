"""Explanations kept as files, one per case. What does not add up is not written, only that it did not.

One whose case has changed since is not lost when another takes its place: `superseded/` keeps it.
"""

import datetime as dt
import json
from pathlib import Path
from urllib.parse import quote

from explain.explanation import Explanation
from ingest.errors import TelltaleError
from ingest.files import write_json


def write_explanation(folder: Path, explanation: Explanation) -> Path:
    """Write `<folder>/<case_id>.json`, replacing what was there, and return its path.

    The attributions of an explanation that is withheld stay out of the file; its error is told. One that was there
    of other inputs is moved to `<folder>/superseded/<case_id>-<time>.json`.
    """
    path = explanation_path(folder, explanation.case_id)
    if (old := _there(path)) is not None and _of_other_inputs(old, explanation):
        kept = folder / "superseded" / f"{path.stem}-{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S%f}.json"
        kept.parent.mkdir(exist_ok=True)
        path.rename(kept)
    write_json(path, (explanation.without_attributions() if explanation.withheld else explanation).to_json())
    return path


def says_less(folder: Path, explanation: Explanation) -> bool:
    """Whether what is kept of the same inputs says more: it also explains what is inside the streams."""
    old = _there(explanation_path(folder, explanation.case_id))
    return (
        old is not None and bool(old.elements) > bool(explanation.elements) and not _of_other_inputs(old, explanation)
    )


def _of_other_inputs(old: Explanation, new: Explanation) -> bool:
    return None not in (old.inputs, new.inputs) and old.inputs != new.inputs


def _there(path: Path) -> Explanation | None:
    try:
        return read_explanation(path)
    except TelltaleError:
        return None


def read_explanation(path: Path) -> Explanation:
    """Read one file. Raises TelltaleError where it is missing or holds something else."""
    try:
        return Explanation.from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        hint = "`telltale explain` writes one for every case"
        raise TelltaleError(f"{path}: expected an explanation, got {error.strerror}; {hint}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise TelltaleError(f"{path}: expected an explanation, got something else ({error!r})") from None


def explanation_path(folder: Path, case_id: str) -> Path:
    """Where a case's explanation is kept. Signs that could lead out of the folder are written as %XX."""
    name = quote(case_id, safe=" +=@,")
    return folder / f"{'%2E' + name[1:] if name.startswith('.') else name}.json"
