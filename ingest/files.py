"""Writing so that a reader never sees half a file: a temporary name, fsync, then rename."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is fsynced and takes `path`'s name, else it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def publish(temporary: Path, path: Path) -> None:
    """Give a finished file its final name: flushed to disk first, so that nobody ever sees half of it."""
    _fsync(temporary)
    temporary.chmod(0o644)
    temporary.replace(path)
    _fsync(path.parent)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on success it takes `path`'s place, else it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name[:40]}."))
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _fsync(file)
        temporary.chmod(0o755)
        old = _set_aside(path)
        while True:
            if path.exists():
                shutil.rmtree(old, ignore_errors=True)
                path.rename(old)
            try:
                temporary.rename(path)
                break
            except OSError:
                if not path.exists():
                    raise  # else: a reader has put the old one back meanwhile (`restore_folder`)
        _fsync(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def restore_folder(path: Path) -> None:
    """Put back what `replacing_folder` had set aside when it was killed between its two renames."""
    old = _set_aside(path)
    if not path.exists() and old.is_dir():
        try:
            old.rename(path)
        except OSError:
            if not path.exists():  # else: its writer lives, and was quicker
                raise


def _set_aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def write_text(path: Path, text: str) -> None:
    """Replace a text file as a whole."""
    with replacing_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Replace a JSON file as a whole. NaN is not JSON: it raises ValueError."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, default=str) + "\n")


def write_parquet(path: Path, table: pa.Table) -> None:
    """Replace a Parquet file as a whole."""
    import pyarrow.parquet as pq

    with replacing_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
