"""The pytest plugin: ``pytest_plugins = ["librats.testing.plugin"]`` in a ``conftest.py`` makes its fixture known.

``sim_network`` is a fresh :class:`~librats.testing.SimNetwork` for a test. ``@pytest.mark.sim_network(delay=0.1)`` sets
its parameters, ``--sim-seed 7`` the seed of those that name none. ``--sim-seeds 20`` runs each of these tests with 20
seeds, and ``sim_network(seeds=20)`` one of them. ``--sim-trace DIR`` keeps what the tests that fail have sent. A test
that leaves tasks or sockets behind fails.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from librats.testing.network import SimNetwork

__all__ = ["sim_network"]

NETWORK = pytest.StashKey[SimNetwork]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("librats")
    group.addoption("--sim-seed", type=int, default=0, metavar="N", help="seed of simulated networks (default: 0)")
    group.addoption("--sim-seeds", type=int, default=1, metavar="N", help="run simulations with N seeds from there on")
    group.addoption("--sim-trace", type=Path, metavar="DIR", help="keep there which packets failing simulations sent")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "sim_network(**parameters): parameters of the fixture sim_network")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test once for each seed where there are to be several."""
    if "sim_network" not in metafunc.fixturenames:
        return
    parameters = _marked(metafunc.definition)
    seeds = parameters.get("seeds", metafunc.config.getoption("--sim-seeds"))
    if seeds > 1 and "seed" not in parameters:
        first = metafunc.config.getoption("--sim-seed")
        numbers = range(first, first + seeds)
        metafunc.parametrize("sim_network", numbers, indirect=True, ids=[f"seed{number}" for number in numbers])


def _marked(node: Any) -> dict[str, Any]:
    marker = node.get_closest_marker("sim_network")
    return dict(marker.kwargs) if marker is not None else {}


@pytest.fixture
def sim_network(request: pytest.FixtureRequest) -> Iterator[SimNetwork]:
    """Return a simulated network; a test that leaves tasks or sockets behind in it fails."""
    parameters = _marked(request.node)
    parameters.pop("seeds", None)
    seed = getattr(request, "param", request.config.getoption("--sim-seed"))
    traces = request.config.getoption("--sim-trace") is not None
    with SimNetwork(**({"seed": seed, "trace": traces} | parameters)) as net:
        request.node.stash[NETWORK] = net
        yield net
        left = net.left_behind()
    assert left == [], f"the test left behind: {', '.join(left)}"  # noqa: S101 - this is a test tool


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Keep the trace of a test that has failed, and tell where it is."""
    report: Any = yield
    folder: Path | None = item.config.getoption("--sim-trace")
    net = item.stash.get(NETWORK, None)
    if folder is not None and net is not None and report.when == "call" and report.failed:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{re.sub(r'[^0-9A-Za-z.-]+', '-', item.nodeid)}.txt"
        file.write_text(str(net.trace), encoding="utf-8")
        report.sections.append(("simulated packets", f"{len(net.trace.events)} lines in {file}"))
    return report
