"""What the tests of fetching share: real servers, and a small OMOP CDM."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


def _of_tests(name: str) -> ModuleType:
    """A module at the root of the tests (their import mode is importlib)."""
    path = Path(__file__).parents[2] / f"{name}.py"
    specification = importlib.util.spec_from_file_location(f"tests_{name}", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def servers() -> ModuleType:
    return _of_tests("servers")


@pytest.fixture(scope="session")
def cdm() -> ModuleType:
    return _of_tests("omop_cdm")
