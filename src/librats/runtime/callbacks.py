"""Calls of the application's functions that must not stop the library's own work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

__all__ = ["call_safely"]

Value = TypeVar("Value")


def call_safely(callback: Callable[[Value], object] | None, value: Value, *, owner: object) -> None:
    """Call a function of the application, where there is one; what it raises goes to the loop's exception handler.

    Args:
        callback: The function.
        value: Its argument.
        owner: Who calls it, for the message.
    """
    if callback is None:
        return
    try:
        callback(value)
    except Exception as error:
        context = {"message": f"a callback of {owner!r} failed", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)
