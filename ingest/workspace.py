"""A workspace: the one folder in which everything of a project is kept. No server.

observations/          the observation table, one Parquet part per ingested delivery
identities/            restricted (0700): the pseudonym key, and who is who
quarantine/            restricted (0700): every refused record, with what was wrong with it
ingests/               the account of every ingest, its summary as a page, and the ledger of what was read
images/                what is known of every image and recording, one Parquet part per ingested delivery
incoming/              what was fetched from servers or received, as files, before it is read
unpacked/              the members of archives
cohorts/<task>/        aligned cohorts
models/<task>/<v>/     model versions; beside them .runs/ (in progress), .alone/ (single streams), .validation/ (folds),
                       .pretrained/, .tuning/, .drafts/ (decoders of reports, by version)
external/<name>/       another hospital's data that a model was taken to: a workspace of its own
scores/<task>/         scored cohorts
drafts/<task>/         drafted reports, by model version
explanations/<task>/   attributions by model version and case
reports/<task>/        evaluations as JSON and HTML
app.db                 SQLite: reviews and aliases such as champion
"""

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ingest.errors import TelltaleError

FORMAT = "telltale-workspace-1"


@dataclass(frozen=True)
class Workspace:
    """Where things are kept. Built by `open_workspace` or `create_workspace`."""

    root: Path

    @property
    def observations(self) -> Path:
        return self.root / "observations"

    @property
    def identities(self) -> Path:
        return self.root / "identities"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    @property
    def ingests(self) -> Path:
        return self.root / "ingests"

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def incoming(self) -> Path:
        return self.root / "incoming"

    @property
    def unpacked(self) -> Path:
        return self.root / "unpacked"

    @property
    def database(self) -> Path:
        return self.root / "app.db"

    def cohort(self, task: str) -> Path:
        return self.root / "cohorts" / task

    def models(self, task: str) -> Path:
        return self.root / "models" / task

    def scores(self, task: str) -> Path:
        return self.root / "scores" / task

    def drafts(self, task: str) -> Path:
        return self.root / "drafts" / task

    def explanations(self, task: str, version: str) -> Path:
        return self.root / "explanations" / task / version

    def reports(self, task: str) -> Path:
        return self.root / "reports" / task

    def tasks(self) -> list[str]:
        """The tasks that have an aligned cohort here."""
        cohorts = self.root / "cohorts"
        return sorted(p.name for p in cohorts.iterdir() if (p / "task.json").is_file()) if cohorts.is_dir() else []


@contextmanager
def alone(workspace: Workspace) -> Iterator[None]:
    """Hold the lock of ingests and merges; another waits. The system lets go of it however the process ends."""
    workspace.ingests.mkdir(exist_ok=True)
    with (workspace.ingests / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def create_workspace(root: Path, secret: bytes | None = None) -> Workspace:
    """Open a workspace, making it where there is none. Refuses a folder that holds something else.

    secret: what the pseudonym key is made from, so that workspaces of one secret give the same subject the same
    number (and so the same split); without one the key is random. Raises TelltaleError where the workspace has another.
    """
    marker = root / "telltale.txt"
    if not marker.is_file():
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            raise TelltaleError(f"{root}: expected a workspace or an empty place, found something else")
        root.mkdir(parents=True, exist_ok=True)
        for restricted in ("identities", "quarantine"):
            (root / restricted).mkdir(exist_ok=True, mode=0o700)
        (root / "observations").mkdir(exist_ok=True)
        marker.write_text(FORMAT + "\n", encoding="utf-8")
    workspace = open_workspace(root)
    if secret is not None:
        _set_key(workspace.identities / "key", hashlib.sha256(secret).digest())
    return workspace


def _set_key(path: Path, key: bytes) -> None:
    if not path.exists():
        path.touch(mode=0o600)
        path.write_bytes(key)
    elif path.read_bytes() != key:
        raise TelltaleError(
            f"{path}: this workspace has another pseudonym key; leave the key out, or name another place"
        )


def open_workspace(root: Path) -> Workspace:
    """Open an existing workspace. Raises TelltaleError where there is none."""
    marker = root / "telltale.txt"
    if not marker.is_file():
        raise TelltaleError(f"{root}: expected a workspace, found none; `telltale ingest` makes one")
    if (found := marker.read_text(encoding="utf-8").strip()) != FORMAT:
        raise TelltaleError(f"{root}: expected format {FORMAT}, found {found!r}; use the version that wrote it")
    return Workspace(root)
