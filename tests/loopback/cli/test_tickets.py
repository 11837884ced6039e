"""Tickets on the command line."""

from __future__ import annotations

from pathlib import Path

from tests.loopback.cli.conftest import LISTEN, Run, Start

from librats.cli.tickets import qr_code
from librats.tickets import Ticket
from librats.types import Address

RELAY = "ab" * 32 + "@relay.example.org:3478"


async def test_an_identity_has_a_ticket_before_its_node_runs(run: Run, tmp_path: Path) -> None:
    places = ("--introducer", RELAY, "--address", "203.0.113.7:8080")
    done = await run("id", "--ticket", "--json", "--data-dir", str(tmp_path / "id"), *places)
    assert done.status == 0, done.stderr
    [shown] = done.events
    ticket = Ticket.parse(shown["ticket"])
    assert ticket.peer_id == shown["peer_id"]
    assert (ticket.addresses, ticket.introducers) == ((Address("203.0.113.7", 8080),), (RELAY,))


async def test_a_node_tells_its_ticket_and_others_connect_with_it(run: Run, start: Start) -> None:
    node = await start("node", "--ticket", "--qr", "--echo", "--json", *LISTEN, home="node")
    ticket = (await node.event_named("ticket"))["ticket"]
    done = await run("connect", ticket, "--request", "echo", "7", "--json", *LISTEN)
    assert done.status == 0, done.stderr
    result, reply = done.events
    assert result["peer_id"] == Ticket.parse(ticket).peer_id
    assert reply["data"] == 7
    told = await node.stop()
    assert "\u2588" in told.stderr or "\u2584" in told.stderr


async def test_what_goes_with_tickets_is_told(run: Run, tmp_path: Path) -> None:
    done = await run("id", "--introducer", RELAY, "--data-dir", str(tmp_path))
    assert done.status == 2
    assert "go with --ticket" in done.stderr
    done = await run("connect", str(Ticket(public_key=bytes(32), verify_key=bytes(32)))[:-1], *LISTEN)
    assert done.status == 2
    assert "not a whole ticket" in done.stderr


def test_a_qr_code_has_a_quiet_border_and_takes_few_lines() -> None:
    lines = qr_code(str(Ticket(public_key=bytes(32), verify_key=bytes(32)))).splitlines()
    assert 15 < len(lines) < 40
