"""A live view of a relay: what it does now, as ``top`` shows what a machine does."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import time
from typing import Any

from librats.cli.output import plain
from librats.cli.progress import readable_size
from librats.relay.server import RelayServer
from librats.relay.statistics import RelayStatistics

__all__ = ["Top"]

_INTERVAL = 1.0
_USERS = 15


class Top:
    """Draws the figures on standard error every second: a table where rich is installed, else a line.

    Args:
        server: The relay.
    """

    def __init__(self, server: RelayServer) -> None:
        self._server = server
        self._before = server.statistics()
        self._at = time.monotonic()

    async def show(self) -> None:
        """Draw until cancelled."""
        if not (sys.stderr.isatty() and importlib.util.find_spec("rich")):
            while True:
                await asyncio.sleep(_INTERVAL)
                print(", ".join(f"{name} {value}" for name, value in self._rows()), file=sys.stderr, flush=True)
        from rich.console import Console  # noqa: PLC0415 - optional
        from rich.live import Live  # noqa: PLC0415

        with Live(self._table(), console=Console(stderr=True), screen=True, auto_refresh=False) as live:
            while True:
                await asyncio.sleep(_INTERVAL)
                live.update(self._table(), refresh=True)

    def _table(self) -> Any:
        from rich.console import Group  # noqa: PLC0415 - optional
        from rich.table import Table  # noqa: PLC0415

        figures = Table(title="librats relay", show_header=False)
        for name, value in self._rows():
            figures.add_row(name, value)
        users = Table("user", "allocations")
        most = sorted(self._before.users.items(), key=lambda item: -item[1])
        for user, count in most[:_USERS]:
            users.add_row(plain(user) or "(anybody)", str(count))
        return Group(figures, users)

    def _rows(self) -> list[tuple[str, str]]:
        """Return what happened since the last call, and what there is."""
        now, at = self._server.statistics(), time.monotonic()
        before, self._before = self._before, now
        seconds, self._at = max(at - self._at, 1e-3), at
        return rows(before, now, seconds)


def rows(before: RelayStatistics, now: RelayStatistics, seconds: float) -> list[tuple[str, str]]:
    """Return names and values for people to read.

    Args:
        before: The figures some time ago.
        now: The figures.
        seconds: How long ago.
    """
    answered = sum(now.answers.values()) - sum(before.answers.values())
    refused = sum(n for (_, code), n in now.answers.items() if code)
    refused -= sum(n for (_, code), n in before.answers.items() if code)
    dropped = sum(now.dropped.values()) - sum(before.dropped.values())
    return [
        ("allocations", f"{now.allocations}{' (draining)' if now.draining else ''}"),
        ("connections", str(now.connections)),
        ("packets/s", f"{(now.packets - before.packets) / seconds:,.0f}"),
        ("traffic/s", readable_size((now.bytes - before.bytes) / seconds)),
        ("dropped/s", f"{dropped / seconds:,.0f}"),
        ("answers/s", f"{answered / seconds:,.0f}"),
        ("refusals/s", f"{refused / seconds:,.0f}"),
    ]
