"""A simulated network for tests: hosts, routers, links and a clock in one process; one seed gives one run."""

from __future__ import annotations

from librats.testing.behaviors import RouterBehavior, Unsolicited
from librats.testing.hosts import SimHost
from librats.testing.interfaces import SimInterface
from librats.testing.links import BurstLoss, LinkConditions
from librats.testing.network import SimNetwork
from librats.testing.relays import SimRelay
from librats.testing.routers import SimRouter
from librats.testing.trace import Trace, TraceEvent
from librats.testing.waiting_tasks import DeadlockError

__all__ = [
    "BurstLoss",
    "DeadlockError",
    "LinkConditions",
    "RouterBehavior",
    "SimHost",
    "SimInterface",
    "SimNetwork",
    "SimRelay",
    "SimRouter",
    "Trace",
    "TraceEvent",
    "Unsolicited",
]
