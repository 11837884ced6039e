"""What a handler's signature tells: whether it can be called, and with what type of data."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import logging
import sys
import typing
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec

from librats.errors import UsageError

__all__ = ["annotated_model", "check_parameters"]

logger = logging.getLogger("librats.peers")

DATA = 1
"""Position of a handler's data among its parameters."""


def check_parameters(handler: Callable[..., Any], *names: str) -> None:
    """Check that a handler can be called with so many arguments, before the first message finds that it cannot.

    Raises:
        UsageError: It takes more of them, or fewer.
    """
    try:
        # What a wrapper passes on to the function within it is the wrapper's affair.
        signature = inspect.signature(handler, follow_wrapped=False)
    except (TypeError, ValueError):  # some callables written in C have no signature
        return
    try:
        signature.bind(*names)
    except TypeError as error:
        called = getattr(handler, "__name__", "the handler")
        raise UsageError(f"a handler is called with ({', '.join(names)}); {called}{signature}: {error}") from None


def annotated_model(handler: Callable[..., Any]) -> Any:
    """Return the msgspec Struct or dataclass that a handler's second parameter is annotated with.

    Anything else, ``dict`` and ``int`` for example, is None: such annotations have always been for readers only.
    """
    annotation = _annotation(handler)
    if isinstance(annotation, str):
        annotation = _resolve(annotation, handler)
    origin = typing.get_origin(annotation) or annotation
    if isinstance(origin, type) and (issubclass(origin, msgspec.Struct) or dataclasses.is_dataclass(origin)):
        return annotation
    return None


def _annotation(handler: Callable[..., Any]) -> Any:
    try:
        if sys.version_info >= (3, 14):  # there an annotation is evaluated when it is asked for, and may fail
            import annotationlib  # noqa: PLC0415 - a module of that version

            signature = inspect.signature(handler, annotation_format=annotationlib.Format.FORWARDREF)
        else:
            signature = inspect.signature(handler)
    except (TypeError, ValueError):  # some callables written in C have no signature
        return None
    parameters = list(signature.parameters.values())
    if len(parameters) <= DATA or parameters[DATA].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ):
        return None
    annotation = parameters[DATA].annotation
    return annotation.__forward_arg__ if isinstance(annotation, typing.ForwardRef) else annotation


def _resolve(annotation: str, handler: Callable[..., Any]) -> Any:
    """Return what an annotation that is a string stands for, as the handler's module sees it.

    The other annotations stay as they are: they often name what is imported for type checkers only.
    """
    named = SimpleNamespace(__annotations__={"data": annotation})
    try:
        return typing.get_type_hints(named, getattr(_function(handler), "__globals__", {}))["data"]
    except Exception as error:  # an annotation is an expression of the application's
        logger.warning(
            "messages for %s are not validated: its annotation %r means nothing there (%s); "
            "give model=, with Any for whatever comes",
            getattr(handler, "__qualname__", handler),
            annotation,
            error,
        )
        return None


def _function(handler: Any) -> Any:
    """Return the function within methods, partial functions, wrappers and callable objects."""
    while not inspect.isfunction(handler := inspect.unwrap(handler)):
        if isinstance(handler, functools.partial):
            handler = handler.func
        elif inspect.ismethod(handler):
            handler = handler.__func__
        elif inspect.ismethod(call := getattr(handler, "__call__", None)):  # noqa: B004 - the method itself is wanted
            handler = call
        else:
            break
    return handler
