"""A server's machine with what it is handed in: sockets that do not exist, and a data plane that only notes things."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from librats._core.allocations import Allocations
from librats._core.relay import pack_address
from librats._core.stun import StunMessage, parse, serialise
from librats.stun.constants import Attribute, MessageClass, Method
from librats.stun.credentials import PasswordAlgorithm, long_term_key
from librats.turn.serving.allocation import IPV4, UDP, Allocation, Client, Relay
from librats.turn.serving.authentication import Authenticator
from librats.turn.serving.credentials import Credentials
from librats.turn.serving.machine import Machine, Streams
from librats.turn.serving.mobility import Mobility
from librats.turn.serving.nonces import Nonces
from librats.turn.serving.peer_policy import PeerPolicy
from librats.turn.serving.quotas import QuotaLimits, Quotas
from librats.turn.serving.request import Answer
from librats.turn.serving.tables import Settings, Shared, Tables

REALM, USER, PASSWORD = "rats", "bob", "secret"
OUTSIDE = {1: "198.51.100.1", 2: "2001:db8::1"}
SERVER = pack_address("198.51.100.1", 3478)
PEER = ("203.0.113.7", 4000)
PEER6 = ("2001:db8:7::7", 4000)


class CountingEntropy:
    """Random values that are none, each other than those before."""

    def __init__(self) -> None:
        self.count = 0

    def token_bytes(self, size: int) -> bytes:
        self.count += 1
        return self.count.to_bytes(size, "big")

    def randbelow(self, limit: int) -> int:
        return 0

    def uniform(self, low: float, high: float) -> float:
        return low


class Ports:
    """Relays on ports from 5000 on."""

    def __init__(self, families: Sequence[int] = (1, 2)) -> None:
        self.families = families
        self.left = 1000
        self.open_now: dict[int, Relay] = {}
        self._next = 5000

    def has(self, family: int) -> bool:
        return family in self.families

    def open(self, family: int, *, near: bytes, even: bool = False, transport: int = UDP) -> Relay | None:
        if not self.left:
            return None
        self.left -= 1
        self._next += 1
        if even:
            self._next += self._next & 1
        relay = Relay(self._next, OUTSIDE[family], self._next, family, OUTSIDE[family])
        self.open_now[relay.fd] = relay
        return relay

    def open_pair(self, family: int, *, near: bytes) -> tuple[Relay, Relay] | None:
        first = self.open(family, near=near, even=True)
        second = self.open(family, near=near)
        return None if first is None or second is None else (first, second)

    def close(self, relay: Relay) -> None:
        del self.open_now[relay.fd]


class NotingPlane(Allocations):
    """Holds allocations, forwards nothing, and notes what it is told."""

    def __init__(self) -> None:
        self.can_keep_whole = True
        self.heard: list[tuple[Any, ...]] = []

    @property
    def allocations(self) -> set[int]:
        return set(self.numbers())

    def add_allocation(
        self,
        number: int,
        listener: int,
        client: bytes,
        relay_fd: int,
        expires: float,
        local: bytes = b"",
        *,
        forwards: bool = True,
    ) -> None:
        super().add_allocation(number, listener, client, relay_fd, expires, local, forwards=forwards)
        self.heard.append(("allocation", number, listener, client, relay_fd, expires, local))

    def add_relay(self, number: int, relay_fd: int) -> None:
        super().add_relay(number, relay_fd)
        self.heard.append(("relay", number, relay_fd))

    def refresh(self, number: int, expires: float, lifetime: int = 0) -> None:
        super().refresh(number, expires, lifetime)
        self.heard.append(("refresh", number, expires))

    def remove(self, number: int) -> None:
        super().remove(number)
        self.heard.append(("remove", number))

    def set_permission(
        self, number: int, peer: bytes, expires: float, *, exact: bool = False, now: float | None = None
    ) -> bool:
        assert now is not None
        self.heard.append(("permission", number, peer, expires, exact))
        return super().set_permission(number, peer, expires, exact=exact, now=now)

    def bind_channel(self, number: int, channel: int, peer: bytes, expires: float, *, now: float | None = None) -> bool:
        assert now is not None
        self.heard.append(("channel", number, channel, peer, expires))
        return super().bind_channel(number, channel, peer, expires, now=now)

    def limit(self, number: int, bytes_per_second: float) -> None:
        super().limit(number, bytes_per_second)
        self.heard.append(("limit", number, bytes_per_second))

    def traffic(self, number: int) -> tuple[int, int, int, int]:
        return (1, 2, 3, 4)

    def of(self, kind: str) -> list[tuple[Any, ...]]:
        return [heard for heard in self.heard if heard[0] == kind]


class Witness:
    """Notes what comes and goes."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def allocated(self, allocation: Allocation) -> None:
        self.seen.append(("allocated", allocation.username))

    def released(self, allocation: Allocation, reason: str, traffic: tuple[int, int, int, int]) -> None:
        self.seen.append((reason, allocation.username))


