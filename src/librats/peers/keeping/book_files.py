"""The peer book on the disk: ``peers.json`` and ``peers_ever.json`` in the data directory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from librats.errors import UsageError
from librats.peer_ids import is_peer_id
from librats.peers.book import MAX_ADDRESSES, MAX_TEXT, KnownPeer, PeerBook, PeerEver
from librats.peers.keeping.store import KeptFile, Saver
from librats.types import Address

__all__ = ["BookFiles"]

MAX_SIZE = 64 * 1024 * 1024

Entry = TypeVar("Entry", KnownPeer, PeerEver)


class _EntryList:
    """One file with an object of entries by peer id."""

    def __init__(self, path: Path, format: str) -> None:
        self._file = KeptFile(path, format=format, version=1, max_size=MAX_SIZE)
        self._others: dict[str, Any] = {}

    def load(self, kind: type[Entry]) -> dict[str, Entry]:
        """Read the entries; what cannot be read is set aside with a warning, and the rest is used."""
        self._others = {}
        document = self._file.load()
        if document is None:
            return {}
        entries, damaged = _entries(document.get("peers"), kind)
        self._file.note_damaged(damaged)
        self._others = {name: value for name, value in document.items() if name != "peers"}
        return entries

    def save(self, entries: Mapping[str, KnownPeer | PeerEver]) -> None:
        """Write the entries.

        Raises:
            StoreError: They cannot be written.
        """
        self._file.save({**self._others, "peers": {peer_id: _form(entry) for peer_id, entry in entries.items()}})


class BookFiles:
    """Keeps a peer book in a directory, which is this process's alone.

    Args:
        book: The book.
        directory: The data directory.
    """

    def __init__(self, book: PeerBook, directory: Path) -> None:
        self._book = book
        self._peers = _EntryList(directory / "peers.json", "librats-peers")
        self._ever = _EntryList(directory / "peers_ever.json", "librats-peers-ever")
        self._saver: Saver | None = None

    def load(self) -> None:
        """Fill the book from the files. It blocks. Files that are damaged are set aside, and the book goes on."""
        self._book.restore(self._peers.load(KnownPeer), self._ever.load(PeerEver))

    def start(self) -> None:
        """Write what changes in the book from now on, soon after."""
        self._saver = Saver(self._save, self._book.snapshot)
        self._book.changed = self._saver.changed

    async def flush(self) -> None:
        """Write what has changed, and wait until it is on the disk."""
        if self._saver is not None:
            await self._saver.flush()

    async def close(self) -> None:
        """Write what has changed, and nothing more. Idempotent."""
        self._book.changed = _nothing
        saver, self._saver = self._saver, None
        if saver is not None:
            await saver.close()

    def _save(self, both: tuple[dict[str, KnownPeer], dict[str, PeerEver]]) -> None:
        self._peers.save(both[0])
        self._ever.save(both[1])


def _nothing() -> None:
    pass


def _entries(members: object, kind: type[Entry]) -> tuple[dict[str, Entry], int]:
    """Return the entries that are sound, and how many are not."""
    if not isinstance(members, dict):
        return {}, 1
    entries: dict[str, Entry] = {}
    for peer_id, form in members.items():
        entry = _entry(peer_id, form, kind)
        if entry is not None:
            entries[peer_id] = entry
    return entries, len(members) - len(entries)


def _entry(peer_id: str, form: object, kind: type[Entry]) -> Entry | None:
    if not is_peer_id(peer_id) or not isinstance(form, dict):
        return None
    try:
        entry = msgspec.convert(_split(form, kind), kind)
        for text in _addresses_in(entry):
            Address.parse(text)
    except (msgspec.ValidationError, UsageError):
        return None
    return entry


def _addresses_in(entry: KnownPeer | PeerEver) -> list[str]:
    """Return every address of an entry, but what the peer itself has said, which may be anything.

    Raises:
        UsageError: There are too many, or they are too long.
    """
    if isinstance(entry, PeerEver):
        texts, said = [entry.address] if entry.address else [], list[str]()
    else:
        texts, said = list(entry.addresses), list(entry.listen)
    if max(len(texts), len(said)) > MAX_ADDRESSES or any(len(text) > MAX_TEXT for text in (*texts, *said)):
        raise UsageError("more addresses than a book has")
    return texts


def _split(form: dict[str, Any], kind: type[KnownPeer | PeerEver]) -> dict[str, Any]:
    """Move members that this version does not know into one of their own."""
    known = {name: form[name] for name in kind.__struct_fields__ if name in form and name != "unknown"}
    others = {name: value for name, value in form.items() if name not in known}
    addresses = known.get("addresses")
    if isinstance(addresses, dict):
        known["addresses"] = {text: _split_address(address) for text, address in addresses.items()}
    return {**known, "unknown": others} if others else known


def _split_address(form: Any) -> Any:
    if not isinstance(form, dict):
        return form
    known = {name: form[name] for name in ("last_success", "last_failure", "failures") if name in form}
    others = {name: value for name, value in form.items() if name not in known}
    return {**known, "unknown": others} if others else known


def _form(entry: KnownPeer | PeerEver) -> KnownPeer | PeerEver | dict[str, Any]:
    """Return what the file has for an entry: the entry itself, but where another version's members go with it."""
    if not entry.unknown and not (
        isinstance(entry, KnownPeer) and any(address.unknown for address in entry.addresses.values())
    ):
        return entry
    form: dict[str, Any] = msgspec.to_builtins(entry)
    addresses = form.get("addresses", {})
    for text, address in addresses.items():
        addresses[text] = {**(address.pop("unknown", None) or {}), **address}
    return {**(form.pop("unknown", None) or {}), **form}
