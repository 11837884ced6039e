"""The client's part in the transfer of files: the handle ``client.files``, loaded when it is used first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from librats.peers.events import PeerConnected

if TYPE_CHECKING:
    from librats.config import RatsConfig
    from librats.files_config import FilesConfig
    from librats.memory.remembering import Remembering
    from librats.peers.handling.handlers import HandlerTable
    from librats.peers.manager import PeerManager
    from librats.peers.peer import Peer
    from librats.runtime.network import Network
    from librats.runtime.tasks import TaskSet
    from librats.services.introduction.code_meetings import CodeMeetings
    from librats.services.stream import Stream
    from librats.services.transfer import FilesHandle
    from librats.tickets import Ticket
    from librats.types import Address

__all__ = ["FilingVerbs"]


class FilingVerbs:
    """Mixed into :class:`~librats.RatsClient`."""

    if TYPE_CHECKING:
        _config: RatsConfig
        _handlers: HandlerTable
        _tasks: TaskSet
        _manager: PeerManager | None
        _remembering: Remembering | None

        def _running(self) -> PeerManager:
            """See the client."""

        def _running_network(self) -> Network:
            """See the client."""

        def _find(self, peer: Peer | str) -> Peer:
            """See the client."""

        def _code_meetings(self) -> CodeMeetings:
            """See the client."""

        def ticket(self) -> Ticket:
            """See the client."""

        async def connect(self, target: str | Address | tuple[str, int] | Ticket) -> Peer:
            """See the client."""

    def __init__(self) -> None:
        self._files: FilesHandle | None = None

    @property
    def files(self) -> FilesHandle:
        """Files to and from peers; see :class:`~librats.services.transfer.FilesHandle`.

        Offers of peers are refused before this is used for the first time.
        """
        if self._files is None:
            from librats.services.transfer import FilesHandle  # noqa: PLC0415 - not every client moves files
            from librats.services.transferring.wire import PROTOCOL  # noqa: PLC0415

            self._files = handle = FilesHandle(_Host(self))
            self._handlers.set_stream(PROTOCOL, handle.serve)
            if self._manager is not None:
                self._start_filing(self._manager)
            self._handlers.listen(PeerConnected, lambda event: handle.connected(event.peer.id))
        return self._files

    def _start_filing(self, manager: PeerManager) -> None:
        if self._files is not None:
            manager.file_chunks = self._files.nodes

    async def _stop_filing(self) -> None:
        if self._files is not None:
            if self._manager is not None:
                self._manager.file_chunks = None
            await self._files.stop()

    def _files_statistics(self) -> dict[str, Any] | None:
        return None if self._files is None else self._files.statistics()


class _Host:
    """The client as the transfer of files sees it."""

    def __init__(self, client: FilingVerbs) -> None:
        self._client = client

    @property
    def config(self) -> FilesConfig:
        return self._client._config.files

    @property
    def tasks(self) -> TaskSet:
        return self._client._tasks

    def check_running(self) -> None:
        self._client._running()

    def entropy(self, size: int) -> bytes:
        return self._client._running_network().entropy.token_bytes(size)

    def is_connected(self, peer_id: str) -> bool:
        peer = self._client._running().peers.get(peer_id)
        return peer is not None and peer.is_connected

    def speaks_librats2(self, peer_id: str) -> bool:
        peer = self._client._running().peers.get(peer_id)
        return peer is not None and peer.link.speaks_librats2

    def send_file_chunk(self, peer_id: str, payload: bytes, *, ahead: bool = False) -> bool:
        manager = self._client._manager
        peer = None if manager is None else manager.peers.get(peer_id)
        return peer is not None and peer.link.send_file_chunk(payload, ahead=ahead)

    async def wait_for_room(self, peer_id: str) -> None:
        await self._client._find(peer_id).link.wait_for_room()

    def ticket(self) -> Ticket:
        return self._client.ticket()

    def codes(self) -> CodeMeetings:
        return self._client._code_meetings()

    def hasten(self, peer_id: str) -> None:
        if self._client._remembering is not None:
            self._client._remembering.hasten(peer_id)

    async def connect(self, ticket: Ticket) -> str:
        return (await self._client.connect(ticket)).id

    async def open_stream(self, peer_id: str, protocol: str) -> Stream:
        return await self._client._find(peer_id).open_stream(protocol)
