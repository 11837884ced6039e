"""Values handed to a handler until something has to be looked at."""

from __future__ import annotations

import pytest

from librats._core.handing import Changes, Handing


def test_a_handler_gets_each_value_with_the_peer() -> None:
    called: list[object] = []
    handing = Handing([1, None, "three"], Changes())
    assert handing.go_on(lambda peer, value: called.append((peer, value)), "peer") is None
    assert called == [("peer", 1), ("peer", None), ("peer", "three")]
    assert handing.handled == 3


def test_it_goes_on_behind_a_value_for_which_something_was_returned() -> None:
    handing = Handing([1, 2, 3, 4], Changes())
    assert handing.go_on(lambda _, value: value if value % 2 == 0 else None, None) == 2
    assert handing.handled == 2
    assert handing.go_on(lambda _, value: value if value % 2 == 0 else None, None) == 4
    assert handing.go_on(lambda _, value: value, None) is None


def test_it_goes_on_behind_a_value_for_which_the_handler_raised() -> None:
    called: list[float] = []
    handing = Handing([1, 0, 2], Changes())
    with pytest.raises(ZeroDivisionError):
        handing.go_on(lambda _, value: called.append(2 / value), None)
    assert handing.handled == 2
    assert handing.go_on(lambda _, value: called.append(2 / value), None) is None
    assert called == [2, 1]


def test_a_change_ends_it() -> None:
    changes = Changes()
    handing = Handing([1, 2, 3], changes)
    assert handing.go_on(lambda _, value: changes.add() if value == 2 else None, None) is None
    assert (handing.handled, changes.count) == (2, 1)
    assert handing.go_on(lambda _, value: value, None) is None
    assert handing.handled == 2
