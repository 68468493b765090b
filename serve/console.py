"""What the commands print: lines, tables and progress, the same everywhere."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

Report = Callable[..., None]


def say(text: str = "") -> None:
    """A line on standard output."""
    print(text, flush=True)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A small table; all columns but the first are aligned to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        # Names are never cut; numbers go onto a second line where the terminal is narrow.
        shown.add_column(column, justify="left" if i == 0 else "right", no_wrap=i == 0, overflow="fold")
    for row in rows:
        shown.add_row(*(str(cell) for cell in row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 140
    console.print(shown)


@contextmanager
def progress(text: str) -> Iterator[Callable[[int, int | None, str], None]]:
    """A progress bar for the length of a `with` block: call what it yields with (done, total, detail).

    On a terminal only; elsewhere nothing is drawn, so that logs stay readable.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}"),
    )  # fmt: skip
    with _bar(text, columns) as update:
        yield update


@contextmanager
def bytes_progress(text: str) -> Iterator[Callable[[int, int | None, str], None]]:
    """The same for work that is counted in bytes: done of all, the rate, and the time left."""
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}"),
    )  # fmt: skip
    with _bar(text, columns) as update:
        yield update


@contextmanager
def _bar(text: str, columns: "Sequence[ProgressColumn]") -> Iterator[Callable[[int, int | None, str], None]]:
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        item = bar.add_task(text, total=None, detail="")

        def update(done: int, total: int | None = None, detail: str = "") -> None:
            bar.update(item, completed=done, total=total, detail=detail)

        yield update
