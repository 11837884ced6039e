"""What :class:`librats._core.allocations.Allocations` must hold, in plain dictionaries."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from librats.errors import UsageError

ANSWER_KEPT = 40.0

Client = tuple[int, bytes, bytes]


@dataclass
class Held:
    client: Client
    expires: float
    username: str
    relays: list[tuple[int, str, int, int, str]]
    transport: int
    lifetime: int
    ticket: int = 0
    answer: bytes = b""
    answered: float = 0.0
    rate: float = 0.0
    permissions: dict[bytes, float] = field(default_factory=dict)
    channels: dict[int, tuple[bytes, float]] = field(default_factory=dict)

    def clashes(self, channel: int, peer: bytes) -> bool:
        return any((n == channel) != (bound == peer) for n, (bound, _) in self.channels.items())

    def drop_expired(self, now: float) -> None:
        self.permissions = {peer: expires for peer, expires in self.permissions.items() if expires > now}
        self.channels = {n: bound for n, bound in self.channels.items() if bound[1] > now}


class ReferenceAllocations:
    """Allocations by number."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.held: dict[int, Held] = {}

    def add(self, number: int, made: Held) -> None:
        taken = number in self.held or any(each.client == made.client for each in self.held.values())
        if taken or len(self.held) >= self.most:
            raise UsageError("it is taken, or there are too many")
        self.held[number] = replace(made, permissions={}, channels={})

    def find(self, number: int) -> Held:
        if number not in self.held:
            raise UsageError("there is none")
        return self.held[number]

    def remove(self, number: int) -> None:
        self.find(number)
        del self.held[number]

    def permit(self, number: int, peer: bytes, expires: float) -> bool:
        self.find(number).permissions[peer] = expires
        return True

    def bind(self, number: int, channel: int, peer: bytes, expires: float, now: float) -> bool:
        held = self.find(number)
        if held.clashes(channel, peer):
            held.drop_expired(now)
            if held.clashes(channel, peer):
                return False
        held.channels[channel] = peer, expires
        return True

    def answer(self, client: Client, answer: bytes, now: float) -> bool:
        for held in self.held.values():
            if held.client == client:
                held.answer, held.answered = answer, now
                return True
        return False

    def expire(self, now: float) -> set[int]:
        gone = {number for number, held in self.held.items() if held.expires <= now}
        for number in gone:
            del self.held[number]
        for held in self.held.values():
            held.drop_expired(now)
            if now - held.answered > ANSWER_KEPT:
                held.answer = b""
        return gone
