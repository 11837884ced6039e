"""Functions that read arguments, such that argparse shows in their own words what they complain of."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from librats.errors import ConfigError, UsageError

__all__ = ["checked"]


def checked(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return the function such that argparse shows in its own words what it complains of."""

    def check(text: str) -> Any:
        try:
            return parse(text)
        except ConfigError as error:  # argparse names the option: the field of the configuration says no more
            raise argparse.ArgumentTypeError(str(error).removeprefix(f"{error.field}: ")) from None
        except UsageError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return check
