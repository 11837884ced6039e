"""How machines hang together: segments, and the interfaces of hosts and routers in them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from librats.errors import UsageError
from librats.testing.links import LinkConditions, Path

if TYPE_CHECKING:
    from librats.testing.hosts import SimHost
    from librats.testing.network import SimNetwork
    from librats.testing.routers import SimRouter

__all__ = ["Segment", "SimInterface", "check_address"]

USUAL_MTU = 1500


class Segment:
    """Where machines reach each other without a router: the internet, or what lies behind a router.

    Args:
        router: Who stands between it and the internet; None for the internet itself.
    """

    def __init__(self, router: SimRouter | None) -> None:
        self.router = router
        self.members: dict[str, SimInterface] = {}
        """Who is to be given a packet for an address: whose it is, or a router in front of whom it is."""

    @property
    def is_internet(self) -> bool:
        """True for the internet itself."""
        return self.router is None

    def add(self, address: str, interface: SimInterface) -> None:
        """Let an address be an interface's, and be reached through every router that does not hide it.

        Raises:
            UsageError: Another one has it.
        """
        there = self.members.get(address)
        if there is not None and there is not interface:
            raise UsageError(f"{there.owner.name} has the address {address}")
        if self.router is not None and self.router.routes(address):
            self.router.outside.segment.add(address, self.router.outside)
        self.members[address] = interface

    def remove(self, address: str) -> None:
        """Let an address be nobody's any more."""
        self.members.pop(address, None)
        if self.router is not None and self.router.routes(address):
            self.router.outside.segment.remove(address)


class SimInterface:
    """One interface of a host or a router: where it is, its addresses, and its access to what lies there.

    That of a router is its outer side. Comes from :attr:`SimHost.interfaces`, :meth:`SimHost.add_interface` and
    :attr:`SimRouter.outside`.
    """

    def __init__(
        self, network: SimNetwork, owner: SimHost | SimRouter, name: str, segment: Segment, addresses: Iterable[str]
    ) -> None:
        self._network = network
        self.owner = owner
        """The host or the router."""
        self.name = name
        """Its name, ``eth0`` for the first one of a host."""
        self.segment = segment
        self.addresses: tuple[str, ...] = ()
        """Its IP addresses."""
        self.is_up = True
        """False where it is switched off, and its host knows."""
        self.up_path: Path | None = None
        self.down_path: Path | None = None
        self._take(addresses)

    def __repr__(self) -> str:
        """Show whose it is, addresses and state."""
        state = "" if self.is_up else " down"
        return f"<SimInterface {self.name} of {self.owner.name} {' '.join(self.addresses)}{state}>"

    @property
    def mtu(self) -> int:
        """Bytes of the longest IP packet that leaves it."""
        return USUAL_MTU if self.up_path is None else self.up_path.conditions.mtu

    def down(self) -> None:
        """Switch it off. Its host knows, and sends what is not bound to its addresses through another one."""
        self.is_up = False
        self.owner.readdressed()
        self._network.note(f"{self.name} of {self.owner.name} is down")

    def up(self) -> None:
        """Switch it on again."""
        self.is_up = True
        self.owner.readdressed()
        self._network.note(f"{self.name} of {self.owner.name} is up")

    def readdress(self, *addresses: str) -> None:
        """Give it other addresses. What is bound to one that is gone gets nothing any more.

        Args:
            addresses: The new ones; where there are none, free ones of the place where it is.

        Raises:
            UsageError: One cannot be an address, or another machine has it.
        """
        self._move(self.segment, addresses)

    def move(self, behind: SimRouter | None = None, *, addresses: Iterable[str] = ()) -> None:
        """Plug it in somewhere else: another network, with another address.

        Args:
            behind: The router whose inner side it is to be at; None for the internet.
            addresses: As for :meth:`readdress`.

        Raises:
            UsageError: As for :meth:`readdress`.
        """
        self._move(self._network.internet if behind is None else behind.inside, tuple(addresses))

    def set_access(self, *, one_way: str = "", **conditions: Any) -> None:
        """Change how packets travel between it and what lies there, whoever they come from or go to.

        That comes on top of the conditions of the links, which are for pairs: a home's line to its provider, of
        which all share the bandwidth.

        Args:
            one_way: ``"up"`` for what it sends only, ``"down"`` for what it gets; both where empty.
            conditions: Those of :class:`LinkConditions`; the delay is 0 where it is left out.

        Raises:
            ConfigError: A value makes no sense.
            UsageError: There is no such way.
        """
        if one_way not in ("", "up", "down"):
            raise UsageError(f"up, down or nothing, not {one_way!r}")
        chosen = LinkConditions(delay=0.0).changed(conditions)
        for way in ("up", "down"):
            if one_way in ("", way):
                path: Path | None = getattr(self, f"{way}_path")
                if path is None:
                    path = Path(chosen, self._network.entropy_for("access", self.owner.name, self.name, way))
                    setattr(self, f"{way}_path", path)
                path.change(chosen)
        self._network.note(f"access of {self.name} of {self.owner.name} {one_way}: {chosen}")

    def remove(self) -> None:
        """Let its addresses go."""
        for address in (*self.addresses, *self.owner.routed_addresses):
            self.segment.remove(address)
        self.addresses = ()

    def _move(self, segment: Segment, addresses: tuple[str, ...]) -> None:
        before, place = self.addresses, self.segment
        self.remove()
        self.segment = segment
        try:
            self._take(addresses or self.owner.free_addresses(segment))
        except UsageError:
            self.segment = place
            self._take(before)
            raise
        self.owner.readdressed()
        self._network.note(f"{self.name} of {self.owner.name} has {' '.join(self.addresses)}")

    def _take(self, addresses: Iterable[str]) -> None:
        try:
            checked = tuple(check_address(address) for address in addresses)
        except ValueError as error:
            raise UsageError(f"{self.owner.name}: {error}") from None
        for address in checked:
            if address in self.segment.members:
                raise UsageError(f"{self.owner.name}: {self.segment.members[address].owner.name} has {address}")
        for address in (*checked, *self.owner.routed_addresses):
            self.segment.add(address, self)
        self.addresses = checked


def check_address(text: str) -> str:
    """Return an IP address in its usual form.

    Raises:
        ValueError: It is none that a host could have.
    """
    address = ipaddress.ip_address(text)
    if address.is_unspecified or address.is_multicast or address.is_loopback:
        raise ValueError(f"{text} cannot be the address of a host")
    return str(address)
