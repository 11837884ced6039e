"""Values of the DHT as JSON. Bencode has bytes where JSON has texts.

Bytes that are UTF-8 are the text. Others are a text of ``hex:`` and their hex digits, and so are those which begin with
``hex:`` themselves, so that nothing is told wrong.
"""

from __future__ import annotations

from typing import Any

from librats.errors import UsageError

__all__ = ["json_of", "value_of"]

MARK = "hex:"
MAX_DEPTH = 100


def json_of(value: Any) -> Any:
    """Return the JSON form of a decoded value.

    Args:
        value: Numbers, bytes, lists, and dictionaries with keys of bytes.

    Example:
        >>> json_of({b"name": "ü".encode(), b"id": bytes([255, 0]), b"n": [1, b"hex:00"]})
        {'name': 'ü', 'id': 'hex:ff00', 'n': [1, 'hex:6865783a3030']}
    """
    if isinstance(value, bytes):
        return _text(value)
    if isinstance(value, list):
        return [json_of(item) for item in value]
    if isinstance(value, dict):
        return {_text(key): json_of(item) for key, item in value.items()}
    return value


def _text(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return MARK + value.hex()
    return MARK + value.hex() if text.startswith(MARK) else text


def value_of(data: Any, depth: int = 0) -> Any:
    """Return what a JSON value stands for: the other way round.

    Args:
        data: Whole numbers, texts, lists and objects of these.
        depth: How deep it lies.

    Raises:
        UsageError: Something else is in it, or what follows ``hex:`` are no hex digits.

    Example:
        >>> value_of({"name": "ü", "id": "hex:ff00", "n": [1]})
        {b'name': b'\\xc3\\xbc', b'id': b'\\xff\\x00', b'n': [1]}
    """
    if depth > MAX_DEPTH:
        raise UsageError("the value is nested too deep")
    if isinstance(data, str):
        return _bytes(data)
    if isinstance(data, list):
        return [value_of(item, depth + 1) for item in data]
    if isinstance(data, dict):
        return {_bytes(key): value_of(item, depth + 1) for key, item in data.items()}
    if isinstance(data, int) and not isinstance(data, bool):
        return data
    raise UsageError(f"a value of the DHT has whole numbers, texts, lists and objects, and no {data!r}")


def _bytes(text: str) -> bytes:
    if not text.startswith(MARK):
        return text.encode(errors="surrogatepass")
    try:
        return bytes.fromhex(text.removeprefix(MARK))
    except ValueError:
        raise UsageError(f"after {MARK!r} come hex digits, unlike {text!r}") from None
