"""The handle ``client.paths`` of the blocking client."""

from __future__ import annotations

from librats.blocking.bridge import Bridge
from librats.blocking.peer import Peer, Peers
from librats.peers.links.path_handle import PathsHandle as AsyncHandle
from librats.types import Address, ConnectionMethod, PathPolicy

__all__ = ["PathsHandle"]


class PathsHandle:
    """How sessions get to their peers; see :class:`librats.PathsHandle`. Comes from the client."""

    def __init__(self, handle: AsyncHandle, bridge: Bridge, peers: Peers) -> None:
        self._handle = handle
        self._bridge = bridge
        self._peers = peers

    def __repr__(self) -> str:
        """Show the policy."""
        return repr(self._handle)

    @property
    def policy(self) -> PathPolicy:
        """Which ways sessions may go."""
        return self._handle.policy

    @property
    def relayed_addresses(self) -> list[Address]:
        """Where this client can be dialled on TURN servers now; see :attr:`librats.PathsHandle.relayed_addresses`."""
        return self._bridge.call(lambda: self._handle.relayed_addresses)

    def set_policy(self, policy: PathPolicy | str) -> None:
        """Choose which ways sessions may go from now on; see :meth:`librats.PathsHandle.set_policy`."""
        self._bridge.wait(self._handle.set_policy, policy)

    def move(
        self,
        peer: Peer | str,
        address: Address | str | None = None,
        *,
        method: ConnectionMethod | str | None = None,
    ) -> None:
        """Move the session with a peer to another way; see :meth:`librats.PathsHandle.move`."""
        self._bridge.wait(self._handle.move, self._peers.async_form(peer), address, method=method)

    def permit(self, peer: Address | str) -> None:
        """Let somebody dial this client at its relayed addresses; see :meth:`librats.PathsHandle.permit`."""
        self._bridge.wait(self._handle.permit, peer)
