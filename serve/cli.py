"""The `telltale` command. Each command imports what it needs when it runs, so that `--help` is quick.

Exit codes: 0 all well; 1 a failure, told in one line; 2 done, but some records were refused.
"""

import errno
import os
import sys

import typer

from serve.commands import (
    align,
    audit,
    dashboard,
    deidentify,
    demo,
    draft,
    evaluate,
    explain,
    export_meds,
    ingest,
    models,
    pretrain,
    retrain,
    score,
    stale,
    subjects,
    tasks,
    trace,
    train,
    tune,
    validate,
    vocabulary,
)
from serve.exits import Refused

INTERRUPTED = 130  # what Typer makes of Ctrl-C

app = typer.Typer(
    name="telltale",
    help="Multimodal decision support: every sign of a case read together, one explained risk.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(demo.app, name="demo")
app.command("ingest")(ingest.ingest)
app.command("tasks")(tasks.tasks)
app.command("vocabulary")(vocabulary.vocabulary)
app.command("align")(align.align)
app.command("audit")(audit.audit)
app.command("pretrain")(pretrain.pretrain)
app.command("tune")(tune.tune)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("validate")(validate.validate)
app.command("score")(score.score)
app.command("draft")(draft.draft)
app.command("explain")(explain.explain)
app.command("trace")(trace.trace)
app.command("stale")(stale.stale)
app.add_typer(subjects.app, name="subjects")
app.command("export-meds")(export_meds.export_meds)
app.command("deidentify")(deidentify.deidentify)
app.command("dashboard")(dashboard.dashboard)
app.command("retrain")(retrain.retrain)
app.add_typer(models.app, name="models")


def main() -> None:
    """Run the command line; turn every outcome into a line and an exit code."""
    from ingest.errors import TelltaleError

    try:
        app()
    except SystemExit as stop:
        # The parser's own "usage" exit is 2, which here means that records were refused.
        if stop.code == INTERRUPTED:
            fail("stopped; what was finished is kept, run the same command to go on", code=INTERRUPTED)
        raise SystemExit(1 if stop.code == 2 else stop.code) from None
    except Refused:
        raise SystemExit(2) from None
    except TelltaleError as error:
        fail(str(error))
    except OSError as error:
        if _is_full(error):
            where = f" for {error.filename}" if error.filename else ""
            fail(f"no room is left on the disk{where}; nothing half-written is kept: make room, run the same again")
        fail(f"{error.filename or 'input or output'}: {error.strerror or type(error).__name__}")
    except Exception as error:  # the outermost boundary: no traceback, which could show a patient
        if os.environ.get("TELLTALE_DEBUG"):
            raise
        fail(f"unexpected {type(error).__name__}: a defect of Telltale; TELLTALE_DEBUG=1 shows where")


def _is_full(error: OSError) -> bool:
    """Whether a disk, a quota or a limit on files is exhausted; Arrow says so in words only."""
    numbers = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return error.errno in numbers or any(f"[errno {number}]" in str(error) for number in numbers)


def fail(message: str, code: int = 1) -> None:
    """Say what went wrong in one line on standard error, and stop."""
    if not os.environ.get("TELLTALE_DEBUG"):
        sys.unraisablehook = lambda _: None  # a writer that cannot be closed, either: one line is enough
    print("telltale: " + " ".join(message.split()), file=sys.stderr)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
