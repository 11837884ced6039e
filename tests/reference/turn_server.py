"""A small TURN server as a pure machine, with faults that a test can ask for."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from librats._core.stun import StunMessage, channel_data, parse, parse_channel_data, serialise
from librats.stun.constants import REASONS, Attribute, MessageClass, Method
from librats.stun.credentials import (
    PasswordAlgorithm,
    SecurityFeature,
    long_term_key,
    nonce_with_features,
    userhash,
)
from librats.types import Address

__all__ = ["Allocation", "ReferenceServer"]

FEATURES = SecurityFeature.PASSWORD_ALGORITHMS | SecurityFeature.USERNAME_ANONYMITY
ALGORITHMS = ((PasswordAlgorithm.SHA256, b""), (PasswordAlgorithm.MD5, b""))
PERMISSION_TIME, CHANNEL_TIME = 300.0, 600.0
FIRST_RELAY_PORT = 50_000

Answer = list[tuple[int, Any]] | int


@dataclass
class Allocation:
    client: Address
    relayed: tuple[Address, ...]
    username: str
    expires: float
    ticket: bytes = b""
    permissions: dict[str, float] = field(default_factory=dict)
    channels: dict[int, tuple[Address, float]] = field(default_factory=dict)


class ReferenceServer:
    """Serves one realm.

    Args:
        users: Passwords by username; empty for a server without credentials.
        modern: Whether it has the security features of RFC 8489.
        reliable: Whether ChannelData has padding.
    """

    def __init__(
        self,
        users: dict[str, str] | None = None,
        *,
        modern: bool = False,
        reliable: bool = False,
        lifetime: int = 600,
        mobility: bool = False,
        has_ipv6: bool = True,
    ) -> None:
        self.users = users or {}
        self.modern = modern
        self.reliable = reliable
        self.lifetime = lifetime
        self.mobility = mobility
        self.has_ipv6 = has_ipv6
        self.realm = "example.org"
        self.nonces = 0
        self.nonce_uses = 0
        self.nonce_limit: int | None = None
        self.allocations: dict[Address, Allocation] = {}
        self.requests: list[tuple[Method, StunMessage]] = []
        self.indications: list[StunMessage] = []
        self.to_peers: list[tuple[bytes, Address]] = []
        self.relay: Callable[[bytes, Address, Allocation], None] = lambda data, peer, _: self.to_peers.append(
            (data, peer)
        )
        self.fault: Callable[[Method, StunMessage], tuple[int, list[tuple[int, Any]]] | None] = lambda *_: None
        self.forbidden: set[str] = set()
        self.relay_address: Callable[[str, int], Address] = Address
        self._answers: dict[tuple[bytes, Address], bytes] = {}
        self._port = FIRST_RELAY_PORT
        self.restarts = 0

    def _note(self, data: bytes, peer: Address, _allocation: Allocation) -> None:
        self.to_peers.append((data, peer))

    @property
    def nonce(self) -> str:
        rest = hashlib.sha256(f"{self.restarts}/{self.nonces}".encode()).hexdigest()[:16]
        return nonce_with_features(FEATURES, rest) if self.modern else rest

    def restart(self) -> None:
        """Forget everything, as a server does that was killed and started again."""
        self.allocations.clear()
        self._answers.clear()
        self.restarts += 1

    def methods(self) -> list[Method]:
        return [method for method, _ in self.requests]

    # Datagrams of clients

    def receive(self, data: bytes, source: Address, now: float) -> list[tuple[bytes, Address]]:
        if 0x40 <= data[0] <= 0x4F:
            number, payload = parse_channel_data(data)
            allocation = self._live(source, now)
            if allocation is not None and number in allocation.channels and allocation.channels[number][1] > now:
                self.relay(payload, allocation.channels[number][0], allocation)
            return []
        message = parse(data)
        if message.message_class == MessageClass.INDICATION:
            self._indication(message, source, now)
            return []
        known = self._answers.get((message.transaction_id, source))
        if known is None:  # RFC 8489, 6.3.1: what is sent again gets the same answer
            known = self._answers[message.transaction_id, source] = self._answer(message, source, now)
        return [(known, source)]

    def _live(self, source: Address, now: float) -> Allocation | None:
        allocation = self.allocations.get(source)
        if allocation is not None and allocation.expires <= now:
            del self.allocations[source]
            return None
        return allocation

    def _indication(self, message: StunMessage, source: Address, now: float) -> None:
        self.indications.append(message)
        allocation = self._live(source, now)
        if message.method == Method.SEND and allocation is not None:
            peer = Address(*message.get(Attribute.XOR_PEER_ADDRESS))
            if allocation.permissions.get(peer.host, 0.0) > now:
                self.relay(message.get(Attribute.DATA), peer, allocation)

    def _answer(self, message: StunMessage, source: Address, now: float) -> bytes:
        method = Method(message.method)
        self.requests.append((method, message))
        key: bytes | None = None
        username = ""
        if self.users:
            found = self._authenticate(message)
            if isinstance(found, int):
                challenge: list[tuple[int, Any]] = [(Attribute.REALM, self.realm), (Attribute.NONCE, self.nonce)]
                if self.modern:
                    challenge.append((Attribute.PASSWORD_ALGORITHMS, ALGORITHMS))
                return self._error(message, found, challenge, None)
            username, key = found
        fault = self.fault(method, message)
        if fault is not None:
            return self._error(message, fault[0], fault[1], key)
        result = self._serve(method, message, source, username, now)
        if isinstance(result, int):
            return self._error(message, result, [], key)
        return self._sign(message, MessageClass.SUCCESS_RESPONSE, result, key)

    def _authenticate(self, message: StunMessage) -> tuple[str, bytes] | int:
        if message.integrity_type is None:
            return 401
        if message.get(Attribute.NONCE) != self.nonce:
            return 438
        self.nonce_uses += 1
        if self.nonce_limit is not None and self.nonce_uses > self.nonce_limit:
            self.nonces += 1
            self.nonce_uses = 0
            return 438
        found = self._modern_user(message) if self.modern else (message.get(Attribute.USERNAME), PasswordAlgorithm.MD5)
        if found is None or found[0] not in self.users:
            return 401
        username, algorithm = found
        key = long_term_key(username, self.realm, self.users[username], algorithm)
        return (username, key) if message.check_integrity(key) else 401

    def _modern_user(self, message: StunMessage) -> tuple[str, PasswordAlgorithm] | None:
        hashed, chosen = message.get(Attribute.USERHASH), message.get(Attribute.PASSWORD_ALGORITHM)
        names = [name for name in self.users if userhash(name, self.realm) == hashed]
        is_whole = message.get(Attribute.PASSWORD_ALGORITHMS) == ALGORITHMS and chosen is not None
        if not names or not is_whole or message.integrity_type != Attribute.MESSAGE_INTEGRITY_SHA256:
            return None
        return names[0], PasswordAlgorithm(chosen[0])

    def _error(self, message: StunMessage, code: int, extra: list[tuple[int, Any]], key: bytes | None) -> bytes:
        attributes = [(Attribute.ERROR_CODE, (code, REASONS.get(code, "Odd"))), *extra]
        return self._sign(message, MessageClass.ERROR_RESPONSE, attributes, key)

    def _sign(
        self, message: StunMessage, kind: MessageClass, attributes: list[tuple[int, Any]], key: bytes | None
    ) -> bytes:
        integrity = Attribute.MESSAGE_INTEGRITY_SHA256 if self.modern else Attribute.MESSAGE_INTEGRITY
        return serialise(message.method, kind, message.transaction_id, attributes, key=key, integrity=integrity)

    # What is asked for

    def _serve(self, method: Method, message: StunMessage, source: Address, username: str, now: float) -> Answer:
        if method == Method.ALLOCATE:
            return self._allocate(message, source, username, now)
        if method == Method.REFRESH and message.get(Attribute.MOBILITY_TICKET):
            return self._move(message, source, now)
        allocation = self._live(source, now)
        if allocation is None:
            return 437
        if allocation.username != username:
            return 441
        serves: dict[Method, Callable[[StunMessage, Allocation, float], Answer]] = {
            Method.REFRESH: self._refresh,
            Method.CREATE_PERMISSION: self._permit,
            Method.CHANNEL_BIND: self._bind,
            Method.CONNECT: lambda *_: [(Attribute.CONNECTION_ID, 77)],
        }
        serve = serves.get(method)
        return 400 if serve is None else serve(message, allocation, now)

    def _permit(self, message: StunMessage, allocation: Allocation, now: float) -> Answer:
        hosts = [host for host, _ in message.get_all(Attribute.XOR_PEER_ADDRESS)]
        if self.forbidden.intersection(hosts):
            return 403
        allocation.permissions.update(dict.fromkeys(hosts, now + PERMISSION_TIME))
        return []

    def _allocate(self, message: StunMessage, source: Address, username: str, now: float) -> Answer:
        if self._live(source, now) is not None:
            return 437
        if message.get(Attribute.REQUESTED_TRANSPORT) not in (6, 17):
            return 442
        wanted = message.get(Attribute.REQUESTED_ADDRESS_FAMILY)
        additional = message.get(Attribute.ADDITIONAL_ADDRESS_FAMILY)
        if wanted == 2 and not self.has_ipv6:
            return 440
        relayed = []
        attributes: list[tuple[int, Any]] = []
        self._port += 1
        if wanted != 2:
            relayed.append(self.relay_address("192.0.2.1", self._port))
        if wanted == 2 or (additional and self.has_ipv6):
            relayed.append(self.relay_address("2001:db8::1", self._port))
        elif additional:
            attributes.append((Attribute.ADDRESS_ERROR_CODE, (2, 440, REASONS[440])))
        lifetime = message.get(Attribute.LIFETIME) or self.lifetime
        allocation = Allocation(source, tuple(relayed), username, now + lifetime)
        self.allocations[source] = allocation
        attributes += [(Attribute.XOR_RELAYED_ADDRESS, address) for address in relayed]
        attributes += [(Attribute.XOR_MAPPED_ADDRESS, source), (Attribute.LIFETIME, lifetime)]
        if message.get(Attribute.MOBILITY_TICKET) is not None and self.mobility:
            allocation.ticket = b"ticket-%d" % self._port
            attributes.append((Attribute.MOBILITY_TICKET, allocation.ticket))
        return attributes

    def _move(self, message: StunMessage, source: Address, now: float) -> Answer:
        ticket = message.get(Attribute.MOBILITY_TICKET)
        found = [allocation for allocation in self.allocations.values() if allocation.ticket == ticket]
        if not found or not self.mobility:
            return 437
        allocation = found[0]
        del self.allocations[allocation.client]
        allocation.client = source
        allocation.ticket += b"+"
        self.allocations[source] = allocation
        return [*self._refreshed(message, allocation, now), (Attribute.MOBILITY_TICKET, allocation.ticket)]

    def _refresh(self, message: StunMessage, allocation: Allocation, now: float) -> Answer:
        if message.get(Attribute.LIFETIME) == 0:
            del self.allocations[allocation.client]
            return [(Attribute.LIFETIME, 0)]
        return self._refreshed(message, allocation, now)

    def _refreshed(self, message: StunMessage, allocation: Allocation, now: float) -> list[tuple[int, Any]]:
        lifetime = message.get(Attribute.LIFETIME) or self.lifetime
        allocation.expires = now + lifetime
        return [(Attribute.LIFETIME, lifetime)]

    def _bind(self, message: StunMessage, allocation: Allocation, now: float) -> Answer:
        number, peer = message.get(Attribute.CHANNEL_NUMBER), Address(*message.get(Attribute.XOR_PEER_ADDRESS))
        if peer.host in self.forbidden:
            return 403
        for other, (bound, expires) in allocation.channels.items():
            if (other == number) != (bound == peer) and expires + PERMISSION_TIME > now:
                return 400
        allocation.channels[number] = peer, now + CHANNEL_TIME
        allocation.permissions[peer.host] = now + PERMISSION_TIME
        return []

    # Datagrams of peers

    def from_peer(self, data: bytes, peer: Address, now: float) -> list[tuple[bytes, Address]]:
        """Return what a peer's datagram becomes, for every allocation that lets it in."""
        out = []
        for source in list(self.allocations):
            allocation = self._live(source, now)
            if allocation is None or allocation.permissions.get(peer.host, 0.0) <= now:
                continue
            numbers = [n for n, (bound, expires) in allocation.channels.items() if bound == peer and expires > now]
            if numbers:
                out.append((channel_data(numbers[0], data, padded=self.reliable), source))
            else:
                attributes = [(Attribute.XOR_PEER_ADDRESS, peer), (Attribute.DATA, data)]
                indication = serialise(Method.DATA, MessageClass.INDICATION, b"\0" * 12, attributes)
                out.append((indication, source))
        return out
