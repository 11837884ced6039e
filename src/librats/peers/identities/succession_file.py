"""Which identities a node had before, in ``successions.json``, and the change of the key beside that file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from librats.errors import DecodeError, StoreError
from librats.peers.identities.succession import MAX_CHAIN, Succession, chain_to
from librats.peers.identity import Identity
from librats.peers.keeping.private_files import remove_leftovers
from librats.peers.keeping.store import JsonFile

__all__ = ["put_in_place", "read_successions", "rotate"]

logger = logging.getLogger("librats.peers")

MAX_SIZE = 64 * 1024


def read_successions(directory: Path, identity: Identity) -> list[Succession]:
    """Return the records that lead to an identity, the oldest first. It blocks.

    A file that is damaged is set aside with a warning. A record of an identity that never came to be, because the
    process was killed before its key was in place, is left out.
    """
    file = _file(directory)
    remove_leftovers(file.path)
    try:
        document = file.read()
    except StoreError as error:
        kept = error.is_newer or isinstance(error.__cause__, OSError)
        logger.warning("%s; going on without%s", error, "" if kept else f", set aside as {file.set_aside()}")
        return []
    texts = document.get("records") if document is not None else []
    records = []
    for text in texts if isinstance(texts, list) else ():
        try:
            records.append(Succession.decode(bytes.fromhex(text)))
        except (DecodeError, TypeError, ValueError) as error:
            logger.warning("%s: %s", file.path, error)
    return chain_to(identity, records)


def rotate(directory: Path, identity: Identity, *, created: int) -> Succession:
    """Make another identity and put it in place of the one that a directory keeps. It blocks.

    Args:
        directory: The data directory, which is this process's alone.
        identity: The identity that it keeps.
        created: Seconds since 1970.

    Returns:
        The record of the change.

    Raises:
        StoreError: The records cannot be written.
        IdentityError: The key cannot be written.
    """
    successor = Identity.generate()
    record = Succession.make(identity, successor, created=created)
    put_in_place(directory, successor, [*read_successions(directory, identity), record][-MAX_CHAIN:])
    return record


def put_in_place(directory: Path, identity: Identity, records: Sequence[Succession]) -> None:
    """Put another identity in place of the one that a directory keeps. It blocks.

    The records are written first: killed between the two, a process leaves the old identity, and a record that leads
    nowhere.

    Args:
        directory: The data directory, which is this process's alone.
        identity: The new identity.
        records: How the old one leads to it, the oldest first.

    Raises:
        StoreError: The records cannot be written.
        IdentityError: The key cannot be written.
    """
    _file(directory).write({"records": [record.encode().hex() for record in records]})
    identity.replace(directory)


def _file(directory: Path) -> JsonFile:
    return JsonFile(directory / "successions.json", format="librats-successions", version=1, max_size=MAX_SIZE)
