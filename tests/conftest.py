"""Fixtures for every test: a small aligned cohort."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import settings

from ingest.cohort import Cohort, open_cohort

# A test that fails tells of the change that was made, not of the day: `make search` looks for what no example hit yet.
settings.register_profile("same examples", derandomize=True, deadline=None)
settings.register_profile("search", derandomize=False, print_blob=True)
settings.load_profile("same examples")


def _beside(name: str) -> ModuleType:
    """A module of this folder, which is no package (the tests' import mode is importlib)."""
    specification = importlib.util.spec_from_file_location(f"tests_{name}", Path(__file__).with_name(f"{name}.py"))
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def module_of_tests() -> Callable[[str], ModuleType]:
    """`module_of_tests("servers")` is tests/servers.py."""
    return _beside


@pytest.fixture(scope="session")
def synthetic_cohort(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Cohort]:
    """A factory: `synthetic_cohort(n=240, seed=0, **options of synthetic.write_cohort)` gives an opened cohort.

    The same arguments give the same folder within a run, so a test that changes files must copy it first.
    """
    write_cohort = _beside("synthetic").write_cohort
    made: dict[str, Path] = {}

    def make(n: int = 240, seed: int = 0, **options: Any) -> Cohort:
        key = repr((n, seed, sorted(options.items())))
        if key not in made:
            made[key] = write_cohort(tmp_path_factory.mktemp("cohort"), n, seed, **options)
        return open_cohort(made[key])

    return make
