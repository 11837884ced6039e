"""What one side tells the other: credentials, candidates and options, as JSON and as attributes (RFC 8839, 8840)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from msgspec import Struct

from librats.errors import DecodeError
from librats.ice.candidate_text import candidate_from_json, format_candidate, parse_candidate
from librats.ice.candidates import IceCandidate
from librats.types import Entropy

__all__ = ["MAX_CANDIDATES", "OPTIONS", "IceDescription", "new_credentials"]

MAX_CANDIDATES = 64
"""Candidates of one description, and of one side altogether."""

MAX_ATTRIBUTES = 256
MAX_OPTIONS = 16
TRICKLE, ICE2, RENOMINATION = "trickle", "ice2", "renomination"
OPTIONS = (TRICKLE, ICE2, RENOMINATION)
"""What this side can do (RFC 8839, 5.6), written into every description of ours."""

UFRAG_SIZE, PASSWORD_SIZE = 8, 24
ICE_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

_UFRAG = re.compile(r"[A-Za-z0-9+/]{4,256}")
_PASSWORD = re.compile(r"[A-Za-z0-9+/]{22,256}")
_OPTION = re.compile(r"[A-Za-z0-9+/_-]{1,32}")


def _fail(what: str) -> NoReturn:
    raise DecodeError(f"ICE description: {what}")


def new_credentials(entropy: Entropy) -> tuple[str, str]:
    """Return a username fragment of 48 random bits and a password of 144 (RFC 8445, 5.3)."""
    drawn = [ICE_CHARS[byte & 63] for byte in entropy.token_bytes(UFRAG_SIZE + PASSWORD_SIZE)]
    return "".join(drawn[:UFRAG_SIZE]), "".join(drawn[UFRAG_SIZE:])


class IceDescription(Struct, frozen=True, kw_only=True):
    """What one side tells the other. Whoever has it can answer this side's checks: send it over a secure way.

    Example:
        >>> text = {"ufrag": "evtj", "pwd": "VOkJxbRl1RmTxUk/WvJxBt", "candidates": []}
        >>> IceDescription.from_json(text).ufrag
        'evtj'
    """

    ufrag: str
    """Username fragment."""

    password: str
    """Password."""

    candidates: tuple[IceCandidate, ...] = ()
    """Those known so far."""

    complete: bool = False
    """Whether no more will come."""

    options: tuple[str, ...] = ()
    """What that side can do, ``trickle`` for example."""

    def __repr__(self) -> str:
        """Show it without the password."""
        return f"<IceDescription {self.ufrag} candidates={len(self.candidates)} complete={self.complete}>"

    def to_json(self) -> dict[str, Any]:
        """Return it as a dictionary that JSON can hold, candidates as attributes."""
        return {
            "ufrag": self.ufrag,
            "pwd": self.password,
            "options": list(self.options),
            "candidates": [format_candidate(candidate) for candidate in self.candidates],
            "end_of_candidates": self.complete,
        }

    def to_attributes(self) -> list[str]:
        """Return it as the attributes of an SDP fragment, each without ``a=``."""
        return [
            f"ice-ufrag:{self.ufrag}",
            f"ice-pwd:{self.password}",
            *([f"ice-options:{' '.join(self.options)}"] if self.options else []),
            *(format_candidate(candidate) for candidate in self.candidates),
            *(["end-of-candidates"] if self.complete else []),
        ]

    @classmethod
    def from_json(cls, value: object) -> IceDescription:
        """Read what a peer has sent. Candidates of types or transports that are not known are left out.

        Args:
            value: A dictionary, as :meth:`to_json` makes it.

        Raises:
            DecodeError: It has no credentials, or they, or the candidates, are not of the right form or too many.
        """
        if not isinstance(value, Mapping):
            _fail("it is no dictionary")
        listed = value.get("candidates", [])
        options = value.get("options", [])
        if not isinstance(listed, list | tuple) or len(listed) > MAX_CANDIDATES:
            _fail(f"candidates is no list of at most {MAX_CANDIDATES}")
        if not isinstance(options, list | tuple):
            _fail("options is no list")
        complete = value.get("end_of_candidates", False)
        if not isinstance(complete, bool):
            _fail("end_of_candidates is neither true nor false")
        return cls._checked(value.get("ufrag"), value.get("pwd"), _known(listed), complete=complete, options=options)

    @classmethod
    def from_attributes(cls, lines: Iterable[str]) -> IceDescription:
        """Read the attributes of an SDP fragment; those that are not of ICE are skipped.

        Args:
            lines: Each with or without ``a=``.

        Raises:
            DecodeError: As for :meth:`from_json`.
        """
        found: dict[str, str] = {}
        listed = []
        for number, line in enumerate(lines):
            if number >= MAX_ATTRIBUTES or not isinstance(line, str):
                _fail(f"it is no list of at most {MAX_ATTRIBUTES} texts")
            name, _, value = line.strip().removeprefix("a=").partition(":")
            if name == "candidate":
                listed.append(value)
            elif name in ("ice-ufrag", "ice-pwd", "ice-options", "end-of-candidates"):
                found[name] = value
        if len(listed) > MAX_CANDIDATES:
            _fail(f"more than {MAX_CANDIDATES} candidates")
        return cls._checked(
            found.get("ice-ufrag"),
            found.get("ice-pwd"),
            _known(listed),
            complete="end-of-candidates" in found,
            options=found.get("ice-options", "").split(),
        )

    @classmethod
    def _checked(
        cls,
        ufrag: object,
        password: object,
        candidates: tuple[IceCandidate, ...],
        *,
        complete: bool,
        options: Sequence[object],
    ) -> IceDescription:
        if not isinstance(ufrag, str) or _UFRAG.fullmatch(ufrag) is None:
            _fail("ufrag is not of 4 to 256 letters, digits, + and /")
        if not isinstance(password, str) or _PASSWORD.fullmatch(password) is None:
            _fail("pwd is not of 22 to 256 letters, digits, + and /")
        named = tuple(option for option in options if isinstance(option, str) and _OPTION.fullmatch(option))
        if len(named) < len(options) or len(named) > MAX_OPTIONS:
            _fail(f"options are no more than {MAX_OPTIONS} names")
        return cls(ufrag=ufrag, password=password, candidates=candidates, complete=complete, options=named)


def _known(listed: Sequence[object]) -> tuple[IceCandidate, ...]:
    """Read candidates, and leave out what RFC 8839, 5.1 wants to be ignored: unknown types and transports."""
    found = []
    for item in listed:
        candidate = _or_unknown(item)
        if candidate is not None and candidate.transport in ("udp", "tcp"):
            found.append(candidate)
    return tuple(found)


def _or_unknown(item: object) -> IceCandidate | None:
    text = item if isinstance(item, str) else ""
    kind = text.partition(" typ ")[2].partition(" ")[0]
    if kind and kind not in ("host", "srflx", "prflx", "relay"):
        parse_candidate(text.replace(f" typ {kind}", " typ host", 1))  # the rest of it has to be right
        return None
    return candidate_from_json(item)
