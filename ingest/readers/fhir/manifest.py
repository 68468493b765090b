"""Bulk-export manifests: what an export says that it consists of, compared with what was delivered."""

import re
from collections.abc import Iterable, Sequence
from urllib.parse import unquote, urlsplit

import orjson

from ingest.account.quarantine import Refusal
from ingest.delivery.sources import SourceFile
from ingest.intake import ALREADY, Intake
from ingest.readers.fhir.files import document, raw_text
from ingest.readers.fhir.settle import FORMAT, FileState
from ingest.readers.fhir.values import Node, number, word

_PLAIN_NAME = re.compile(r"[a-z]{3,40}(?:[._-]\d{1,5}){0,2}(?:\.ndjson)?(?:\.gz)?")


def is_manifest(head: str) -> bool:
    """Whether a file is the answer of a finished $export: it names its output, and is no resource."""
    return '"transactionTime"' in head and '"output"' in head and '"resourceType"' not in head


def check_manifests(manifests: Sequence[SourceFile], states: Iterable[FileState], intake: Intake) -> None:
    """Account for every file that a manifest names: it has to be in the delivery, with as many records as it says.

    Nothing is fetched: a file is looked for by the last part of its URL.
    """
    delivered: dict[str, FileState] = {}
    for state in states:
        delivered.setdefault(state.file.path.name.lower(), state)
    for manifest in manifests:
        _check(manifest, delivered, intake)


def _check(manifest: SourceFile, delivered: dict[str, FileState], intake: Intake) -> None:
    report = intake.report
    known = intake.ledger.file(manifest.sha256)
    only = None if known is None else known.refused
    raw, problem = document(manifest)
    entries = list(_entries(raw)) if type(raw) is dict else []
    refused = set()
    if not entries:
        report.see(FORMAT)
        refusal = Refusal("output", "a list of files", problem or "none that can be read")
        report.refuse(FORMAT, refusal.complaint(manifest.name, "manifest"), raw_text(raw))
        refused.add("manifest")
    for label, entry in entries:
        report.see(FORMAT)
        if only is not None and label not in only:
            report.skip(FORMAT, ALREADY)
            continue
        try:
            _check_file(entry, delivered)
        except Refusal as refusal:
            report.refuse(FORMAT, refusal.complaint(manifest.name, label), orjson.dumps(entry).decode())
            refused.add(label)
        else:
            report.use(FORMAT)
    intake.ledger.enter_file(manifest.sha256, FORMAT, len(entries), frozenset(refused))
    intake.advance(manifest, manifest.path.stat().st_size)


def _entries(manifest: Node) -> Iterable[tuple[str, Node]]:
    """(label, entry) of all files that a manifest names: what it exports, what was deleted, what went wrong."""
    for kind in ("output", "deleted", "error"):
        listed = manifest.get(kind)
        for number_of, entry in enumerate(listed if type(listed) is list else [], 1):
            yield f"{kind} {number_of}", entry if type(entry) is dict else {}


def _check_file(entry: Node, delivered: dict[str, FileState]) -> None:
    url = word(entry, "url")
    try:
        name = unquote(urlsplit(url).path.rstrip("/").rsplit("/", 1)[-1]).lower()
    except ValueError:
        name = ""
    candidates = (name, f"{name}.ndjson", f"{name}.gz", f"{name}.ndjson.gz", f"{name}.json")
    state = next((delivered[each] for each in candidates if name and each in delivered), None)
    if state is None:
        raise Refusal("url", "a file of the delivery", _shown(name), "deliver it too: nothing is fetched")
    count = number(entry, "count")
    if count is not None and state.known is None and count != state.lines:
        raise Refusal(
            "count", f"{count:,.0f} resources", f"{state.lines:,}", "the file may be cut short: export it again"
        )


def _shown(name: str) -> str:
    """A missing file's name if it is the type and number that exports use, and so nobody's."""
    return f"{name}, which is not there" if _PLAIN_NAME.fullmatch(name) else "one that is not there"
