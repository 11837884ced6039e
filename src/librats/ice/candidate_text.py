"""Candidates as text: the candidate attribute of RFC 8839, 5.1, and as JSON. What a peer wrote is read strictly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NoReturn

from librats.errors import DecodeError
from librats.ice.candidates import MAX_COMPONENT, MAX_PRIORITY, CandidateType, IceCandidate, TcpType
from librats.types import Address

__all__ = ["candidate_from_json", "format_candidate", "parse_candidate"]

MAX_LENGTH = 1024
MAX_EXTENSIONS = 16
MAX_PORT = 65535
FIXED_FIELDS = 8
PREFIXES = ("a=candidate:", "candidate:")

_FOUNDATION = re.compile(r"[A-Za-z0-9+/]{1,32}")
_TOKEN = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]{1,32}")
_NAME = re.compile(r"(?=.{1,253}$)(?!-)[A-Za-z0-9-]{1,63}(\.(?!-)[A-Za-z0-9-]{1,63})+")
_PRINTABLE = re.compile(r"[\x21-\x7e\x80-\U0010ffff]{1,256}")


def _fail(what: str) -> NoReturn:
    raise DecodeError(f"candidate: {what}")


def _number(text: str, name: str, digits: int, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= digits and low <= int(text) <= high):
        _fail(f"{name} is no number from {low} to {high}")
    return int(text)


def _host(text: str, name: str) -> str:
    # A zone says nothing on another host, and a name that looks like a number is none.
    if "%" not in text and Address(text, 0).is_literal:
        return text
    if _NAME.fullmatch(text) is None or text.rpartition(".")[2].isdigit():
        _fail(f"{name} is neither an IP address nor a name")
    return text.lower()


def _kind(text: str) -> CandidateType:
    try:
        return CandidateType(text)
    except ValueError:
        _fail("its type is none of host, srflx, prflx and relay")


def _tcp_type(transport: str, text: str) -> TcpType | None:
    if transport != "tcp":
        return None
    try:
        return TcpType(text)
    except ValueError:
        _fail("its tcptype is none of active, passive and so")


def parse_candidate(text: str) -> IceCandidate:
    """Read a candidate attribute, with or without ``candidate:`` or ``a=candidate:`` before it.

    Args:
        text: What a peer wrote, at most 1,024 characters.

    Raises:
        DecodeError: It is not of the form of RFC 8839, 5.1, or of a type that is not known.

    Example:
        >>> parse_candidate("candidate:1 1 udp 2130706431 192.0.2.7 8998 typ host").address
        Address(host='192.0.2.7', port=8998)
    """
    if not isinstance(text, str) or len(text) > MAX_LENGTH:
        _fail(f"it is no text of at most {MAX_LENGTH} characters")
    for prefix in PREFIXES:
        if text.startswith(prefix):
            text = text[len(prefix) :]
            break
    fields = text.split(" ")
    if len(fields) < FIXED_FIELDS or len(fields) % 2:
        _fail("fields are missing")
    foundation, component, transport, priority, host, port, typ, kind = fields[:FIXED_FIELDS]
    if typ != "typ":
        _fail("it has no type")
    pairs = list(zip(fields[FIXED_FIELDS::2], fields[FIXED_FIELDS + 1 :: 2], strict=True))
    related = _take_related(pairs)
    if len(pairs) > MAX_EXTENSIONS or not all(_TOKEN.fullmatch(n) and _PRINTABLE.fullmatch(v) for n, v in pairs):
        _fail("its extensions are too many, or malformed")
    if _FOUNDATION.fullmatch(foundation) is None:
        _fail("its foundation is not of 1 to 32 letters, digits, + and /")
    if _TOKEN.fullmatch(transport) is None:
        _fail("its transport is no token")
    name = transport.lower()
    tcp_type = _tcp_type(name, next((value for key, value in pairs if key == "tcptype"), ""))
    return IceCandidate(
        foundation=foundation,
        component=_number(component, "its component", 3, 1, MAX_COMPONENT),
        transport=name,
        priority=_number(priority, "its priority", 10, 1, MAX_PRIORITY),
        address=Address(_host(host, "its address"), _number(port, "its port", 5, 0, MAX_PORT)),
        type=_kind(kind),
        related=related,
        tcp_type=tcp_type,
        extensions=tuple(pair for pair in pairs if not (pair[0] == "tcptype" and tcp_type is not None)),
    )


def _take_related(pairs: list[tuple[str, str]]) -> Address | None:
    """Take raddr and rport, which stand first, off the pairs of names and values."""
    host = port = None
    if pairs and pairs[0][0] == "raddr":
        host = _host(pairs.pop(0)[1], "raddr")
    if pairs and pairs[0][0] == "rport":
        port = _number(pairs.pop(0)[1], "rport", 5, 0, MAX_PORT)
    return None if host is None else Address(host, port or 0)


def format_candidate(candidate: IceCandidate) -> str:
    """Write a candidate attribute, with ``candidate:`` before it.

    Example:
        >>> line = "candidate:2 1 udp 1694498815 203.0.113.9 5000 typ srflx raddr 10.0.0.1 rport 8998"
        >>> format_candidate(parse_candidate(line)) == line
        True
    """
    address = candidate.address
    words = [
        f"candidate:{candidate.foundation} {candidate.component} {candidate.transport} {candidate.priority}",
        f"{address.host.partition('%')[0]} {address.port} typ {candidate.type}",
    ]
    if candidate.related is not None:
        words.append(f"raddr {candidate.related.host.partition('%')[0]} rport {candidate.related.port}")
    if candidate.tcp_type is not None:
        words.append(f"tcptype {candidate.tcp_type}")
    words += [f"{name} {value}" for name, value in candidate.extensions]
    return " ".join(words)


def candidate_from_json(value: object) -> IceCandidate:
    """Read a candidate of a description: a text, or what :meth:`~IceCandidate.to_json` returns.

    A dictionary with the text under ``candidate``, as browsers have it, will do, too.

    Raises:
        DecodeError: It is none of these.
    """
    if isinstance(value, IceCandidate):
        return value
    if isinstance(value, str):
        return parse_candidate(value)
    if not isinstance(value, Mapping):
        _fail("it is neither a text nor a dictionary")
    if "candidate" in value:
        return parse_candidate(value["candidate"])
    return parse_candidate(_text_of(value))


def _text_of(value: Mapping[str, Any]) -> str:
    """Write a dictionary as the text that it stands for, so that one reader judges both."""

    def plain(name: str, default: object = "") -> str:
        found = value.get(name, default)
        if isinstance(found, bool) or not isinstance(found, str | int):
            _fail(f"{name} is neither a text nor a number")
        return str(found) if isinstance(found, str) or abs(found) <= MAX_PRIORITY else _fail(f"{name} is too large")

    extensions = value.get("extensions", [])
    if not isinstance(extensions, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(text, str) for text in pair)  # noqa: PLR2004
        for pair in extensions
    ):
        _fail("its extensions are no pairs of texts")
    words = [plain(name) for name in ("foundation",)]
    words += [plain("component", 1), plain("transport", "udp"), plain("priority"), plain("address"), plain("port")]
    words += ["typ", plain("type")]
    if "related_address" in value:
        words += ["raddr", plain("related_address"), "rport", plain("related_port", 0)]
    if "tcptype" in value:
        words += ["tcptype", plain("tcptype")]
    for name, text in extensions:
        words += [name, text]
    return " ".join(words)
