"""The two ends of an introduction that is under way: the call of who asks, and the offer as who is called has it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from msgspec import Struct

from librats.errors import DecodeError, HandshakeError
from librats.introduce.letters import Letter
from librats.introduce.notices import Notice, Op
from librats.introduce.sealing import MAX_FURTHER, CallerSeal, TargetSeal
from librats.services.introduction.carried import CarriedTransport
from librats.types import Address

if TYPE_CHECKING:
    from librats.services.introducer import Introductions
    from librats.services.session import Link

__all__ = ["Call", "Offered", "Sealing"]

Factory = Callable[[], asyncio.BaseProtocol]


class Sealing(Struct, frozen=True):
    """What letters are sealed and opened with.

    Args:
        private_key: Returns our X25519 key.
        new_key: Makes random bytes for keys.
        protocol: The application's protocol string.
        wall: Seconds since 1970.
    """

    private_key: Callable[[], bytes]
    new_key: Callable[[int], bytes]
    protocol: str
    wall: Callable[[], float]

    def new_letter_id(self) -> str:
        """Return 16 random bytes in hex."""
        return self.new_key(16).hex()

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return int(self.wall() * 1000)


@dataclass(eq=False, slots=True)
class Call:
    """An offer of ours that is under way. Comes from :meth:`Introductions.call`."""

    circle: Introductions = field(repr=False)
    introducer: str
    number: int
    seal: CallerSeal = field(repr=False)
    letter_id: str
    answer: asyncio.Future[Letter] = field(repr=False)
    """The answer; an IntroductionError where there will be none."""

    on_letter: Callable[[Letter], object] | None = None
    """Called with every further letter."""

    early: list[Letter] = field(default_factory=list)

    def send(self, letter: Letter) -> bool:
        """Send a further letter; False where there was no answer yet, or no way."""
        if not self.seal.is_ready:
            return False
        sealed = self.seal.seal_further(letter.encode())
        return self.circle.tell(self.introducer, Notice(Op.ADD, self.number, letter=sealed))

    def listen(self, on_letter: Callable[[Letter], object]) -> None:
        """Hear further letters, those included that have come already."""
        self.on_letter = on_letter
        early, self.early = self.early, []
        for letter in early:  # of which some may be put aside again
            on_letter(letter)

    def carry(self, factory: Factory, address: Address) -> CarriedTransport:
        """Have the introducer, which is at that address, carry a connection to the peer, beside the letters."""
        return self.circle.carried.open(self.introducer, self.number, is_caller=True, address=address, factory=factory)

    def close(self) -> None:
        """Wait for nothing any more; a connection that is carried goes on. Idempotent."""
        self.circle.forget_call(self)


@dataclass(eq=False, slots=True)
class Offered:
    """An offer of somebody else's that is to be answered."""

    circle: Introductions = field(repr=False)
    introducer: str
    number: int
    seal: TargetSeal = field(repr=False)
    letter: Letter
    """The offer."""

    is_answered: bool = False
    further: list[bytes] = field(default_factory=list)
    on_letter: Callable[[Letter], object] | None = None
    carried_to: tuple[Factory, Address] | None = None
    """What makes the protocol of a connection of the caller's that the introducer carries, and where that one is; None
    where none is taken, or not again."""
    carried: Link | None = None
    """The link on that connection, once it has begun."""

    @property
    def caller_id(self) -> str:
        """Who has sealed it."""
        return self.seal.caller_id

    def answer(self, letter: Letter) -> bool:
        """Answer it; False where that cannot leave."""
        self.is_answered = True
        sealed = self.seal.seal(letter.encode())
        sent = self.circle.tell(self.introducer, Notice(Op.ANSWER, self.number, letter=sealed))
        further, self.further = self.further, []
        for each in further:
            self.heard(each)
        return sent

    def refuse(self, code: str, words: str = "") -> None:
        """Answer that there will be no connection, so that the caller knows from whom that is."""
        self.answer(Letter(id=self.letter.id, refused=code, words=words))
        self.close()

    def send(self, letter: Letter) -> bool:
        """Send a further letter, after the answer."""
        sealed = self.seal.seal_further(letter.encode())
        return self.circle.tell(self.introducer, Notice(Op.MORE, self.number, letter=sealed))

    def heard(self, sealed: bytes) -> None:
        """Take a further letter of the caller's."""
        if not self.is_answered:
            if len(self.further) < MAX_FURTHER:  # nobody would open more of them
                self.further.append(sealed)
            else:
                self.circle.note("unexpected", self.introducer, "more letters than an introduction has")
            return
        try:
            letter = Letter.decode(self.seal.open_further(sealed))
        except (HandshakeError, DecodeError) as error:
            self.circle.note("tampered", self.introducer, str(error))
            return
        if self.on_letter is not None:
            self.on_letter(letter)

    def close(self) -> None:
        """Hear nothing more of it. Idempotent."""
        self.circle.forget_offered(self)
