"""The simulated network: hosts, routers, what lies between them, virtual time, and how a test runs in it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Self, TypeVar

from librats.errors import UsageError
from librats.peers.arguments import check_timeout
from librats.testing.agenda import Agenda, Appointment
from librats.testing.behaviors import RouterBehavior, behaviors_of
from librats.testing.entropy import SeededEntropy
from librats.testing.hosts import SimHost
from librats.testing.interfaces import Segment
from librats.testing.journeys import Transport
from librats.testing.links import LinkConditions, Path
from librats.testing.loop import SimLoop
from librats.testing.plan import AddressPlan
from librats.testing.routers import SimRouter
from librats.testing.selecting import SimSelector
from librats.testing.trace import Trace
from librats.testing.waiting_tasks import DeadlockError, describe_tasks

__all__ = ["SimNetwork"]

T = TypeVar("T")

Machine = SimHost | SimRouter


class SimNetwork:
    """A network in one process: hosts, routers, links and a clock, simulated. The same seed gives the same run.

    Any number of clients run in it, :class:`~librats.RatsClient` as it is, in virtual time: an hour of waiting takes no
    longer than what happens in it.

    Args:
        seed: Decides everything that is left to chance: losses, delays, keys.
        delay: Seconds that a packet takes through the internet, one way.
        jitter: Up to that many seconds more, different for each packet.
        loss: Which part of the packets is lost, 0 to 1.
        bandwidth: Bytes a second, each way between two hosts; None for no limit.
        trace: Whether to record every packet in :attr:`trace`.
        conditions: The others of :class:`LinkConditions`, ``queue`` for example.

    Raises:
        ConfigError: A value makes no sense.

    Example:
        .. code-block:: python

            with SimNetwork(seed=7, delay=0.05, loss=0.01) as net:
                alice, bob = net.host("alice"), net.host("bob")

                async def main():
                    ...

                net.run(main())
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        delay: float = 0.01,
        jitter: float = 0.0,
        loss: float = 0.0,
        bandwidth: float | None = None,
        trace: bool = False,
        **conditions: Any,
    ) -> None:
        self.seed = seed
        """What everything that is left to chance comes from."""
        usual = LinkConditions(delay=delay, jitter=jitter, loss=loss, bandwidth=bandwidth).changed(conditions)
        self.trace = Trace()
        """What happened, where recording was asked for; notes and changes in any case."""
        self.agenda = Agenda()
        """The clock."""
        self.selector = SimSelector(self.agenda, self._stuck)
        """Who tells the loop about sockets."""
        self.internet = Segment(None)
        """Where everything is that is behind no router."""
        self.plan = AddressPlan()
        """Which addresses those get that ask for none."""
        self.transport = Transport(self, usual, traces=trace)
        """Who carries packets."""
        self._hosts: dict[str, SimHost] = {}
        self._routers: dict[str, SimRouter] = {}
        self.loop = SimLoop(self)
        """The event loop."""
        self._runner = asyncio.Runner(loop_factory=lambda: self.loop)

    def __repr__(self) -> str:
        """Show seed, hosts and time."""
        return f"<SimNetwork seed={self.seed} hosts={len(self._hosts)} time={self.time:.6f}>"

    # Running

    @property
    def time(self) -> float:
        """Virtual seconds since the simulation began."""
        return self.agenda.now

    def run(self, main: Coroutine[Any, Any, T], *, timeout: float | None = None) -> T:
        """Run a coroutine to its end, and return what it returns. May be called again; time goes on then.

        Args:
            main: What to run. It is on no host; see :class:`SimHost`.
            timeout: Virtual seconds that it may take; None for ever, where a test that waits for what never comes is
                only found out once nothing else happens either.

        Raises:
            DeadlockError: Nothing is left to happen and the coroutine still waits, or the time is up.
            UsageError: The timeout is not above 0.
        """
        try:
            check_timeout(timeout)
        except UsageError:
            main.close()
            raise
        self.selector.time_limit = None if timeout is None else self.time + timeout
        try:
            return self._runner.run(main)
        except Exception as error:
            error.add_note(f"in a simulation with seed {self.seed}, after {self.time:.6f} virtual seconds")
            raise
        finally:
            self.selector.time_limit = None

    def close(self) -> None:
        """Cancel what still runs, and close the loop. Idempotent."""
        try:
            self._runner.close()
        finally:
            self.loop.close()

    def __enter__(self) -> Self:
        """Return the network."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Close it."""
        self.close()

    def at(self, when: float, function: Callable[..., object], *args: Any) -> Appointment:
        """Call a function at a virtual time, to change the network for example.

        Args:
            when: Virtual seconds since the simulation began.
            function: A plain function.
            args: What it is called with.

        Returns:
            What can be cancelled, with ``cancel()``.
        """
        return self.agenda.at(when, function, *args)

    def note(self, text: str) -> None:
        """Write something of your own into the trace."""
        self.trace.add(self.time, "", "note", text)

    def left_behind(self) -> list[str]:
        """Return what the code on the hosts has not ended or closed: tasks and sockets, each described in words."""
        running = None if not self.loop.is_running() else asyncio.current_task(self.loop)
        tasks = [task for task in asyncio.all_tasks(self.loop) if task is not running]
        return [*(f"task {task.get_name()}" for task in tasks), *(repr(sock) for sock in self.selector.sockets())]

    def _stuck(self, problem: str) -> DeadlockError:
        return DeadlockError(
            f"{problem} at {self.time:.6f} virtual seconds, and these tasks wait:\n{describe_tasks(self.loop)}"
        )

    # Hosts and routers

    def host(self, name: str, *, behind: SimRouter | None = None, addresses: Iterable[str] | None = None) -> SimHost:
        """Add a host.

        Args:
            name: Its name, by which it can be reached from where its addresses can be.
            behind: The router at whose inner side it is; None for the internet.
            addresses: Its IPv4 and IPv6 addresses; one of each where it is None.

        Raises:
            UsageError: There is one of that name or with such an address, or an address cannot be one.
        """
        self._check_name(name)
        segment = self.internet if behind is None else behind.inside
        chosen = self.plan.for_host(segment) if addresses is None else tuple(addresses)
        host = self._hosts[name] = SimHost(self, name, segment, chosen, self.seed)
        return host

    def router(
        self,
        name: str,
        kind: str | RouterBehavior = "port_restricted",
        *,
        behind: SimRouter | None = None,
        addresses: Iterable[str] = (),
    ) -> SimRouter:
        """Add a router: a NAT, a firewall, or several of them in a row.

        Args:
            name: Its name.
            kind: A name, ``"symmetric"`` for example (an unknown one is refused with a list of them), several from the
                hosts outwards joined with ``+``, or a behavior of your own.
            behind: The router that it is behind, as those of homes are behind a carrier's; None for the internet.
            addresses: Those of its outer side; free ones where there are none.

        Returns:
            The router; of several the one next to the hosts, whose :attr:`SimRouter.outer` is the next one. The outer
            ones have names of their own: ``"home.2"``, ``"home.3"``.

        Raises:
            UsageError: There is no such kind, or the name or an address is taken.

        Example:
            >>> with SimNetwork() as net:
            ...     home = net.router("home", "port_restricted", behind=net.router("carrier", "full_cone"))
            ...     print(home.address, home.outer.address)
            100.64.0.2 203.0.113.101
        """
        behaviors = behaviors_of(kind)
        segment = self.internet if behind is None else behind.inside
        outermost = len(behaviors)
        for number in range(outermost, 0, -1):
            each = name if number == 1 else f"{name}.{number}"
            self._check_name(each)
            wanted = tuple(addresses) if number == outermost else ()
            router = self._routers[each] = SimRouter(self, each, behaviors[number - 1], segment, wanted)
            segment = router.inside
        return router

    def _check_name(self, name: str) -> None:
        if not name or name in self._hosts or name in self._routers or name == "localhost":
            raise UsageError(f"there can be no host of the name {name!r}, or there is one already")

    @property
    def hosts(self) -> list[SimHost]:
        """Every host, in the order in which they were added."""
        return list(self._hosts.values())

    @property
    def routers(self) -> list[SimRouter]:
        """Every router, in the order in which they were added."""
        return list(self._routers.values())

    def entropy_for(self, *labels: str) -> SeededEntropy:
        """Return a source of random values of its own."""
        return SeededEntropy(self.seed, *labels)

    def addresses_of(self, name: str, *, asked_by: SimHost) -> Sequence[str]:
        """Return the addresses behind a name that a host can reach; an address is returned as it is.

        Raises:
            OSError: No host has that name, or none of its addresses can be reached.
        """
        machine = self._hosts.get(name) or self._routers.get(name)
        if machine is None:
            try:
                socket.inet_pton(socket.AF_INET6 if ":" in name else socket.AF_INET, name)
            except OSError:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None
            return [name]
        interfaces = [machine.outside] if isinstance(machine, SimRouter) else machine.interfaces.values()
        near = [*asked_by.segments, self.internet]
        # What several places have an address of is reached in the nearest of them.
        found = [
            address
            for interface in interfaces
            for address in interface.addresses
            if any(segment.members.get(address) is not None for segment in near)
            and (interface.segment in near or self.internet.members.get(address) is not None)
        ]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return found

    # What lies between them

    def set_link(self, one: Machine, other: Machine, *, one_way: bool = False, **conditions: Any) -> None:
        """Change how packets travel between two machines, from now on.

        Args:
            one: A host or a router.
            other: Another one, with no router in between at the moment.
            one_way: Whether only what the first one sends is meant.
            conditions: Those of :class:`LinkConditions`; those left out are the usual ones of that place: those of the
                network as it was made, or of what lies behind a router, where a packet takes half a millisecond.

        Raises:
            ConfigError: A value makes no sense.
            UsageError: A router stands in between.
        """
        places = self._places(one, other)
        if not places:
            raise UsageError(f"a router stands between {one.name} and {other.name}: set its links")
        for place in places:
            chosen = self.transport.usual(place).changed(conditions)
            for path in self._ways(one, other, place, one_way=one_way):
                path.change(chosen)
        self.note(f"{one.name} {'to' if one_way else 'and'} {other.name}: {chosen}")

    def cut(self, one: Machine, other: Machine, *, one_way: bool = False) -> None:
        """Let nothing through between two machines, until :meth:`mend` or :meth:`heal`. Nobody is told.

        Args:
            one: A host or a router. Of two hosts nothing gets through whatever lies between them; of a router, what
                goes from it to its neighbour directly.
            other: Another one.
            one_way: Whether only what the first one sends to the other is meant.
        """
        for place in self._places(one, other):
            for path in self._ways(one, other, place, one_way=one_way):
                path.is_cut = True
        self.transport.severed[one, other] = None
        if not one_way:
            self.transport.severed[other, one] = None
        self.note(f"{one.name} {'to' if one_way else 'and'} {other.name}: cut")

    def mend(self, one: Machine, other: Machine, *, one_way: bool = False) -> None:
        """Let packets through again between two machines.

        Args:
            one: A host or a router.
            other: Another one.
            one_way: Whether only what the first one sends to the other is meant.
        """
        for place in self._places(one, other):
            for path in self._ways(one, other, place, one_way=one_way):
                path.is_cut = False
        self.transport.severed.pop((one, other), None)
        if not one_way:
            self.transport.severed.pop((other, one), None)
        self.note(f"{one.name} {'to' if one_way else 'and'} {other.name}: mended")

    def partition(self, *groups: Iterable[Machine]) -> None:
        """Let nothing through between groups of machines; what is in no group reaches all. Nobody is told."""
        parts = [list(group) for group in groups]
        for index, part in enumerate(parts):
            for other in parts[index + 1 :]:
                for a in part:
                    for b in other:
                        self.cut(a, b)

    def heal(self) -> None:
        """Let packets through everywhere again."""
        self.transport.heal()
        self.note("healed")

    @staticmethod
    def _places(one: Machine, other: Machine) -> list[Segment | None]:
        """Return where two machines are neighbours; None stands for within one machine."""
        return [None] if one is other else [segment for segment in one.segments if segment in other.segments]

    def _ways(self, one: Machine, other: Machine, place: Segment | None, *, one_way: bool) -> list[Path]:
        path = self.transport.path
        return [path(one, other, place)] if one_way else [path(one, other, place), path(other, one, place)]
