"""Who this node is, and the peers it knows and is connected to."""

from __future__ import annotations

from librats.peers.identity import Identity, IdentityLock, default_data_dir

__all__ = ["Identity", "IdentityLock", "default_data_dir"]
