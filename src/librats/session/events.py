"""What a session machine tells its driver. What carries payloads comes as :mod:`librats._core.messages` has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from librats._core.messages import Message, MessageRun, ReplyReceived
from librats.session.frames import FRAME_COST, Kind

if TYPE_CHECKING:
    from librats.session.exchange import KnownPeer
    from librats.session.librats2_punch import Envelope
    from librats.session.librats2_wire import Identify
    from librats.session.streams import StreamState

__all__ = [
    "DatagramReceived",
    "Event",
    "FileChunkReceived",
    "FollowsReceived",
    "GoAwayReceived",
    "HelloReceived",
    "IdentifyReceived",
    "IntroductionReceived",
    "Message",
    "MessageRun",
    "PathBroken",
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


class RequestFailed(Struct, frozen=True):
    """The peer answered one of our requests with an error."""

    request_id: int
    code: str
    message: str


class RequestExpired(Struct, frozen=True):
    """One of our requests was not answered in time; the peer is being told."""

    request_id: int


class RequestCancelled(Struct, frozen=True):
    """The peer no longer wants the answer to one of its requests."""

    request_id: int


class FollowsReceived(Struct, frozen=True):
    """What the peer sends from here on comes after what it has sent on other links."""

    links: tuple[tuple[bytes, int], ...]
    """Ids of those links, and how many messages and requests were sent on each."""

    cost: int
    """What it took of the message window."""


class DatagramReceived(Struct, frozen=True):
    """An unreliable message."""

    kind: Kind
    payload: bytes


class HelloReceived(Struct, frozen=True):
    """The peer accepted the session and tells about itself."""

    payload: bytes


class SuccessionReceived(Struct, frozen=True):
    """The peer tells that it has, or had, another identity."""

    payload: bytes


class IdentifyReceived(Struct, frozen=True):
    """A librats 2 node tells about itself."""

    identify: Identify


class PeersWanted(Struct, frozen=True):
    """The peer asks for others."""

    most: int


class PeersOffered(Struct, frozen=True):
    """The peer tells of others; asked for or not."""

    entries: tuple[KnownPeer, ...]


class PunchReceived(Struct, frozen=True):
    """A librats 2 node passes on a word about hole punching, or wants one passed on."""

    envelope: Envelope


class FileChunkReceived(Struct, frozen=True):
    """A librats 2 node says something about files. It counts as unhandled until :meth:`consumed` is told its cost."""

    payload: bytes

    @property
    def cost(self) -> int:
        """What it takes of the window of messages."""
        return FRAME_COST + len(self.payload)


class IntroductionReceived(Struct, frozen=True):
    """The peer introduces, wants to be introduced, or answers."""

    body: bytes


class PongReceived(Struct, frozen=True):
    """The answer to a ping."""

    token: bytes
    rtt: float


class StreamOpened(Struct, frozen=True):
    """The peer opened a stream: accept or refuse it."""

    stream: StreamState


class StreamChanged(Struct, frozen=True):
    """A stream has data, room, an end or an error that it had not before."""

    stream: StreamState


class GoAwayReceived(Struct, frozen=True):
    """The peer ends the session."""

    code: str
    message: str


class PathStalled(Struct, frozen=True):
    """What was sent has not been acknowledged for so long that the path may be dead."""


class PathBroken(Struct, frozen=True):
    """What comes over the path is not what the peer has sent; nothing more is taken from it."""

    message: str


class SessionFailed(Struct, frozen=True):
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
    | FileChunkReceived
    | SuccessionReceived
    | IntroductionReceived
    | PongReceived
    | StreamOpened
    | StreamChanged
    | GoAwayReceived
    | PathBroken
    | PathStalled
    | SessionFailed
)
