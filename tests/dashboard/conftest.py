"""Fixtures for the pages: a built workspace, and the app run on it without a browser."""

import importlib.util
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from ingest.workspace import Workspace, open_workspace

HERE = Path(__file__).parent
APP = HERE.parents[1] / "dashboard" / "app.py"
RunApp = Callable[..., AppTest]


def _load(path: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location(f"tests_{path.stem}", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def built() -> ModuleType:
    """The builder of workspaces, `built_workspace.py`."""
    return _load(HERE / "built_workspace.py")


@pytest.fixture(scope="session")
def _shared(built: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    write_cohort = _load(HERE.parent / "synthetic.py").write_cohort
    workspace: Workspace = built.build_workspace(tmp_path_factory.mktemp("pages") / "workspace", write_cohort)
    return workspace


@pytest.fixture
def workspace(_shared: Workspace, tmp_path: Path) -> Workspace:
    """A workspace of its own for a test, with 120 scored cases of which 40 are explained."""
    return open_workspace(Path(shutil.copytree(_shared.root, tmp_path / "workspace")))


@pytest.fixture
def run_app(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunApp]:
    """`run_app(workspace_root, page=None, case=None)`: the app as it is after its first run."""

    def run(root: Path, page: str | None = None, case: str | None = None, *more: str) -> AppTest:
        monkeypatch.setattr(sys, "argv", [str(APP), "--workspace", str(root), *more])
        app = AppTest.from_file(str(APP), default_timeout=30)
        if case is not None:
            app.query_params["case"] = case
        app.run()
        if page is not None:
            app.switch_page(f"views/{page}.py").run()
        return app

    yield run
    st.cache_resource.clear()
