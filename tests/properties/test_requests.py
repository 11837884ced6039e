"""Numbers and deadlines of requests, compiled, against a table that looks at every request each time."""

from __future__ import annotations

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from librats._core.aead import Cipher
from librats._core.framing import BlockWriter, FrameQueue
from librats._core.requests import RequestNumbers


@given(seed=st.integers(0, 2**32))
def test_the_first_of_our_deadlines_is_told_and_none_that_was_answered_or_given_up(seed: int) -> None:
    source = random.Random(seed)  # noqa: S311 - nothing here is a secret
    numbers = RequestNumbers(FrameQueue(), 50)
    under_way: dict[int, float] = {}
    now = 0.0
    for _ in range(300):
        now += source.random()
        match source.randrange(5):
            case 0 | 1:
                timeout = source.choice((None, source.random() * 20))
                number = numbers.begin((1, b"x"), b"n", timeout, now)
                assert bool(number) == (len(under_way) < 50)
                if number:
                    assert number not in under_way
                    under_way[number] = math.inf if timeout is None else now + timeout
            case 2 if under_way:
                number = source.choice(list(under_way))
                del under_way[number]
                assert numbers.has_replied(number)
                assert not numbers.has_replied(number)
            case 3 if under_way:
                number = source.choice(list(under_way))
                del under_way[number]
                assert numbers.give_up(number)
                assert not numbers.has_replied(number)
            case _:
                expired = []
                while number := numbers.take_expired(now):
                    expired.append(under_way.pop(number))
                    numbers.give_up(number)
                assert expired == sorted(expired)
                assert all(deadline > now for deadline in under_way.values())
        assert numbers.next_deadline() == min(under_way.values(), default=math.inf)
        assert numbers.count == numbers.most == len(under_way)


def test_what_was_given_up_is_told_once_it_has_left() -> None:
    queue = FrameQueue()
    numbers = RequestNumbers(queue, 50)
    first, second = (numbers.begin((1, b"x"), b"n", None, 0.0) for _ in range(2))
    numbers.give_up(second)
    assert numbers.gone() == []
    writer = BlockWriter(Cipher(bytes(32)))
    writer.begin(1 << 16)
    writer.put_queue(queue)
    writer.finish()
    assert numbers.gone() == [second]
    assert numbers.gone() == []
    assert numbers.count == 1
    assert numbers.has_replied(first)
