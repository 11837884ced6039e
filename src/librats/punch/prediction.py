"""Foretelling the public ports of a NAT that gives them out one after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from msgspec import Struct

__all__ = ["Prediction", "foretell"]

FIRST_PORT, LAST_PORT = 1024, 65535
MAX_STEP = 256


class Prediction(Struct, frozen=True):
    """What comes after the ports that were seen."""

    last: int
    """The latest of them."""

    step: int
    """From one to the next; below 0 where they fall."""

    others: float
    """How many ports others take, for each one that is taken here."""

    def window(self, size: int, *, stride: int = 1) -> list[int]:
        """Return the next ports, the first to come first; each once.

        Args:
            size: How many.
            stride: How many steps lie between two of them.
        """
        ports = (self._port(1 + number * stride) for number in range(size))
        return list(dict.fromkeys(ports))

    def _port(self, steps: int) -> int:
        span = LAST_PORT - FIRST_PORT + 1
        return (self.last + steps * self.step - FIRST_PORT) % span + FIRST_PORT


def foretell(ports: Sequence[int], *, step: int | None = None) -> Prediction | None:
    """Learn how a NAT counts from public ports that were made one after the other, traffic of others in between.

    The step is what all distances are multiples of; one jump, where the NAT began its range anew, is no matter.

    Args:
        ports: At least two, in the order in which they were made.
        step: What was found out earlier, for where these tell nothing.

    Returns:
        None where there is no pattern.

    Example:
        >>> foretell([40000, 40002, 40004, 40010]).window(3)
        [40012, 40014, 40016]
        >>> foretell([51234, 40111, 62345]) is None
        True
    """
    if not ports:
        return None
    gaps = [b - a for a, b in pairwise(ports) if b != a]
    near = [gap for gap in gaps if abs(gap) <= MAX_STEP]
    ups = sum(gap > 0 for gap in near)
    way = 1 if 2 * ups >= len(near) else -1
    same_way = [abs(gap) for gap in near if gap * way > 0]
    if not same_way or 2 * len(same_way) <= len(gaps) - 1:
        return None if step is None else Prediction(ports[-1], step, 0.0)
    found = math.gcd(*same_way)
    taken = sum(gap // found for gap in same_way)
    return Prediction(ports[-1], way * found, taken / len(same_way) - 1)
