"""What two peers tell each other in sealed letters: JSON objects, whose unknown members are skipped."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from librats.errors import DecodeError

__all__ = ["Letter"]

MAX_NUMBER = (1 << 53) - 1
MAX_RTT_MS = 60_000.0
LETTER_ID = r"^[0-9a-f]{32}$"


class Letter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An offer, an answer, a further letter, or a refusal.

    Example:
        >>> letter = Letter(id="00" * 16, time=1_700_000_000_000, ice={"ufrag": "evtj"}, rtt_ms=20.5)
        >>> Letter.decode(letter.encode()).ice
        {'ufrag': 'evtj'}
    """

    id: Annotated[str, msgspec.Meta(pattern=LETTER_ID)]
    """16 random bytes in hex, those of the offer in all letters that belong to it."""

    time: Annotated[int, msgspec.Meta(ge=0, le=MAX_NUMBER)] = 0
    """When an offer was sealed, by its sender's clock: milliseconds since 1970."""

    ice: dict[str, Any] | None = None
    """An ICE description."""

    candidates: list[str] = []
    """Further candidates, each a candidate attribute."""

    end_of_candidates: bool = False
    """Whether no more will come."""

    rtt_ms: Annotated[float, msgspec.Meta(ge=0, le=MAX_RTT_MS)] | None = None
    """Round trip between the sender and the introducer, in milliseconds, where it is known."""

    seen: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """IP address at which the introducer sees the sender."""

    nat: Annotated[str, msgspec.Meta(max_length=32)] = ""
    """What stands in front of the sender, in a word of :class:`~librats.NatType`; empty where it does not know."""

    no_relay: bool = False
    """In an offer: whether neither side may use a TURN server."""

    punch: dict[str, Any] | None = None
    """What hole punching beyond ICE needs."""

    carried: bool = False
    """In an offer: whether the introducer carries the beginning of the session, which the target may take."""

    moves: bool = False
    """In an offer: whether it is for the session that the two have already, which is to go another way."""

    hello: dict[str, Any] | None = None
    """In an answer: the target's hello, where it lets the caller in by the session that is carried."""

    refused: Annotated[str, msgspec.Meta(max_length=32)] = ""
    """In an answer: a code for why there will be no connection."""

    words: Annotated[str, msgspec.Meta(max_length=1024)] = ""
    """The same in words for people."""

    def encode(self) -> bytes:
        """Return it as JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, letter: bytes) -> Letter:
        """Read a letter.

        Raises:
            DecodeError: It is no such object.
        """
        try:
            return msgspec.json.decode(letter, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise DecodeError(f"a letter that does not parse: {error}") from error
