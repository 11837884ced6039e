"""Whether a session outlives the end of its connection."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from librats.peers.links.paths import PathKeeper
from librats.runtime.tasks import TaskSet
from librats.types import Address, ConnectionMethod, PathPolicy

if TYPE_CHECKING:
    from librats.services.session import Link

THERE = Address("192.0.2.7", 5000)
JUST_NOW, LONG_AGO = 9.0, 11.0


class Told(SimpleNamespace):
    """What a session says of itself."""

    __hash__ = object.__hash__  # type: ignore[assignment]


def session(method: ConnectionMethod, reached_at: tuple[Address, ...] = (), **fields: Any) -> Link:
    """A session that has moved at 0 s."""
    made = Told(
        method=method,
        reached_at=reached_at,
        clock=0.0,
        path_token=b"token",
        peer_id="ab" * 32,
        address=THERE,
        has_joinings=False,
        peer_may_be_elsewhere=False,
        can_move=True,
        **fields,
    )
    made.now = lambda: made.clock
    return cast("Link", made)


class Keeper(PathKeeper):
    """One that notes whom it looks for."""

    def __init__(self, *, may_ask: bool = True, policy: PathPolicy = PathPolicy.AUTO, dials: bool = True) -> None:
        super().__init__({}, TaskSet())
        self.may_ask, self.policy = lambda _: may_ask, policy
        self.dial = cast("Any", object()) if dials else None
        self.direct_methods = (ConnectionMethod.UDP, ConnectionMethod.TCP)
        self.once: list[bool] = []

    def rescue(self, link: Link, *, once: bool = False, after: float = 0.0) -> None:
        self.once.append(once)


def outlives(keeper: PathKeeper, link: Link, error: Exception, at: float) -> bool:
    keeper.ready(link)
    cast("Any", link).clock = at
    return keeper.lost(link, error)


@pytest.mark.parametrize("reached_at", [(), (THERE,)])
def test_a_reset_over_udp_right_after_a_move_is_outlived_where_introducers_can_be_asked(
    reached_at: tuple[Address, ...],
) -> None:
    keeper = Keeper()
    assert outlives(keeper, session(ConnectionMethod.UDP, reached_at), ConnectionResetError(), JUST_NOW)
    assert keeper.once == [False]


@pytest.mark.parametrize(
    "keeper",
    [Keeper(may_ask=False), Keeper(policy=PathPolicy.DIRECT_ONLY), Keeper(dials=False)],
    ids=["nobody to ask", "the policy does not let it", "does not dial"],
)
def test_a_session_ends_where_there_is_nobody_to_ask_and_no_address(keeper: Keeper) -> None:
    assert not outlives(keeper, session(ConnectionMethod.UDP), ConnectionResetError(), JUST_NOW)
    assert keeper.once == []


def test_a_reset_over_udp_long_after_a_move_is_the_end() -> None:
    assert not outlives(Keeper(), session(ConnectionMethod.UDP, (THERE,)), ConnectionResetError(), LONG_AGO)


@pytest.mark.parametrize("at", [JUST_NOW, LONG_AGO])
def test_a_reset_over_tcp_has_each_known_way_tried_once_and_nobody_asked(at: float) -> None:
    keeper = Keeper()
    assert not outlives(keeper, session(ConnectionMethod.TCP), ConnectionResetError(), at)
    assert outlives(keeper, session(ConnectionMethod.TCP, (THERE,)), ConnectionResetError(), at)
    assert keeper.once == [True]
