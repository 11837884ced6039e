"""Tickets and codes of what is shared: made here, and taken where somebody has been told one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from librats.errors import TransferError, UsageError
from librats.tickets import Ticket

if TYPE_CHECKING:
    from librats.services.introduction.code_meetings import GivenCode
    from librats.services.transferring.handle import Transfer
    from librats.services.transferring.host import FilesHost
    from librats.services.transferring.offer import Shared

__all__ = ["CODE_PATIENCE", "CodeVerbs"]

CODE_PATIENCE = 15.0
"""Seconds that somebody is looked for who knows the number of a code."""


class CodeVerbs:
    """Mixed into :class:`~librats.services.transfer.FilesHandle`."""

    if TYPE_CHECKING:
        _host: FilesHost

        async def fetch(
            self,
            peers: str,
            content_id: str | bytes,
            folder: str | Path | None = None,
            *,
            overwrite: bool = False,
        ) -> Transfer:
            """See the handle."""

    def ticket(self, shared: Shared) -> Ticket:
        """Return the ticket of what is shared, which :meth:`receive` and ``librats receive`` take.

        ``str()`` of it is one word to hand on. It is good as long as it is shared, and the client can be reached.

        Args:
            shared: What :meth:`FilesHandle.share` has returned.

        Raises:
            UsageError: The client is not running, or encryption is off.
        """
        return dataclasses.replace(self._host.ticket(), content=bytes.fromhex(shared.content_id))

    async def give_code(self, shared: Shared) -> GivenCode:
        """Make a code for what is shared: a number and two words, to be told over the telephone.

        It is good once, for ten minutes, and through the first introducer that gives a place, as well as for peers that
        have a session with this client, as they have on the local network. Whoever comes with another code burns it;
        the ticket stays good.

        Args:
            shared: What :meth:`FilesHandle.share` has returned.

        Raises:
            UsageError: The package ``spake2`` is not installed, the client is not running, or encryption is off.
            IntroductionError: Neither an introducer nor this client has a place.

        Example:
            .. code-block:: python

                shared = await client.files.share("photo.jpg")
                code = await client.files.give_code(shared)
                print("librats receive", code)
                print(await code.wait())
        """
        return await self._host.codes().give(str(self.ticket(shared)).encode())

    async def take_code(self, code: str, *, patience: float = CODE_PATIENCE) -> Ticket:
        """Return the ticket that somebody gives by a code.

        Asked are the introducers and the peers that are connected, or become so meanwhile.

        Args:
            code: What :meth:`give_code` or ``librats send`` has shown; capitals and blanks do not matter.
            patience: Seconds to wait for somebody who knows the number.

        Raises:
            UsageError: The text is no code, the package ``spake2`` is not installed, the client is not running, or
                encryption is off.
            TransferError: Nobody waits under that number (``"unknown_code"``), or under another code
                (``"wrong_code"``), or what comes is no ticket of files (``"bad_code"``).
        """
        given = await self._host.codes().take(code, patience=patience)
        try:
            return _of_files(Ticket.parse(given.decode("ascii")))
        except (UsageError, UnicodeDecodeError):
            raise TransferError("bad_code", "what came by the code is no ticket of files") from None

    async def receive(
        self,
        what: Ticket | str,
        folder: str | Path | None = None,
        *,
        overwrite: bool = False,
        patience: float = CODE_PATIENCE,
    ) -> Transfer:
        """Get what a ticket or a code stands for: connect to whoever shares it, and fetch it.

        Args:
            what: A ticket, its text, or a code.
            folder: Where it is put; the configured one where it is None.
            overwrite: Whether files that are there with other content are replaced.
            patience: Seconds to wait for somebody who knows the number of a code.

        Returns:
            The transfer, which has begun.

        Raises:
            UsageError: It is neither a ticket of files nor a code, or see :meth:`take_code`.
            TransferError: As for :meth:`take_code`.
            ConnectError: Whoever shares it cannot be reached.

        Example:
            .. code-block:: python

                transfer = await client.files.receive("7-acorn-tiger", "Downloads")
                print((await transfer.wait()).path)
        """
        from librats.codes.code import Code  # noqa: PLC0415 - its words are loaded where there are codes

        if isinstance(what, str) and Code.is_one(what):
            ticket = await self.take_code(what, patience=patience)
        else:
            ticket = _of_files(what if isinstance(what, Ticket) else Ticket.parse(what))
        peer_id = await self._host.connect(ticket)
        return await self.fetch(peer_id, ticket.content, folder, overwrite=overwrite)


def _of_files(ticket: Ticket) -> Ticket:
    if not ticket.content:
        raise UsageError("that ticket is of a peer, and not of files")
    return ticket
