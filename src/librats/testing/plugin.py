"""The pytest plugin: ``pytest_plugins = ["librats.testing.plugin"]`` in a ``conftest.py`` makes its fixture known.

``sim_network`` is a fresh :class:`~librats.testing.SimNetwork` for a test. ``@pytest.mark.sim_network(delay=0.1)`` sets
its parameters, ``--sim-seed 7`` the seed of those that name none. A test that leaves tasks or sockets behind fails.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from librats.testing.network import SimNetwork

__all__ = ["sim_network"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option for the seed."""
    group = parser.getgroup("librats")
    group.addoption("--sim-seed", type=int, default=0, metavar="N", help="seed of simulated networks (default: 0)")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "sim_network(**parameters): parameters of the fixture sim_network")


@pytest.fixture
def sim_network(request: pytest.FixtureRequest) -> Iterator[SimNetwork]:
    """Return a simulated network; a test that leaves tasks or sockets behind in it fails."""
    marker = request.node.get_closest_marker("sim_network")
    parameters = {"seed": request.config.getoption("--sim-seed"), **(marker.kwargs if marker is not None else {})}
    with SimNetwork(**parameters) as net:
        yield net
        left = net.left_behind()
    assert left == [], f"the test left behind: {', '.join(left)}"  # noqa: S101 - this is a test tool
