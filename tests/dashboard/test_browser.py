"""The dashboard as a person has it: a real server and a real Chromium."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

from ingest.workspace import Workspace
from serve.reviews import reviews

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium on the PATH"),
]
ROOT = Path(__file__).parents[2]
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, workspace: Workspace, tmp_path: Path) -> Iterator[Any]:
    """A tab on a server of its own; `page.base` is its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "streamlit", "run", str(ROOT / "dashboard" / "app.py"), "--server.headless", "true",
        "--server.port", str(port), "--server.address", "127.0.0.1", "--", "--workspace", str(workspace.root),
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    log = (tmp_path / "server.log").open("w")
    server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        _wait(port, server)
        context = browser.new_context(viewport={"width": 1366, "height": 900})
        context.set_default_timeout(60_000)
        tab = context.new_page()
        tab.base = f"http://127.0.0.1:{port}"
        yield tab
        context.close()
    finally:
        server.terminate()
        server.wait(20)
        log.close()


def _wait(port: int, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(300):
        assert server.poll() is None, "the server ended"
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health").close()  # our own server
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise TimeoutError("the dashboard did not answer within a minute")


def _scores(workspace: Workspace) -> pd.DataFrame:
    path = next((workspace.root / "scores").glob("*/*.parquet"))
    return pd.read_parquet(path).sort_values("risk", ascending=False, ignore_index=True)


def test_a_hostile_note_makes_no_element_and_runs_nothing(page: Any, workspace: Workspace, built: ModuleType) -> None:
    scores = _scores(workspace)
    case = scores.loc[scores["has_notes"], "case_id"].iloc[0]
    built.change_note(workspace, case, built.HOSTILE)
    page.goto(f"{page.base}/case?case={case}")
    note = page.locator(".tt-note")
    note.wait_for()
    assert note.inner_text() == built.HOSTILE
    assert note.locator("img, script").count() == 0
    assert page.locator("img[onerror], img[src='x']").count() == 0
    page.wait_for_timeout(1000)
    assert page.title() != "hacked"


def test_a_click_in_the_worklist_opens_the_case(page: Any, workspace: Workspace) -> None:
    page.goto(page.base)
    table = page.get_by_test_id("stDataFrame")
    table.wait_for()
    page.wait_for_timeout(1500)
    table.click(position={"x": 480, "y": 54})
    page.get_by_text("What moves this risk").wait_for()
    assert f"case={_scores(workspace)['case_id'][0]}" in page.url


def test_a_reviewer_overrides_a_case(page: Any, workspace: Workspace, built: ModuleType) -> None:
    case = _scores(workspace)["case_id"][1]
    page.goto(f"{page.base}/case?case={case}")
    page.get_by_role("textbox", name="Your name").fill("Dr. Reader")
    page.get_by_role("textbox", name="Your name").press("Enter")
    page.get_by_role("radio", name="Override").click()
    page.get_by_role("textbox", name="Comment").fill("improved since")
    page.get_by_role("textbox", name="Comment").press("Control+Enter")
    page.get_by_role("button", name="Save review").click()
    page.get_by_text("Review saved.").wait_for()
    kept = reviews(workspace.database, built.TASK, case)
    assert [(r.reviewer, r.verdict, r.comment) for r in kept] == [("Dr. Reader", "override", "improved since")]
