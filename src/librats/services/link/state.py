"""What a link knows of itself: the ground under its verbs, its events and its end."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from librats.config import SessionConfig
from librats.errors import PeerNotConnected, RatsError
from librats.services.link.owner import LinkOwner
from librats.services.link.retirement import Retirement
from librats.services.link.waiting import Waiters
from librats.services.stream import Stream
from librats.session.datagrams import SealedDatagrams
from librats.session.frames import Reason
from librats.session.librats2 import Librats2Session
from librats.session.machine import Session
from librats.session.opening import BlockOpening, Opened, PlainOpened
from librats.session.opening_clock import OpeningClock
from librats.session.order import LINK_ID_SIZE
from librats.session.shared_limits import SharedLimits
from librats.types import Address, ConnectionMethod, Entropy

if TYPE_CHECKING:
    from librats.services.link.joining import Joining
    from librats.services.session import Link

__all__ = ["LinkState"]

UNKNOWN = Address("", 0)
LOST: tuple[str, str] = (Reason.LOST, "the connection was lost")


class LinkState:
    """State and questions of a :class:`~librats.services.session.Link`, which describes the arguments."""

    __slots__ = (
        "_clock",
        "_closing",
        "_config",
        "_connected",
        "_datagrams",
        "_deaf",
        "_entropy",
        "_flush_handle",
        "_frozen",
        "_grace",
        "_held_back",
        "_is_path_broken",
        "_joinings",
        "_just_consumed",
        "_loop",
        "_opening",
        "_opening_buffer",
        "_owner",
        "_paused",
        "_presumed",
        "_processing",
        "_retirement",
        "_said_all",
        "_said_goodbye",
        "_session",
        "_shared",
        "_spoke_first",
        "_streams",
        "_timer",
        "_timer_at",
        "_transport",
        "_unconfirmed_from",
        "_waiters",
        "_went_back_at",
        "address",
        "admitted",
        "closed",
        "error",
        "initiator",
        "is_spare",
        "local_address",
        "method",
        "opened",
        "own_id",
        "peer_id",
        "reached_at",
        "ready",
        "reason",
        "refused_here",
        "settled",
    )

    def __init__(  # noqa: PLR0915 - a line for each thing that a link knows
        self,
        opening: BlockOpening,
        owner: LinkOwner,
        *,
        initiator: bool,
        config: SessionConfig,
        entropy: Entropy,
        shared: SharedLimits,
        connected: Callable[[Link], bool] | None = None,
        own_id: str = "",
    ) -> None:
        self._opening: BlockOpening | None = opening
        self._opening_buffer: bytearray | None = None
        self._clock: OpeningClock | None = None
        self._owner = owner
        self._connected = connected
        self._config = config
        self._entropy = entropy
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self.initiator = initiator
        """True where this side dialled."""
        self.address = UNKNOWN
        """Where the peer is, as the connection sees it."""
        self.reached_at: tuple[Address, ...] = ()
        """Where the peer can be dialled, for it has been reached there: the last one first."""
        self.method = ConnectionMethod.TCP
        """How the connection leads to the peer."""
        self.local_address = UNKNOWN
        """This side of the connection."""
        self.own_id = own_id
        """Peer id of this side, which may have another one by now."""
        self.peer_id = ""
        """Id of the peer; empty until the handshake is done."""
        self.opened: Opened | PlainOpened | None = None
        """What the handshake left behind, once it is done."""
        self.reason = LOST
        """Code and words for why the link ended."""
        self.error: RatsError | None = None
        """Why the handshake failed, or None."""
        self.admitted = False
        """True once the owner has let the peer in; until then its messages wait."""
        self.ready = False
        """True once both sides have let each other in."""
        self.is_spare = False
        """True where this side dialled it but had another one to the same peer sooner."""
        self.refused_here = False
        """True where it was this side that did not let the other in."""
        self._presumed: bytes | None = None
        self._retirement = Retirement(self._loop, self.request_flush)
        self._session: Session | Librats2Session | None = None
        self._transport: asyncio.Transport | None = None
        self._datagrams: SealedDatagrams | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._flush_handle: asyncio.Handle | None = None
        self._paused = False
        self._frozen = False
        self._is_path_broken = False
        self._went_back_at = -math.inf
        self._joinings: dict[Joining, None] = {}
        self._grace: asyncio.TimerHandle | None = None
        self._held_back = False
        self._processing = False
        self._just_consumed = 0
        self._closing = False
        self._deaf = False
        self._said_goodbye = False
        self._said_all = False
        self._spoke_first = False
        # Blocks received when this side went over to a path to which the peer may not have gone; None where it has.
        self._unconfirmed_from: int | None = None
        self._streams: dict[int, Stream] = {}
        self._waiters = Waiters(self._loop)
        self.closed: asyncio.Future[None] = self._loop.create_future()
        """Done when the connection is gone."""
        self.settled: asyncio.Future[None] = self._loop.create_future()
        """Done when both sides have let each other in, or the connection is gone; cancelled with the one who waits."""

    def __repr__(self) -> str:
        """Show direction, address and peer."""
        arrow = "to" if self.initiator else "from"
        return f"<Link {arrow} {self.address} peer={self.peer_id[:8] or 'unknown'}>"

    @property
    def session(self) -> Session | Librats2Session:
        """The session machine.

        Raises:
            PeerNotConnected: The handshake is not done.
        """
        if self._session is None:
            raise PeerNotConnected("the handshake is not done")
        return self._session

    @property
    def speaks_librats2(self) -> bool:
        """True where the peer is a librats 2 node rather than one of ours."""
        return isinstance(self._session, Librats2Session)

    @property
    def is_between_paths(self) -> bool:
        """True where the connection is gone and the session waits for another one, or for one that is being opened."""
        return self._transport is None and (self._grace is not None or self._frozen) and not self.closed.done()

    @property
    def is_open(self) -> bool:
        """True where messages can be sent."""
        return (
            self._session is not None
            and self._session.failed is None
            and not (self._closing or self._retirement.has_left)
        )

    @property
    def is_usable(self) -> bool:
        """True where both sides still take messages on it."""
        return self.ready and self.is_open and not self._retirement.peer_has_left

    @property
    def retired(self) -> bool:
        """True once another link to the peer has taken over."""
        return self._retirement.begun

    @property
    def order_id(self) -> bytes:
        """What both sides call the link when they tell which messages come after which; empty for librats 2 framing."""
        opened = self.opened
        return opened.handshake_hash[:LINK_ID_SIZE] if isinstance(opened, Opened) and opened.greeting else b""

    @property
    def messages_in_order(self) -> int:
        """How many messages and requests were queued on it; 0 in librats 2 framing, which cannot tell of it."""
        return self._session.messages_in_order if isinstance(self._session, Session) else 0

    def now(self) -> float:
        """Monotonic seconds."""
        return self._loop.time()

    if TYPE_CHECKING:  # what one part of a link asks of another

        def request_flush(self) -> None:
            """See to it that what is queued leaves in this turn of the loop."""

        def pause(self) -> None:
            """Take nothing from the network for now."""

        def resume(self) -> None:
            """Go on taking from the network."""

        def _flush(self, now: float | None = None) -> None:
            """Send what is queued."""

        def _arm_timer(self) -> None:
            """Wake the session machine when it wants that."""

        def _close_transport(self) -> None:
            """Close the connection behind what was written."""
