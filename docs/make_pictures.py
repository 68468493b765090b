"""The README's pictures: the dashboard on the demo workspace, in a real Chromium.

    python docs/make_pictures.py demo/workspace

Needs Chromium on the PATH and the `dev` extra. Writes docs/pictures/{worklist,case,model}.png, each below 300 kB.
"""

import argparse
import io
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from PIL import Image

ROOT = Path(__file__).parents[1]
PICTURES = Path(__file__).parent / "pictures"
LARGEST_BYTES = 300_000
WIDTH = 1366
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


def main() -> None:
    """Take the three pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workspace", type=Path)
    workspace = parser.parse_args().workspace
    from playwright.sync_api import sync_playwright

    PICTURES.mkdir(exist_ok=True)
    pages = {"worklist": ("", 860), "case": (f"case?case={_telling_case(workspace)}", 1420), "model": ("model", 1180)}
    with _dashboard(workspace) as address, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for name, (path, height) in pages.items():
            tab = chromium.new_page(viewport={"width": WIDTH, "height": height}, color_scheme="light")
            tab.goto(f"{address}/{path}")
            tab.get_by_text("What moves this risk" if name == "case" else name.capitalize(), exact=True).last.wait_for()
            tab.wait_for_timeout(6000)
            _save(tab.screenshot(), PICTURES / f"{name}.png")
            tab.close()
        chromium.close()


def _telling_case(workspace: Path) -> str:
    """An explained test case that has every source, with a risk that is neither low nor certain."""
    scores = pd.read_parquet(sorted((workspace / "scores").glob("*/*.parquet"))[-1])
    explained = {path.stem for path in (workspace / "explanations").glob("*/*/*.json")}
    whole = scores[[column for column in scores if column.startswith("has_")]].all(axis=1)
    chosen = scores[whole & scores["case_id"].isin(explained)]
    unseen = chosen[chosen["split"] == "test"]
    chosen = chosen if unseen.empty else unseen
    return str(chosen.loc[(chosen["risk"] - 0.65).abs().idxmin(), "case_id"])


def _save(png: bytes, path: Path) -> None:
    """Keep the picture, a little smaller each time until it fits."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    width = picture.width
    while len(png) > LARGEST_BYTES:
        width = round(0.95 * width)
        size = (width, round(picture.height * width / picture.width))
        smaller = io.BytesIO()
        picture.resize(size, Image.Resampling.LANCZOS).save(smaller, "PNG", optimize=True)
        png = smaller.getvalue()
    path.write_bytes(png)


@contextmanager
def _dashboard(workspace: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "streamlit", "run", str(ROOT / "dashboard" / "app.py"), "--server.headless", "true",
        "--server.port", str(port), "--server.address", "127.0.0.1", "--", "--workspace", str(workspace.resolve()),
    ]  # fmt: skip
    server = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)})  # noqa: S603  # our own command
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{address}/_stcore/health").close()  # noqa: S310  # our own server
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        yield address
    finally:
        server.terminate()
        server.wait(20)


if __name__ == "__main__":
    main()
