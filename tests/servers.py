"""Real servers for tests: Orthanc and PostgreSQL, on free loopback ports, in a folder of the test."""

import json
import os
import pwd
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ORTHANC_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc. `modalities`: where it can send to, as it was told when it started."""

    http: int
    dicom: int

    @property
    def dicomweb(self) -> str:
        return f"http://127.0.0.1:{self.http}/dicom-web"

    def ask(self, path: str, body: bytes | None = None) -> bytes:
        """A request to its own REST interface."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data=body)
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - loopback
            content: bytes = answer.read()
        return content

    def add(self, *files: Path) -> None:
        for file in files:
            self.ask("/instances", file.read_bytes())


@contextmanager
def orthanc(
    folder: Path, *, users: dict[str, str] | None = None, modalities: dict[str, tuple[str, int]] | None = None
) -> Iterator[Orthanc]:
    """modalities: name -> (title of the application entity, port on this machine)."""
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if program is None or not ORTHANC_PLUGIN.exists():
        pytest.skip("Orthanc with its DICOMweb plugin: not installed here")
    folder.mkdir(parents=True, exist_ok=True)
    running = Orthanc(free_port(), free_port())
    settings = {
        "Name": "test", "StorageDirectory": str(folder / "store"), "IndexDirectory": str(folder / "store"),
        "HttpPort": running.http, "DicomPort": running.dicom, "RemoteAccessAllowed": False,
        "AuthenticationEnabled": users is not None, "RegisteredUsers": users or {}, "DicomAet": "ORTHANC",
        "Plugins": [str(ORTHANC_PLUGIN)], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        "DicomModalities": {name: [title, "127.0.0.1", port] for name, (title, port) in (modalities or {}).items()},
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log, cwd=folder)
    try:
        _wait(process, lambda: _answers(running), folder / "log.txt")
        yield running
    finally:
        process.terminate()
        process.wait(timeout=30)


def _answers(running: Orthanc) -> bool:
    try:
        running.ask("/system")
    except urllib.error.HTTPError:
        return True  # it wants a password
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class Postgres:
    """A running PostgreSQL whose user `postgres` needs no password on this machine."""

    port: int

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"


@contextmanager
def postgres(folder: Path) -> Iterator[Postgres]:
    """initdb refuses to run as root: then it runs as the user postgres, in a folder which that user owns."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) if Path("/usr/lib/postgresql").is_dir() else []
    if not programs:
        pytest.skip("PostgreSQL: not installed here")
    binaries = programs[-1].parent
    account = None
    if os.getuid() == 0:
        try:
            account = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("PostgreSQL: runs as root here, and there is no user postgres")
    folder.mkdir(parents=True, exist_ok=True)
    if account is not None:
        os.chown(folder, account.pw_uid, account.pw_gid)
        for parent in folder.parents:  # so that the user can reach its own folder
            if parent.stat().st_uid == os.getuid() and parent != Path(parent.anchor):
                parent.chmod(parent.stat().st_mode | 0o111)
    as_owner = {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    data, running = folder / "data", Postgres(free_port())
    subprocess.run(
        [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "-N"],
        check=True, capture_output=True, cwd=folder, **as_owner,
    )  # fmt: skip
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [
                binaries / "postgres", "-D", data, "-p", str(running.port), "-h", "127.0.0.1", "-k", folder,
                "-c", "fsync=off",
            ],
            stdout=log, stderr=log, cwd=folder, **as_owner,
        )  # fmt: skip
    try:
        ready = [binaries / "pg_isready", "-h", "127.0.0.1", "-p", str(running.port)]
        _wait(
            process, lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0, folder / "log.txt"
        )
        yield running
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait(process: "subprocess.Popen[bytes]", answers: Callable[[], bool], log: Path, seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        if answers():
            return
        time.sleep(0.1)
    process.kill()
    raise AssertionError(f"the server did not start: {log.read_text(errors='replace')[-2000:]}")
