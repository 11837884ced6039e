"""A simulated network for tests: hosts, links and a clock in one process, the same in every run with one seed."""

from __future__ import annotations

from librats.testing.hosts import SimHost
from librats.testing.links import LinkConditions
from librats.testing.network import SimNetwork
from librats.testing.trace import Trace, TraceEvent
from librats.testing.waiting_tasks import DeadlockError

__all__ = ["DeadlockError", "LinkConditions", "SimHost", "SimNetwork", "Trace", "TraceEvent"]
