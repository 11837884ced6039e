"""The nodes of the DHT that were known last, on the disk: ``dht.nodes`` in the data directory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from librats.dht.addresses import address_of, compact
from librats.dht.node_ids import ID_SIZE
from librats.errors import UsageError
from librats.peers.keeping.store import KeptFile, Saver
from librats.types import Address

__all__ = ["DhtNodesFile"]

MAX_SIZE = 1024 * 1024
MAX_NODES = 2000
MAX_ADDRESSES = 512
ADDRESSES = "addresses"
VERSION = 1

SAVE_DELAY = 180.0
"""Seconds from a change to its way to the disk: nodes come and go all the time."""


class DhtNodesFile:
    """Keeps the nodes that are known, and our own node's id, in a directory which is this process's alone.

    Args:
        directory: The data directory.
    """

    def __init__(self, directory: Path) -> None:
        self._file = KeptFile(directory / "dht.nodes", format="librats-dht-nodes", version=VERSION, max_size=MAX_SIZE)
        self._others: dict[str, Any] = {}
        self._written: object = None
        self._saver: Saver | None = None

    def load(self) -> dict[str, object] | None:
        """Read the file. It blocks. One that is damaged is set aside, one that is newer left alone.

        Returns:
            Our ids and the nodes, as :meth:`librats.services.dht.DhtDriver.save` returns them; what is damaged of them
            is left out. None where there is no such file.
        """
        document = self._file.load()
        if document is None:
            return None
        self._others = {
            name: value for name, value in document.items() if name not in ("id", "id6", "nodes", ADDRESSES)
        }
        own_id, nodes, damaged = _read(document)
        own_id6 = _id_of(document.get("id6"))
        ids, damaged_ids = _ids_of(document.get(ADDRESSES, {}))
        if ids:
            self._others[ADDRESSES] = _hex_of(ids)
        self._file.note_damaged(damaged + damaged_ids)
        own_ids = {"id": own_id} if own_id6 is None else {"id": own_id, "id6": own_id6}
        return {**own_ids, "nodes": nodes} | ({ADDRESSES: ids} if ids else {})

    def start(self, snapshot: Callable[[], Mapping[str, object] | None]) -> None:
        """Write what changes from now on.

        Args:
            snapshot: Returns what :meth:`librats.services.dht.DhtDriver.save` does; None where there is nothing to
                write.
        """
        self._saver = Saver(self._save, snapshot, delay=SAVE_DELAY)

    def changed(self) -> None:
        """Take note that other nodes may be known than before."""
        if self._saver is not None:
            self._saver.changed()

    async def close(self) -> None:
        """Write what has changed, and nothing more. Idempotent."""
        saver, self._saver = self._saver, None
        if saver is not None:
            saver.changed()
            await saver.close()

    def _save(self, snapshot: Mapping[str, object] | None) -> None:
        if snapshot is None or snapshot == self._written:
            return
        nodes = snapshot.get("nodes")
        own_ids = {name: own_id.hex() for name in ("id", "id6") if isinstance(own_id := snapshot.get(name), bytes)}
        if "id" not in own_ids or not isinstance(nodes, list):
            return
        ids = snapshot.get(ADDRESSES)
        if isinstance(ids, dict):
            self._others[ADDRESSES] = _hex_of(ids)
        self._file.save({**self._others, **own_ids, "nodes": [_form(node) for node in nodes[:MAX_NODES]]})
        self._written = snapshot


def _hex_of(ids: dict[str, bytes]) -> dict[str, str]:
    return {host: own_id.hex() for host, own_id in ids.items()}


def _form(node: bytes) -> dict[str, str]:
    """Return what the file has for a node."""
    return {"id": node[:ID_SIZE].hex(), "address": str(address_of(node[ID_SIZE:]))}


def _read(document: dict[str, Any]) -> tuple[bytes | None, list[bytes], int]:
    """Return our id, the nodes, and how many entries are damaged."""
    own_id = _id_of(document.get("id"))
    forms = document.get("nodes")
    if not isinstance(forms, list):
        return own_id, [], 1
    nodes = [_node(form) for form in forms[:MAX_NODES]]
    sound = [node for node in nodes if node is not None]
    return own_id, sound, len(nodes) - len(sound) + (own_id is None)


def _id_of(text: object) -> bytes | None:
    if not isinstance(text, str) or len(text) != 2 * ID_SIZE:
        return None
    try:
        found = bytes.fromhex(text)
    except ValueError:
        return None
    return found if len(found) == ID_SIZE else None


def _ids_of(forms: object) -> tuple[dict[str, bytes], int]:
    """Return our id at each address, and how many entries are damaged."""
    if not isinstance(forms, dict):
        return {}, 1
    found = {host: _id_of(text) for host, text in list(forms.items())[:MAX_ADDRESSES]}
    sound = {host: own_id for host, own_id in found.items() if own_id is not None}
    return sound, len(found) - len(sound)


def _node(form: object) -> bytes | None:
    if not isinstance(form, dict):
        return None
    node_id, address = _id_of(form.get("id")), form.get("address")
    if node_id is None or not isinstance(address, str):
        return None
    try:
        return node_id + compact(*Address.parse(address))
    except UsageError:
        return None
