"""What the tests of fetching share: real servers, and a small OMOP CDM."""

from collections.abc import Callable
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def servers(module_of_tests: Callable[[str], ModuleType]) -> ModuleType:
    return module_of_tests("servers")


@pytest.fixture(scope="session")
def cdm(module_of_tests: Callable[[str], ModuleType]) -> ModuleType:
    return module_of_tests("omop_cdm")
