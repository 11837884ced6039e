"""What every test may use: the conformance data under ``vectors/``.

``@pytest.mark.vectors("area/set", …)`` runs a test once for every case of those sets, in its argument
``case``; the fixture ``load_vectors`` reads a whole set.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import hypothesis
import pytest

VECTORS = Path(__file__).parent / "vectors"

# A shared machine may stop for longer than any deadline; what takes too long is caught by pytest's timeout.
hypothesis.settings.register_profile("librats", deadline=None)
hypothesis.settings.load_profile("librats")


# No test asks the gateway of the network that it runs in for anything, and neither does a process that it starts.
os.environ["LIBRATS_PORT_MAPPING"] = "0"
# None tells others there of its torrents, nor listens to what they have.
os.environ["LIBRATS_LSD"] = "0"


@cache
def read_set(name: str) -> dict[str, Any]:
    vector_set: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    cases = vector_set["cases"]
    assert len(cases) == vector_set.get("count", len(cases)) > 0, f"{name} is not complete"
    return vector_set


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "vectors(*sets): run once for every case of these conformance sets")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for marker in metafunc.definition.iter_markers("vectors"):
        cases = [
            pytest.param(case, id=case.get("id", f"{name}-{index}"))
            for name in marker.args
            for index, case in enumerate(read_set(name)["cases"])
        ]
        metafunc.parametrize("case", cases)


@pytest.fixture(scope="session")
def load_vectors() -> Callable[[str], list[dict[str, Any]]]:
    """Return a function that gives the cases of a set, named as ``area/set``."""
    return lambda name: read_set(name)["cases"]
