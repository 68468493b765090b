"""`telltale ingest --dicomweb`, `--omop` and `--listen`: what is fetched from servers, or sent by them."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from serve.console import progress, say
from serve.exits import Refused

if TYPE_CHECKING:
    from ingest.account.reconciliation import Reconciliation
    from ingest.workspace import Workspace

ALLOWED = "TELLTALE_ALLOWED_AE"


def fetch(
    workspace: Path, secret: bytes | None, *, dicomweb: str | None, query: list[str], omop: str | None, omop_schema: str
) -> tuple[list[Path], int]:
    """Fetch images and tables into the workspace: the folders that now hold them, and how many could not be had."""
    from ingest.workspace import create_workspace

    opened = create_workspace(workspace, secret)
    found, refused = [], 0
    if dicomweb is not None:
        folder, refused = _fetch_images(opened, dicomweb, query)
        found.append(folder)
    if omop is not None:
        found.append(_fetch_tables(opened, omop, omop_schema))
    return found, refused


def receive(
    read: "Callable[[Sequence[Path]], Reconciliation]",
    workspace: Path,
    secret: bytes | None,
    *,
    port: int,
    host: str,
    ae_title: str,
) -> None:
    """Receive DICOM by C-STORE and read what came, until Ctrl-C or SIGTERM; then what came last is read too.

    TELLTALE_ALLOWED_AE: the titles that may call, by comma; without it anyone may. Raises Refused at the end where a
    record was refused.
    """
    from ingest.fetch.listener import Listening, listen
    from ingest.workspace import create_workspace

    opened = create_workspace(workspace, secret)
    callers = tuple(title.strip() for title in os.environ.get(ALLOWED, "").split(",") if title.strip())
    refused = 0

    def read_batch(files: Sequence[Path]) -> None:
        nonlocal refused
        say(f"received {len(files):,} {'instance' if len(files) == 1 else 'instances'}")
        refused += read(files).total.refused

    def started(real_port: int) -> None:
        who = ", ".join(callers) if callers else "anyone"
        say(f"listening as {ae_title} on {host}:{real_port} for {who}; Ctrl-C ends it")

    with _until_asked_to_stop() as stop:
        listen(opened.incoming, Listening(host, port, ae_title, callers), read_batch, stop, started=started)
    if refused:
        raise Refused


def _fetch_images(workspace: "Workspace", url: str, query: list[str]) -> tuple[Path, int]:
    from ingest.fetch.dicomweb import CREDENTIALS, fetch_images

    credentials = {name: os.environ[name] for name in CREDENTIALS if os.environ.get(name)}
    with progress("fetching") as bar:
        fetched = fetch_images(
            url, query, workspace.incoming, credentials=credentials,
            progress=lambda done, found, detail: bar(done, found, detail),
        )  # fmt: skip
    say(
        f"DICOMweb: found {fetched.found:,} = fetched {fetched.fetched:,} + there already {fetched.there:,} "
        f"+ refused {len(fetched.refused):,}"
    )
    for warning in fetched.warnings:
        say(f"  the server warns: {warning}")
    for complaint in fetched.refused[:10]:
        say(f"  refused: {complaint}")
    return fetched.folder, len(fetched.refused)


def _fetch_tables(workspace: "Workspace", url: str, schema: str) -> Path:
    from ingest.fetch.omop_database import copy_database

    with progress("copying") as bar:
        return copy_database(
            url, schema, workspace.incoming,
            progress=lambda done, tables, name: bar(tables, None, f"{name}: {done / 1e6:,.0f} MB"),
        )  # fmt: skip


@contextmanager
def _until_asked_to_stop() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, in place of ending the program."""
    stop = threading.Event()
    before = {each: signal.signal(each, lambda *_: stop.set()) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
