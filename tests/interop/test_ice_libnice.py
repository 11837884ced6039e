"""ICE with libnice at the other end: both roles, both nominations, whole or trickled, with TURN, and over TCP."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest
from tests.interop.nice_peer import NicePeer, running_peer
from tests.interop.relayed import running_relay
from tests.reference.turn_talk import eventually

from librats.config import NatTraversalConfig
from librats.ice.candidate_text import format_candidate
from librats.ice.candidates import CandidateType
from librats.ice.descriptions import IceDescription
from librats.services.ice.agent import IceAgent

pytestmark = pytest.mark.interop

SECONDS = 30.0
DATA = [bytes([number]) * (1 + 61 * number) for number in range(20)]
ROLES = ["controlling", "controlled"]
NOMINATIONS = ["regular", "aggressive"]
USER = ("bob", "secret")


def other_than(role: str) -> str:
    return next(each for each in ROLES if each != role)


async def meet(ours: IceAgent, theirs: NicePeer, *, kind: str = "") -> None:
    """Tell each side of the other one all at once, of candidates of one kind where it is named, and wait for a way."""
    await asyncio.gather(ours.gather_candidates(), theirs.gathered.wait())
    theirs.tell_credentials(ours.local_description)
    told = [format_candidate(candidate) for candidate in ours.local_candidates]
    told, heard = ([one for one in some if f"typ {kind}" in one] for some in (told, theirs.candidates))
    for candidate in told:
        theirs.tell_candidate(candidate)
    theirs.tell_candidate(None)
    description = IceDescription.from_attributes([*theirs.attributes, *heard, "end-of-candidates"])
    ours.set_remote_description(description.to_json())
    await asyncio.wait_for(asyncio.gather(ours.connect(), theirs.way), SECONDS)


async def meet_trickling(ours: IceAgent, theirs: NicePeer) -> None:
    """Tell each side of candidates one by one, while both check already."""
    await ours.gather_candidates()
    await theirs.gathered.wait()
    theirs.tell_credentials(ours.local_description)
    ours.set_remote_description(IceDescription.from_attributes(theirs.attributes).to_json())
    connecting = asyncio.gather(ours.connect(), theirs.way)
    for told in (*map(format_candidate, ours.local_candidates), None):
        await asyncio.sleep(0.02)
        theirs.tell_candidate(told)
    for heard in (*theirs.candidates, None):
        await asyncio.sleep(0.02)
        ours.add_remote_candidate(heard)
    await asyncio.wait_for(connecting, SECONDS)


async def assert_they_talk(ours: IceAgent, theirs: NicePeer) -> None:
    async with asyncio.timeout(SECONDS):
        for data in DATA:
            ours.send(data)
            assert await theirs.heard.get() == data
            theirs.send(data[::-1])
            assert await ours.recv() == data[::-1]


@pytest.mark.parametrize("nomination", NOMINATIONS)
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("trickle", [False, True], ids=["whole", "trickle"])
async def test_they_meet_directly(role: str, nomination: str, trickle: bool) -> None:
    async with (
        IceAgent(role, NatTraversalConfig.offline(), local_hosts=["127.0.0.1"]) as ours,
        running_peer(other_than(role), nomination=nomination) as theirs,
    ):
        await (meet_trickling if trickle else meet)(ours, theirs)
        await assert_they_talk(ours, theirs)
        selected = ours.statistics().selected
        assert selected is not None
        assert selected.remote.type is CandidateType.HOST


@pytest.mark.parametrize("role", ROLES)
async def test_who_says_the_same_of_the_role_gives_way(role: str) -> None:
    async with (
        IceAgent(role, NatTraversalConfig.offline(), local_hosts=["127.0.0.1"]) as ours,
        running_peer(role) as theirs,
    ):
        await meet(ours, theirs)
        await assert_they_talk(ours, theirs)


@pytest.mark.parametrize("role", ROLES)
async def test_they_meet_at_relayed_candidates_where_nothing_else_is_told(tmp_path: Path, role: str) -> None:
    async with running_relay(tmp_path) as server:
        host, port = server.addresses[0].host, server.addresses[0].port
        config = NatTraversalConfig(stun_servers=(f"{host}:{port}",), turn_servers=(f"turn:bob:secret@{host}:{port}",))
        async with (
            IceAgent(role, config, local_hosts=["127.0.0.1"]) as ours,
            running_peer(other_than(role), relayed=True, server=(host, port), user=USER) as theirs,
        ):
            await meet(ours, theirs, kind="relay")
            await assert_they_talk(ours, theirs)
            assert (await theirs.way)[0] == "relay"
            selected = ours.statistics().selected
            assert selected is not None
            assert selected.remote.type is CandidateType.RELAYED


@pytest.mark.parametrize("role", ROLES)
async def test_they_meet_over_tcp_where_it_has_nothing_else(role: str) -> None:
    async with (
        IceAgent(
            role, dataclasses.replace(NatTraversalConfig.offline(), ice_tcp=True), local_hosts=["127.0.0.1"]
        ) as ours,
        running_peer(other_than(role), transport="tcp") as theirs,
    ):
        await meet(ours, theirs)
        await assert_they_talk(ours, theirs)
        selected = ours.statistics().selected
        assert selected is not None
        assert selected.remote.transport == "tcp"


@pytest.mark.long
async def test_its_requests_for_consent_are_answered() -> None:
    async with (
        IceAgent("controlling", NatTraversalConfig.offline(), local_hosts=["127.0.0.1"]) as ours,
        running_peer("controlled") as theirs,
    ):
        await meet(ours, theirs)
        before = sum(pair.requests_received for pair in ours.statistics().pairs)
        await eventually(lambda: sum(pair.requests_received for pair in ours.statistics().pairs) > before)
        await assert_they_talk(ours, theirs)