class Rig:
    """One machine, and clients that talk to it.

    Args:
        authenticated: Whether users are asked for credentials.
        users: Passwords by user name.
        secrets: Secrets of time-limited users.
        limits: Quotas.
        policy: Of peers.
        settings: Fields of the settings that differ from the defaults.
    """

    def __init__(
        self,
        *,
        authenticated: bool = True,
        users: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
        limits: QuotaLimits | None = None,
        policy: PeerPolicy | None = None,
        streams: Streams | None = None,
        families: Sequence[int] = (1, 2),
        **settings: Any,
    ) -> None:
        self.now = 1000.0
        self.plane, self.ports, self.witness = NotingPlane(), Ports(families), Witness()
        self.entropy = CountingEntropy()
        self.shared = Shared(
            settings=replace(Settings(), **settings),
            policy=policy or PeerPolicy(own=OUTSIDE.values()),
            quotas=Quotas(limits or QuotaLimits(), contextlib.nullcontext()),
            ports=self.ports,
        )
        self.credentials = Credentials(realm=REALM, users={USER: PASSWORD} if users is None else users, secrets=secrets)
        nonces = Nonces(entropy=self.entropy, lifetime=600.0)
        self.authenticator = Authenticator(self.credentials, nonces) if authenticated else None
        self.machine = self.new_machine(0, streams=streams)
        self._transactions = 0

    def new_machine(self, number: int, **more: Any) -> Machine:
        plane = NotingPlane() if number else self.plane
        tables = Tables(plane, self.shared, self.witness)
        return Machine(tables, self.authenticator, Mobility(bytes(32), number), entropy=self.entropy, **more)

    def transaction(self) -> bytes:
        self._transactions += 1
        return self._transactions.to_bytes(12, "big")

    def client(self, port: int = 6000, host: str = "203.0.113.1", *, user: str = USER, **more: Any) -> Caller:
        return Caller(self, Client(0, pack_address(host, port), SERVER), user, **more)

    def stream(self, number: int = 1, host: str = "203.0.113.1") -> Caller:
        return Caller(self, Client(-number, pack_address(host, 6000 + number), SERVER), USER)


class Caller:
    """A client of a rig's machine."""

    def __init__(
        self,
        rig: Rig,
        client: Client,
        user: str,
        *,
        password: str = PASSWORD,
        algorithm: PasswordAlgorithm | None = None,
        machine: Machine | None = None,
    ) -> None:
        self.rig = rig
        self.client = client
        self.user = user
        self.nonce = ""
        self.machine = machine or rig.machine
        self._algorithm = algorithm
        self.key = long_term_key(user, REALM, password, algorithm or PasswordAlgorithm.MD5)

    def send(self, data: bytes) -> Answer | None:
        return self.machine.receive(self.client, data, now=self.rig.now)

    def bare(self, method: Method, *attributes: tuple[int, Any], **more: Any) -> StunMessage | None:
        """Send a request without credentials, and return the answer."""
        answer = self.send(serialise(method, MessageClass.REQUEST, self.rig.transaction(), attributes, **more))
        return None if answer is None else parse(answer.data)

    def signed(self, method: Method, *attributes: tuple[int, Any], by_hash: bytes | None = None) -> bytes:
        """Return a request with credentials."""
        if not self.nonce and self.rig.authenticator is not None:
            # With as many bytes as make room for all that the server has to offer.
            asked = self.bare(Method.REFRESH, (Attribute.SOFTWARE, "a client of the tests"))
            assert asked is not None
            self.nonce = asked.get(Attribute.NONCE)
        name = (Attribute.USERNAME, self.user) if by_hash is None else (Attribute.USERHASH, by_hash)
        more: list[tuple[int, Any]] = [name, (Attribute.REALM, REALM), (Attribute.NONCE, self.nonce)]
        if self._algorithm is not None:
            more += [
                (Attribute.PASSWORD_ALGORITHMS, ((1, b""), (2, b""))),
                (Attribute.PASSWORD_ALGORITHM, (int(self._algorithm), b"")),
            ]
        integrity = 0x001C if self._algorithm is PasswordAlgorithm.SHA256 else 0x0008
        if self.rig.authenticator is None:
            return serialise(method, MessageClass.REQUEST, self.rig.transaction(), attributes)
        return serialise(
            method,
            MessageClass.REQUEST,
            self.rig.transaction(),
            [*attributes, *more],
            key=self.key,
            integrity=integrity,
        )

    def ask(self, method: Method, *attributes: tuple[int, Any], **more: Any) -> StunMessage:
        """Send a request with credentials, and return the answer."""
        answer = self.send(self.signed(method, *attributes, **more))
        assert answer is not None
        return parse(answer.data)

    def code(self, method: Method, *attributes: tuple[int, Any], **more: Any) -> int:
        """Send a request with credentials, and return the error code of the answer; 0 is success."""
        return code_of(self.ask(method, *attributes, **more))

    def allocate(self, *attributes: tuple[int, Any]) -> StunMessage:
        return self.ask(Method.ALLOCATE, (Attribute.REQUESTED_TRANSPORT, UDP), *attributes)

    def permit(self, *peers: tuple[str, int]) -> int:
        return self.code(Method.CREATE_PERMISSION, *((Attribute.XOR_PEER_ADDRESS, peer) for peer in peers))

    def bind(self, channel: int, peer: tuple[str, int]) -> int:
        number = (Attribute.CHANNEL_NUMBER, channel)
        return self.code(Method.CHANNEL_BIND, number, (Attribute.XOR_PEER_ADDRESS, peer))


def code_of(message: StunMessage | None) -> int:
    """Return the error code of an answer; 0 is success."""
    assert message is not None
    error = message.get(Attribute.ERROR_CODE)
    return 0 if error is None else int(error[0])


def relayed(message: StunMessage, family: int = IPV4) -> tuple[str, int]:
    """Return the relayed address of a family in an answer."""
    found = [
        address for address in message.get_all(Attribute.XOR_RELAYED_ADDRESS) if (":" in address[0]) == (family == 2)
    ]
    host, port = found[0]
    return host, port
