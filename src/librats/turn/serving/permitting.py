"""CreatePermission and ChannelBind (RFC 8656, 9 to 12)."""

from __future__ import annotations

from typing import Any

from librats._core.relay import pack_address
from librats.stun.constants import Attribute, ErrorCode
from librats.turn.serving.allocation import IPV4, IPV6, UDP, Allocation
from librats.turn.serving.answers import Refused, number_in, refuse_unless
from librats.turn.serving.peer_policy import Verdict
from librats.turn.serving.request import Request
from librats.turn.serving.tables import PACKED_SIZE, Tables, host_of

__all__ = ["Permitting"]

_XOR_PEER_ADDRESS = int(Attribute.XOR_PEER_ADDRESS)
_CHANNEL_NUMBER = int(Attribute.CHANNEL_NUMBER)
_FIRST_CHANNEL = 0x4000


class Permitting:
    """Lets an allocation talk to peers.

    Args:
        tables: Where allocations are kept.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def create_permission(self, request: Request) -> list[tuple[int, Any]]:
        """Answer a CreatePermission request: all of its peers are permitted, or none.

        Raises:
            Refused: With the code of RFC 8656, 10.2.
        """
        peers = request.message.get_all(_XOR_PEER_ADDRESS)
        refuse_unless(peers)
        allocation = self.allocation_of(request)
        self._permit(allocation, [self.check_peer(allocation, *peer) for peer in peers], now=request.now)
        return []

    def bind_channel(self, request: Request) -> list[tuple[int, Any]]:
        """Answer a ChannelBind request.

        Raises:
            Refused: With the code of RFC 8656, 12.2.
        """
        settings = self._tables.shared.settings
        number = number_in(request.message, _CHANNEL_NUMBER)
        peer_address = request.message.get(_XOR_PEER_ADDRESS)
        if number is None or peer_address is None:
            raise Refused(ErrorCode.BAD_REQUEST)
        number >>= 16
        refuse_unless(_FIRST_CHANNEL <= number <= settings.last_channel)
        host, port = peer_address
        refuse_unless(port)
        allocation = self.allocation_of(request)
        refuse_unless(allocation.transport == UDP)
        peer = pack_address(host, port)
        now = request.now
        plane = self._tables.plane
        channels = {n: bound for n, bound in plane.channels(allocation.number).items() if bound[1] > now}
        bound = channels.get(number)
        refuse_unless(bound is None or bound[0] == peer)
        refuse_unless(bound is not None or all(other != peer for other, _ in channels.values()))
        permitted = self.check_peer(allocation, host, port)
        refuse_unless(bound is not None or len(channels) < settings.max_channels, ErrorCode.INSUFFICIENT_CAPACITY)
        self._permit(allocation, [permitted], now=now)
        plane.bind_channel(allocation.number, number, peer, now + settings.channel_lifetime, now=now)
        return []

    def allocation_of(self, request: Request) -> Allocation:
        """Return the allocation that a request is about.

        Raises:
            Refused: 437 where there is none, 441 where another user made it.
        """
        allocation = self._tables.find(request.client)
        if allocation is None:
            raise Refused(ErrorCode.ALLOCATION_MISMATCH)
        allocation.check_owner(request.login)
        return allocation

    def check_peer(self, allocation: Allocation, host: str, port: int) -> bytes:
        """Return what a permission for a peer is for: its packed host, or its packed address.

        The latter where it is an address of ours, or where the allocation shares its relay socket.

        Raises:
            Refused: 443 or 403 where the allocation cannot, or must not, talk to it; 400 where the port is missing
                that an allocation with a shared relay socket needs.
        """
        family = IPV6 if ":" in host else IPV4
        refuse_unless(family in allocation.families, ErrorCode.PEER_ADDRESS_FAMILY_MISMATCH)
        verdict = self._tables.shared.judge(host, port, allocation.transport)
        refuse_unless(verdict is not Verdict.DENIED, ErrorCode.FORBIDDEN)
        packed = pack_address(host, port)
        if self._tables.has_shared_relay(allocation):
            refuse_unless(port)
            return packed
        return packed if verdict is Verdict.OWN else host_of(packed)

    def _permit(self, allocation: Allocation, peers: list[bytes], *, now: float) -> None:
        """Make permissions, or let them last.

        Raises:
            Refused: 508 where they are too many, or where one is another allocation's on the same relay socket; none
                is made then.
        """
        settings, plane, number = self._tables.shared.settings, self._tables.plane, allocation.number
        permissions = plane.permissions(number)
        if len(permissions) + len(peers) > settings.max_permissions:
            in_force = {peer for peer, expires in permissions.items() if expires > now}
            refuse_unless(len(in_force.union(peers)) <= settings.max_permissions, ErrorCode.INSUFFICIENT_CAPACITY)
        expires = now + settings.permission_lifetime
        for count, peer in enumerate(peers):
            exact = len(peer) == PACKED_SIZE
            if not plane.set_permission(number, peer, expires, exact=exact, now=now):
                for made in peers[:count]:
                    plane.set_permission(number, made, permissions.get(made, 0.0), exact=exact, now=now)
                raise Refused(ErrorCode.INSUFFICIENT_CAPACITY)
