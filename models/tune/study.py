"""Where the trials of a search are kept: an Optuna study in SQLite, for one process at a time."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.errors import ModelError, TaskError

if TYPE_CHECKING:
    from optuna.study import Study

TRIALS_TO_COMPARE = 4  # with fewer, no trial is given up
WARMUP_EPOCHS = 3  # of a fusion, in which none is


@contextmanager
def opened_study(folder: Path, name: str) -> Iterator["Study"]:
    """The study of that name in `folder/study.db`, made where there is none. Lower is better.

    A trial whose loss is above the median of the others' at the same epoch is to be given up. SQLite rather than
    Optuna's journal, which cannot be read any more once a kill has cut its last line. Raises ModelError where another
    process has it open or it cannot be read or written.
    """
    try:
        import optuna
        import sqlalchemy
    except ImportError:
        raise TaskError("tuning needs the extra: pip install 'telltale[tune]'") from None
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        optuna.logging.set_verbosity(optuna.logging.ERROR)  # its own lines on every trial
        path = folder / "study.db"
        url = sqlalchemy.URL.create("sqlite", database=str(path)).render_as_string()
        try:
            storage = optuna.storages.RDBStorage(url)
            try:
                yield optuna.create_study(
                    storage=storage,
                    study_name=name,
                    direction="minimize",
                    load_if_exists=True,
                    pruner=optuna.pruners.MedianPruner(TRIALS_TO_COMPARE, WARMUP_EPOCHS + 1),
                )
            finally:
                storage.remove_session()
                storage.engine.dispose()
        except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            said = " ".join(str(getattr(error, "orig", None) or error.__cause__ or error).split())
            raise ModelError(f"{path}: expected a study, got {said}; make room, or remove it to tune anew") from None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The system lets go of the lock however the process ends."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ModelError(f"{folder}: another process tunes here; wait for it, or stop it") from None
        yield
