"""Payloads of messages: what may be sent as JSON, bytes or text, and what is taken."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

from librats._core.byte_queue import ByteQueue
from librats._core.messages import MessageRun, json_nests_deeper
from librats._core.shortcut import Shortcut, encode_within
from librats.config import SessionConfig
from librats.errors import DecodeError, UsageError
from librats.session.frames import MAX_NAME, Kind

__all__ = [
    "PLAIN_TYPES",
    "Payload",
    "as_buffer",
    "decode_payload",
    "decode_run",
    "encode_json",
    "encode_name",
    "encode_value",
    "json_shortcut",
]

PLAIN_TYPES = frozenset({dict, list, tuple, str, int, float, bool, type(None)})
"""What most applications send and return; none of them is a buffer, or can be awaited."""

JSON, TEXT, BYTES = Kind.JSON, Kind.TEXT, Kind.BYTES
"""The members, which take long to look up in their class."""

Payload = tuple[Kind, bytes | bytearray | memoryview]

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


@lru_cache(maxsize=1024)
def encode_name(name: str) -> bytes:
    """Encode the name of a message type, channel or stream protocol.

    Raises:
        UsageError: It is not a string, or longer than 255 bytes of UTF-8.
    """
    if not isinstance(name, str):
        raise UsageError(f"a name is a string, not {type(name).__name__}")
    try:
        encoded = name.encode()
    except UnicodeEncodeError as error:
        raise UsageError("a name with lone surrogates has no UTF-8 form") from error
    if len(encoded) > MAX_NAME:
        raise UsageError(f"a name has at most {MAX_NAME} bytes of UTF-8, not {len(encoded)}")
    return encoded


def encode_json(data: Any, config: SessionConfig) -> bytes:
    """Encode a value as compact JSON. NaN and infinity become null, as in the C++ library.

    Raises:
        UsageError: It has no JSON form, or is longer or deeper than the limits allow.
    """
    try:
        text = _encode(data)
    except (TypeError, ValueError, OverflowError, msgspec.MsgspecError, RecursionError) as error:
        raise UsageError(f"not JSON: {error}") from error
    if len(text) > config.max_json_size or json_nests_deeper(text, config.max_json_depth):
        raise _over_a_limit(text, config)
    return text


def json_shortcut(queue: ByteQueue, beside: ByteQueue | None, config: SessionConfig, max_payload: int) -> Shortcut:
    """Return the short way into a queue, for values that :func:`encode_json` would take.

    Args:
        queue: Where messages wait.
        beside: Counts as well for what is queued, where there is one.
        config: Limits on JSON.
        max_payload: Longest payload that both sides take, in bytes.
    """
    return Shortcut(queue, beside, _encode, min(config.max_json_size, max_payload), config.max_json_depth)


def _over_a_limit(text: bytes, config: SessionConfig) -> UsageError:
    if len(text) > config.max_json_size:
        return UsageError(
            f"{len(text)} bytes of JSON are over max_json_size ({config.max_json_size}); "
            "send them as bytes or through a stream, or raise the limit on both sides"
        )
    return UsageError(f"JSON nested deeper than max_json_depth ({config.max_json_depth})")


def as_buffer(data: Any) -> bytes | bytearray | memoryview:
    """Return a buffer's bytes without copying them.

    Raises:
        UsageError: It is no contiguous buffer.
    """
    if isinstance(data, bytes | bytearray):
        return data
    try:
        view = memoryview(data)
    except (TypeError, ValueError, BufferError) as error:
        raise UsageError(f"bytes are sent from a contiguous buffer: {error}") from error
    if not view.c_contiguous:
        raise UsageError("bytes are sent from a contiguous buffer; this one has gaps, make a copy of it")
    if view.format == "O":
        raise UsageError("an array of Python objects has no bytes to send, only addresses of this process")
    return view.cast("B") if view.nbytes else b""


def encode_value(data: Any, config: SessionConfig) -> Payload:
    """Encode what a request carries or a handler returns: buffers as bytes, everything else as JSON.

    Raises:
        UsageError: It has no JSON form, is no contiguous buffer, or is over a limit.
    """
    if type(data) in PLAIN_TYPES:
        text = encode_within(_encode, data, config.max_json_size, config.max_json_depth)
        return JSON, encode_json(data, config) if text is None else text
    if not _is_buffer(data):
        return JSON, encode_json(data, config)
    view = as_buffer(data)
    if len(view) > config.max_message_size:
        raise UsageError(f"{len(view)} bytes are over max_message_size ({config.max_message_size})")
    return BYTES, view


def _is_buffer(data: Any) -> bool:
    try:
        memoryview(data)
    except (TypeError, ValueError, BufferError):
        return False
    return True


def decode_payload(
    kind: int, payload: bytes, config: SessionConfig, decode_json: Callable[[bytes], Any] = _decode
) -> Any:
    """Decode what arrived.

    Args:
        kind: What it says it is.
        payload: What arrived.
        config: Limits on JSON.
        decode_json: A msgspec decoder of some type.

    Raises:
        DecodeError: It is not what it says it is, or over a limit.
    """
    if kind == JSON:
        if len(payload) > config.max_json_size:
            raise DecodeError(f"{len(payload)} bytes of JSON are over max_json_size ({config.max_json_size})")
        if json_nests_deeper(payload, config.max_json_depth):
            raise DecodeError(f"JSON nested deeper than max_json_depth ({config.max_json_depth})")
        try:
            return decode_json(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
            raise DecodeError(f"not JSON: {error}") from error
    if kind == TEXT:
        try:
            return payload.decode()
        except UnicodeDecodeError as error:
            raise DecodeError("text that is not UTF-8", error.start) from error
    if kind == BYTES:
        return payload
    raise DecodeError(f"a payload of unknown kind {kind}")


def decode_run(
    run: MessageRun, first: int, count: int, config: SessionConfig, decode_array: Callable[[bytes], Any] = _decode
) -> list[Any] | None:
    """Decode messages of one type together.

    Args:
        run: The messages.
        first: Which is the first one, from 0.
        count: How many; fewer where the run ends before.
        config: Limits on JSON.
        decode_array: A msgspec decoder of lists of some type.

    Returns:
        Their values; None where one of them has to be looked at on its own.
    """
    if run.kind == BYTES:
        return run.payloads(first, count)
    array = run.json_array(first, count, config.max_json_size, config.max_json_depth)
    if array is None:
        return None
    try:
        values: list[Any] = decode_array(array)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return None
    return values if len(values) == min(count, len(run) - first) else None
