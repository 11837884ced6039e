"""What a session machine tells its driver. What carries payloads comes as :mod:`librats._core.messages` has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from librats._core.messages import Message, MessageRun, ReplyReceived
from librats.session.frames import Kind

if TYPE_CHECKING:
    from librats.session.exchange import KnownPeer
    from librats.session.librats2_punch import Envelope
    from librats.session.librats2_wire import Identify
    from librats.session.streams import StreamState

__all__ = [
    "DatagramReceived",
    "Event",
    "FollowsReceived",
    "GoAwayReceived",
    "HelloReceived",
    "IdentifyReceived",
    "IntroductionReceived",
    "Message",
    "MessageRun",
    "PathStalled",
    "PeersOffered",
    "PeersWanted",
    "PongReceived",
    "PunchReceived",
    "ReplyReceived",
    "RequestCancelled",
    "RequestExpired",
    "RequestFailed",
    "SessionFailed",
    "StreamChanged",
    "StreamOpened",
    "SuccessionReceived",
]


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """The peer answered one of our requests with an error."""

    request_id: int
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class RequestExpired:
    """One of our requests was not answered in time; the peer is being told."""

    request_id: int


@dataclass(frozen=True, slots=True)
class RequestCancelled:
    """The peer no longer wants the answer to one of its requests."""

    request_id: int


@dataclass(frozen=True, slots=True)
class FollowsReceived:
    """What the peer sends from here on comes after what it has sent on other links."""

    links: tuple[tuple[bytes, int], ...]
    """Ids of those links, and how many messages and requests were sent on each."""

    cost: int
    """What it took of the message window."""


@dataclass(frozen=True, slots=True)
class DatagramReceived:
    """An unreliable message."""

    kind: Kind
    payload: bytes


@dataclass(frozen=True, slots=True)
class HelloReceived:
    """The peer accepted the session and tells about itself."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class SuccessionReceived:
    """The peer tells that it has, or had, another identity."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class IdentifyReceived:
    """A librats 2 node tells about itself."""

    identify: Identify


@dataclass(frozen=True, slots=True)
class PeersWanted:
    """The peer asks for others."""

    most: int


@dataclass(frozen=True, slots=True)
class PeersOffered:
    """The peer tells of others; asked for or not."""

    entries: tuple[KnownPeer, ...]


@dataclass(frozen=True, slots=True)
class PunchReceived:
    """A librats 2 node passes on a word about hole punching, or wants one passed on."""

    envelope: Envelope


@dataclass(frozen=True, slots=True)
class IntroductionReceived:
    """The peer introduces, wants to be introduced, or answers."""

    body: bytes


@dataclass(frozen=True, slots=True)
class PongReceived:
    """The answer to a ping."""

    token: bytes
    rtt: float


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The peer opened a stream: accept or refuse it."""

    stream: StreamState


@dataclass(frozen=True, slots=True)
class StreamChanged:
    """A stream has data, room, an end or an error that it had not before."""

    stream: StreamState


@dataclass(frozen=True, slots=True)
class GoAwayReceived:
    """The peer ends the session."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class PathStalled:
    """What was sent has not been acknowledged for so long that the path may be dead."""


@dataclass(frozen=True, slots=True)
class SessionFailed:
    """This side gave the session up."""

    code: str
    message: str


Event: TypeAlias = (
    Message
    | MessageRun
    | ReplyReceived
    | RequestFailed
    | RequestExpired
    | RequestCancelled
    | FollowsReceived
    | DatagramReceived
    | HelloReceived
    | IdentifyReceived
    | PeersWanted
    | PeersOffered
    | PunchReceived
    | SuccessionReceived
    | IntroductionReceived
    | PongReceived
    | StreamOpened
    | StreamChanged
    | GoAwayReceived
    | PathStalled
    | SessionFailed
)
