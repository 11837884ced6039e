"""The simulated network: hosts, what lies between them, virtual time, and how a test runs in it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Self, TypeVar

from librats.errors import ConfigError, UsageError
from librats.peers.arguments import check_timeout
from librats.testing.agenda import Agenda, Appointment
from librats.testing.entropy import SeededEntropy
from librats.testing.hosts import SimHost, check_address
from librats.testing.links import LinkConditions, Path
from librats.testing.loop import SimLoop
from librats.testing.packets import Packet
from librats.testing.selecting import SimSelector
from librats.testing.trace import Trace
from librats.testing.waiting_tasks import DeadlockError, describe_tasks

__all__ = ["SimNetwork"]

T = TypeVar("T")

LOOPBACK_DELAY = 0.00001
MAX_HOSTS = 65_000


class SimNetwork:
    """A network in one process: hosts, links and a clock, simulated. The same seed gives the same run.

    Any number of clients run in it, :class:`~librats.RatsClient` as it is, in virtual time: an hour of waiting takes no
    longer than what happens in it.

    Args:
        seed: Decides everything that is left to chance: losses, delays, keys.
        delay: Seconds that a packet takes from host to host, one way.
        jitter: Up to that many seconds more, different for each packet.
        loss: Which part of the packets is lost, 0 to 1.
        bandwidth: Bytes a second, each way between two hosts; None for no limit.
        trace: Whether to record every packet in :attr:`trace`.

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
    ) -> None:
        self.seed = seed
        """What everything that is left to chance comes from."""
        self._conditions = LinkConditions(delay=delay, jitter=jitter, loss=loss, bandwidth=bandwidth)
        self.trace = Trace()
        """What happened, where recording was asked for; notes and changes in any case."""
        self._traces_packets = trace
        self.agenda = Agenda()
        """The clock."""
        self.selector = SimSelector(self.agenda, self._stuck)
        """Who tells the loop about sockets."""
        self._hosts: dict[str, SimHost] = {}
        self._by_address: dict[str, SimHost] = {}
        self._paths: dict[tuple[SimHost, SimHost], Path] = {}
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

    # Hosts

    def host(self, name: str, *, addresses: Iterable[str] | None = None) -> SimHost:
        """Add a host.

        Args:
            name: Its name, by which it can be reached.
            addresses: Its IPv4 and IPv6 addresses; one of each where it is None.

        Raises:
            UsageError: There is one of that name or with such an address, or an address cannot be one.
        """
        if not name or name in self._hosts or name == "localhost":
            raise UsageError(f"there can be no host of the name {name!r}, or there is one already")
        if addresses is None:
            addresses = self._free_addresses()
        try:
            checked = [check_address(address) for address in addresses]
        except ValueError as error:
            raise UsageError(f"host {name}: {error}") from None
        for address in checked:
            if address in self._by_address:
                raise UsageError(f"host {name}: {self._by_address[address].name} has the address {address}")
        host = self._hosts[name] = SimHost(self, name, checked, self.seed)
        self._by_address.update(dict.fromkeys(checked, host))
        return host

    def _free_addresses(self) -> Sequence[str]:
        for number in range(1, MAX_HOSTS):
            pair = (f"10.0.{number // 256}.{number % 256}", f"fd00::{number:x}")
            if self._by_address.keys().isdisjoint(pair):
                return pair
        raise UsageError(f"a simulation has at most {MAX_HOSTS} hosts with addresses of its own choice")

    @property
    def hosts(self) -> list[SimHost]:
        """Every host, in the order in which they were added."""
        return list(self._hosts.values())

    def addresses_of(self, name: str) -> Sequence[str]:
        """Return the addresses behind a name; an address is returned as it is.

        Raises:
            OSError: No host has that name.
        """
        host = self._hosts.get(name)
        if host is not None:
            return host.addresses
        try:
            socket.inet_pton(socket.AF_INET6 if ":" in name else socket.AF_INET, name)
        except OSError:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None
        return [name]

    # What lies between them

    def set_link(self, one: SimHost, other: SimHost, *, one_way: bool = False, **conditions: Any) -> None:
        """Change how packets travel between two hosts, from now on.

        Args:
            one: A host.
            other: Another one.
            one_way: Whether only what the first one sends is meant.
            conditions: ``delay``, ``jitter``, ``loss`` and ``bandwidth``; those left out are that of the network.

        Raises:
            ConfigError: A value makes no sense.
        """
        default = self._conditions
        known = {name: getattr(default, name) for name in LinkConditions.__dataclass_fields__}
        for name in conditions.keys() - known.keys():
            raise ConfigError(name, f"is not known; there is {', '.join(known)}")
        chosen = LinkConditions(**(known | conditions))
        for path in self._ways(one, other, one_way=one_way):
            path.conditions = chosen
        self.note(f"{one.name} {'to' if one_way else 'and'} {other.name}: {chosen}")

    def cut(self, one: SimHost, other: SimHost, *, one_way: bool = False) -> None:
        """Let nothing through between two hosts, until :meth:`mend` or :meth:`heal`. Nobody is told.

        Args:
            one: A host.
            other: Another one.
            one_way: Whether only what the first one sends to the other is meant.
        """
        for path in self._ways(one, other, one_way=one_way):
            path.is_cut = True
        self.note(f"{one.name} {'to' if one_way else 'and'} {other.name}: cut")

    def mend(self, one: SimHost, other: SimHost, *, one_way: bool = False) -> None:
        """Let packets through again between two hosts.

        Args:
            one: A host.
            other: Another one.
            one_way: Whether only what the first one sends to the other is meant.
        """
        for path in self._ways(one, other, one_way=one_way):
            path.is_cut = False
        self.note(f"{one.name} {'to' if one_way else 'and'} {other.name}: mended")

    def partition(self, *groups: Iterable[SimHost]) -> None:
        """Let nothing through between groups of hosts; what is in no group reaches all. Nobody is told."""
        parts = [list(group) for group in groups]
        for index, part in enumerate(parts):
            for other in parts[index + 1 :]:
                for a in part:
                    for b in other:
                        self.cut(a, b)

    def heal(self) -> None:
        """Let packets through everywhere again."""
        for path in self._paths.values():
            path.is_cut = False
        self.note("healed")

    def _ways(self, one: SimHost, other: SimHost, *, one_way: bool) -> list[Path]:
        return [self._path(one, other)] if one_way else [self._path(one, other), self._path(other, one)]

    def _path(self, source: SimHost, target: SimHost) -> Path:
        path = self._paths.get((source, target))
        if path is None:
            conditions = LinkConditions(delay=LOOPBACK_DELAY) if source is target else self._conditions
            entropy = SeededEntropy(self.seed, "path", source.name, target.name)
            path = self._paths[source, target] = Path(conditions, entropy)
        return path

    def transmit(self, source: SimHost, packet: Packet, lost: Callable[[], None]) -> None:
        """Carry a packet from a host to where it is addressed to; a function is called where it does not arrive."""
        target = source if _is_loopback(packet.destination.host) else self._by_address.get(packet.destination.host)
        path = None if target is None else self._path(source, target)
        when = path.carry(packet.size, self.time) if path is not None else None
        if when is None or target is None or path is None or not (source.is_up or source is target):
            self._drop(source, packet, lost)
            return
        if self._traces_packets:
            self.trace.packet(self.time, source.name, "sent", packet)
        self.agenda.at(when, self._arrive, source, target, path, packet, lost)

    def _drop(self, where: SimHost, packet: Packet, lost: Callable[[], None]) -> None:
        if self._traces_packets:
            self.trace.packet(self.time, where.name, "lost", packet)
        lost()

    def _arrive(self, source: SimHost, target: SimHost, path: Path, packet: Packet, lost: Callable[[], None]) -> None:
        if path.is_cut or not (target.is_up or source is target):
            self._drop(target, packet, lost)
            return
        if self._traces_packets:
            self.trace.packet(self.time, target.name, "received", packet)
        if not target.receive(packet):
            self._drop(target, packet, lost)


def _is_loopback(host: str) -> bool:
    return host == "::1" or host.startswith("127.")
