"""ICE with aioice at the other end: both roles, with and without trickle, with and without TURN."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aioice
import pytest
from tests.interop.relayed import running_relay
from tests.reference.turn_talk import eventually

from librats.config import NatTraversalConfig
from librats.ice.candidate_text import format_candidate
from librats.ice.candidates import CandidateType
from librats.ice.descriptions import IceDescription
from librats.relay.server import RelayServer
from librats.services.ice.agent import IceAgent

pytestmark = pytest.mark.interop

SECONDS = 30.0
DATA = [bytes([number]) * (1 + 61 * number) for number in range(20)]
ROLES = ["controlling", "controlled"]


def stun_of(server: RelayServer) -> tuple[str, int]:
    address = server.addresses[0]
    return address.host, address.port


def settings(server: RelayServer | None, *, relayed: bool) -> NatTraversalConfig:
    if server is None:
        return NatTraversalConfig.offline()
    host, port = stun_of(server)
    turn = (f"turn:bob:secret@{host}:{port}",) if relayed else ()
    return NatTraversalConfig(stun_servers=(f"{host}:{port}",), turn_servers=turn)


@asynccontextmanager
async def theirs(role: str, server: RelayServer | None, *, relayed: bool) -> AsyncIterator[aioice.Connection]:
    options: dict[str, Any] = {"use_ipv6": False}
    if server is not None:
        options["stun_server"] = stun_of(server)
    if relayed and server is not None:
        options |= {"turn_server": stun_of(server), "turn_username": "bob", "turn_password": "secret"}
    connection = aioice.Connection(ice_controlling=role == "controlling", **options)
    try:
        yield connection
    finally:
        await connection.close()


def read(line: str) -> aioice.Candidate:
    return aioice.Candidate.from_sdp(line.removeprefix("candidate:"))


def description_of(
    connection: aioice.Connection, candidates: list[aioice.Candidate], *, complete: bool
) -> dict[str, Any]:
    return IceDescription.from_attributes(
        [
            f"ice-ufrag:{connection.local_username}",
            f"ice-pwd:{connection.local_password}",
            *(f"candidate:{candidate.to_sdp()}" for candidate in candidates),
            *(["end-of-candidates"] if complete else []),
        ]
    ).to_json()


async def assert_they_talk(ours: IceAgent, connection: aioice.Connection) -> None:
    for data in DATA:
        ours.send(data)
        assert await connection.recv() == data
        await connection.send(data[::-1])
        assert await ours.recv() == data[::-1]


async def meet(ours: IceAgent, connection: aioice.Connection, *, trickle: bool) -> None:
    """Tell each side of the other one, all at once or one by one while they check already."""
    await asyncio.gather(ours.gather_candidates(), connection.gather_candidates())
    ours_told = [read(format_candidate(candidate)) for candidate in ours.local_candidates]
    description = ours.local_description
    connection.remote_username, connection.remote_password = description["ufrag"], description["pwd"]
    candidates = connection.local_candidates
    at_once = [] if trickle else candidates
    ours.set_remote_description(description_of(connection, at_once, complete=not trickle))

    async def tell_later() -> None:
        for candidate in ours_told:
            await asyncio.sleep(0.02 if trickle else 0)
            await connection.add_remote_candidate(candidate)
        await connection.add_remote_candidate(None)
        for candidate in candidates if trickle else ():
            await asyncio.sleep(0.02)
            ours.add_remote_candidate(f"candidate:{candidate.to_sdp()}")
        ours.add_remote_candidate(None)

    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
        group.create_task(tell_later())
        group.create_task(ours.connect())
        group.create_task(connection.connect())


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("trickle", [False, True], ids=["whole", "trickle"])
async def test_they_meet_directly(role: str, trickle: bool) -> None:
    other = next(each for each in ROLES if each != role)
    async with IceAgent(role, settings(None, relayed=False)) as ours, theirs(other, None, relayed=False) as connection:
        await meet(ours, connection, trickle=trickle)
        await assert_they_talk(ours, connection)
        selected = ours.statistics().selected
        assert selected is not None
        assert selected.remote.type is CandidateType.HOST


@pytest.mark.parametrize("role", ROLES)
async def test_who_says_the_same_of_the_role_gives_way(role: str) -> None:
    async with IceAgent(role, settings(None, relayed=False)) as ours, theirs(role, None, relayed=False) as connection:
        await meet(ours, connection, trickle=False)
        await assert_they_talk(ours, connection)
        assert (ours.role == "controlling") is not connection.ice_controlling


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("trickle", [False, True], ids=["whole", "trickle"])
async def test_they_meet_at_the_relay_where_nothing_else_is_told(tmp_path: Path, role: str, trickle: bool) -> None:
    other = next(each for each in ROLES if each != role)

    def is_relayed(candidate: Any) -> bool:
        return bool(candidate.type == "relay")

    async with (
        running_relay(tmp_path, allow_peers=()) as server,
        IceAgent(role, settings(server, relayed=True), local_hosts=["127.0.0.1"]) as ours,
        theirs(other, server, relayed=True) as connection,
    ):
        await asyncio.gather(ours.gather_candidates(), connection.gather_candidates())
        description = ours.local_description
        connection.remote_username, connection.remote_password = description["ufrag"], description["pwd"]
        for candidate in filter(is_relayed, ours.local_candidates):
            await connection.add_remote_candidate(read(format_candidate(candidate)))
        await connection.add_remote_candidate(None)
        listed = list(filter(is_relayed, connection.local_candidates))
        ours.set_remote_description(description_of(connection, [] if trickle else listed, complete=not trickle))
        for told in listed if trickle else ():
            asyncio.get_running_loop().call_later(0.05, ours.add_remote_candidate, f"candidate:{told.to_sdp()}")
        async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
            group.create_task(ours.connect())
            group.create_task(connection.connect())
        await assert_they_talk(ours, connection)


@pytest.mark.parametrize("role", ROLES)
async def test_they_learn_of_reflexive_candidates_from_one_server(tmp_path: Path, role: str) -> None:
    other = next(each for each in ROLES if each != role)
    async with (
        running_relay(tmp_path) as server,
        IceAgent(role, settings(server, relayed=False), local_hosts=["127.0.0.1"]) as ours,
        theirs(other, server, relayed=False) as connection,
    ):
        await meet(ours, connection, trickle=False)
        await assert_they_talk(ours, connection)


async def test_its_requests_for_consent_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aioice.ice.CONSENT_INTERVAL", 0.02)
    async with (
        IceAgent("controlling", settings(None, relayed=False)) as ours,
        theirs("controlled", None, relayed=False) as connection,
    ):
        await meet(ours, connection, trickle=False)
        # It gives up after six that are not.
        await eventually(lambda: sum(pair.requests_received for pair in ours.statistics().pairs) > 20)
        await assert_they_talk(ours, connection)
