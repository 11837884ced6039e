"""Models: the types that JSON payloads are decoded into, and so validated by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import msgspec

from librats._core.messages import MessageRun
from librats.config import SessionConfig
from librats.errors import DecodeError, UsageError, ValidationError
from librats.session.frames import Kind
from librats.session.payloads import decode_payload, decode_run

__all__ = ["Model", "model_of"]

MAX_WORDS = 300
"""Characters of a reason that are kept: it may quote what the peer sent."""

OTHER_KINDS: dict[int, str] = {Kind.BYTES: "bytes", Kind.TEXT: "text"}


class Model:
    """A type, and how a payload becomes one of its values.

    Args:
        type: A msgspec Struct, a dataclass, or any other type that msgspec validates.

    Raises:
        UsageError: No JSON can be a value of the type.
    """

    __slots__ = ("_decode", "_decode_array", "type")

    def __init__(self, type: Any) -> None:
        self.type = type
        """The type."""
        self._decode_array: Callable[[bytes], Any] | None
        try:
            parts = list(_types_within(msgspec.inspect.type_info(type), set()))
            self._decode = msgspec.json.Decoder(type).decode
            self._decode_array = msgspec.json.Decoder(list[type]).decode
        except (TypeError, ValueError, NameError) as error:
            raise UsageError(f"{_name(type)} cannot be a model: {error}") from error
        for part in parts:
            if isinstance(part, msgspec.inspect.CustomType):
                raise UsageError(f"{_name(type)} cannot be a model: {_name(part.cls)} has no JSON form")
        if any(isinstance(part, msgspec.inspect.RawType) for part in parts):
            self._decode_array = None  # a raw value keeps the text that it is in, which is not to be that of others

    def decode(self, kind: int, payload: bytes, config: SessionConfig) -> Any:
        """Decode what arrived.

        Raises:
            ValidationError: It is JSON, but not of this type; or it is no JSON but bytes or text.
            DecodeError: It is not what it says it is, or over a limit.
        """
        if kind != Kind.JSON:
            raise ValidationError(f"Expected JSON, got {OTHER_KINDS.get(kind, 'something else')}")
        try:
            return decode_payload(kind, payload, config, self._decode)
        except DecodeError as error:
            if isinstance(error.__cause__, msgspec.ValidationError):
                raise _invalid(str(error.__cause__)) from error.__cause__
            raise
        except Exception as error:  # the application's __post_init__ may raise anything
            raise _invalid(f"{type(error).__name__}: {error}") from error

    def decode_run(self, run: MessageRun, first: int, count: int, config: SessionConfig) -> list[Any] | None:
        """Decode messages together; None where one of them does not fit, so that each has to be decoded alone."""
        if self._decode_array is None or run.kind != Kind.JSON:
            return None
        try:
            return decode_run(run, first, count, config, self._decode_array)
        except Exception:  # the application's __post_init__ may raise anything; it is asked again
            return None


def _invalid(words: str) -> ValidationError:
    what, _, path = words.rpartition(" - at ")
    if not what:
        what, path = words, "`$`"
    return ValidationError(what if len(what) <= MAX_WORDS else what[:MAX_WORDS] + "…", path.strip("`"))


def _name(type: Any) -> str:
    return str(getattr(type, "__name__", type))


def _types_within(info: Any, seen: set[int]) -> Iterator[Any]:
    """Yield what msgspec tells of a type, and of every type within it."""
    if isinstance(info, msgspec.inspect.Field | msgspec.inspect.Type):
        if id(info) in seen:
            return
        seen.add(id(info))
        yield info
        parts = [getattr(info, name) for name in info.__struct_fields__]
    elif isinstance(info, tuple):
        parts = list(info)
    else:
        return
    for part in parts:
        yield from _types_within(part, seen)


@lru_cache(maxsize=256)
def _kept_model(type: Any) -> Model:
    return Model(type)


def model_of(type: Any) -> Model | None:
    """Return the model of a type, the same one each time; None for ``Any`` and None, which take whatever comes.

    Raises:
        UsageError: No JSON can be a value of the type.
    """
    if type is None or type is Any:
        return None
    try:
        hash(type)
    except TypeError:  # annotated with something that has no hash
        return Model(type)
    return _kept_model(type)
