"""Tickets on the command line: as text, and as QR codes that a telephone reads from the terminal."""

from __future__ import annotations

import argparse
import io

from librats.cli.output import Output
from librats.errors import UsageError
from librats.tickets import Ticket

__all__ = ["add_ticket_options", "qr_code", "require_qr", "show_qr"]


def add_ticket_options(parser: argparse._ActionsContainer, *, what: str) -> None:
    """Add ``--ticket`` and ``--qr``.

    Args:
        parser: Where.
        what: What ``--ticket`` does.
    """
    parser.add_argument("--ticket", action="store_true", help=what)
    parser.add_argument("--qr", action="store_true", help="the same with a QR code of it, which takes librats[cli]")


def require_qr(args: argparse.Namespace) -> None:
    """Check, before anything is begun, that a QR code can be made where one is wanted.

    Raises:
        UsageError: What makes it is not installed.
    """
    if args.qr:
        qr_code("")


def qr_code(text: str) -> str:
    """Return a QR code for a terminal, two rows of it in a line.

    Args:
        text: What it says, all of it in lower case.

    Raises:
        UsageError: What makes it is not installed.
    """
    try:
        import segno  # noqa: PLC0415 - of an extra
    except ImportError:
        raise UsageError("a QR code takes the package segno: pip install 'librats[cli]'") from None
    out = io.StringIO()
    # Capitals take fewer dots, and tickets are the same in them.
    segno.make_qr(text.upper() or "-", error="l").terminal(out, border=2, compact=True)
    return out.getvalue().rstrip("\n")


def show_qr(args: argparse.Namespace, output: Output, ticket: Ticket) -> None:
    """Show a ticket as a QR code where that is wanted."""
    if args.qr:
        output.say(qr_code(str(ticket)))
