"""Something secret goes by a code: through an introducer that both know, and between two that are connected."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.simulation.conftest import Simulate, start_client
from tests.simulation.test_introducers import IPV4, hosts
from tests.simulation.test_public_introducers import meeting

from librats import IntroductionError, NatTraversalConfig, Ticket, TransferError, UsageError
from librats.introduce.notices import Refusal
from librats.services.introduction.code_meetings import CodeOutcome, GivenCode
from librats.testing import SimNetwork

CONTENT = b"sun and sea" * 20_000
SECRET = b"rats1" + b"a" * 400
ALONE: dict[str, Any] = {"nat": NatTraversalConfig(stun_servers=(), enable_port_mapping=False), "listen_host": IPV4}


def waiting(given: GivenCode) -> asyncio.Task[CodeOutcome]:
    return asyncio.ensure_future(given.wait())


def another(code: str) -> str:
    number, one, other = code.split("-")
    return f"{number}-{one}-{'zebra' if other != 'zebra' else 'acorn'}"


async def code_of(taking: Any) -> str:
    with pytest.raises(TransferError) as refused:
        await taking
    return refused.value.code


def test_two_behind_nats_exchange_something_by_a_code_through_a_relay(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "symmetric", "port_restricted")) as (relay, met):
            given = await met.alice._code_meetings().give(SECRET)
            outcome = waiting(given)
            assert await met.bob._code_meetings().take(given.text, patience=0) == SECRET
            assert await outcome == CodeOutcome.TAKEN
            assert relay.introducer is not None
            assert relay.introducer.statistics["visits_passed"] == 1
            assert await code_of(met.bob._code_meetings().take(given.text, patience=0)) == "unknown_code"

    simulate(scenario)


def test_one_wrong_guess_burns_a_code(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "full_cone", "full_cone")) as (_, met):
            given = await met.alice._code_meetings().give(SECRET)
            outcome = waiting(given)
            codes = met.bob._code_meetings()
            assert await code_of(codes.take(another(given.text), patience=0)) == "wrong_code"
            assert await outcome == CodeOutcome.BURNT
            assert await code_of(codes.take(given.text, patience=0)) == "unknown_code"

    simulate(scenario)


def test_a_code_expires(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "full_cone", "full_cone")) as (_, met):
            given = await met.alice._code_meetings().give(SECRET)
            assert await given.wait() == CodeOutcome.EXPIRED
            assert await code_of(met.bob._code_meetings().take(given.text, patience=0)) == "unknown_code"

    simulate(scenario)


def test_a_code_is_of_no_use_once_its_giver_has_stopped(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "full_cone", "full_cone")) as (_, met):
            given = await met.alice._code_meetings().give(SECRET)
            outcome = waiting(given)
            await met.alice.stop()
            assert await code_of(met.bob._code_meetings().take(given.text, patience=1)) == "unknown_code"
            outcome.cancel()

    simulate(scenario)


def test_a_visitor_that_goes_on_the_way_burns_the_code(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "full_cone", "full_cone")) as (_, met):
            given = await met.alice._code_meetings().give(SECRET)
            outcome = waiting(given)
            [(meetings, introducer)] = met.bob._meeting_points()
            meetings.visit(introducer, int(given.text.split("-")[0]), b"no letter of a code")
            assert await outcome == CodeOutcome.BURNT

    simulate(scenario)


def test_two_that_are_connected_need_no_introducer(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        one, other = net.host("one"), net.host("other")
        alice, bob = await start_client(one, **ALONE), await start_client(other, **ALONE)
        given = await alice._code_meetings().give(SECRET)
        outcome = waiting(given)
        with other:
            taking = asyncio.ensure_future(bob._code_meetings().take(given.text, patience=10))
            await asyncio.sleep(1)
            await bob.connect(f"{one.addresses[0]}:{alice.listen_port}")
        assert await taking == SECRET
        assert await outcome == CodeOutcome.TAKEN
        await alice.stop()
        await bob.stop()

    simulate(scenario)


def test_whoever_knows_nobody_is_told_so(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        client = await start_client(net.host("one"), **ALONE)
        with pytest.raises(TransferError, match="nobody on the local network") as refused:
            await client._code_meetings().take("7-acorn-tiger", patience=2)
        assert refused.value.code == "unknown_code"
        with pytest.raises(UsageError):
            await client._code_meetings().take("7-acorn", patience=2)
        await client.stop()
        with pytest.raises(UsageError):
            client._code_meetings()

    simulate(scenario)


def test_many_codes_of_one_client_are_limited(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "full_cone", "full_cone")) as (_, met):
            given = [await met.alice._code_meetings().give(SECRET) for _ in range(4)]
            assert len({one.text for one in given}) == 4
            outcomes = [waiting(one) for one in given]
            for one in reversed(given):
                assert await met.bob._code_meetings().take(one.text, patience=0) == SECRET
            assert [await one for one in outcomes] == [CodeOutcome.TAKEN] * 4

    simulate(scenario)


# As applications use them


def test_files_go_by_a_code_and_by_a_ticket_between_two_behind_nats(simulate: Simulate, tmp_path: Path) -> None:
    (tmp_path / "photo.bin").write_bytes(CONTENT)

    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "port_restricted", "full_cone")) as (_, met):
            shared = await met.alice.files.share(tmp_path / "photo.bin")
            code = await met.alice.files.give_code(shared)
            ticket = met.alice.files.ticket(shared)
            wanted: list[Ticket | str] = [str(code).upper().replace("-", " "), ticket, str(ticket)]
            for number, what in enumerate(wanted):
                with met.office:
                    transfer = await met.bob.files.receive(what, tmp_path / f"{number}")
                assert (await transfer.wait()).path.read_bytes() == CONTENT
            assert await code.wait() == CodeOutcome.TAKEN

    simulate(scenario)


def test_a_wrong_code_burns_the_offer_and_the_ticket_stays_good(simulate: Simulate, tmp_path: Path) -> None:
    (tmp_path / "photo.bin").write_bytes(CONTENT)

    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "full_cone", "full_cone")) as (_, met):
            shared = await met.alice.files.share(tmp_path / "photo.bin")
            code = await met.alice.files.give_code(shared)
            assert await code_of(met.bob.files.receive(another(code.text), tmp_path / "in")) == "wrong_code"
            assert await code.wait() == await code.wait() == CodeOutcome.BURNT
            assert await code_of(met.bob.files.receive(code.text, tmp_path / "in", patience=0)) == "unknown_code"
            assert not (tmp_path / "in").exists()
            with met.office:
                taken = await met.bob.files.receive(met.alice.files.ticket(shared), tmp_path / "in")
            assert (await taken.wait()).bytes == len(CONTENT)

    simulate(scenario)


def test_a_code_that_is_closed_is_of_no_use(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "full_cone", "full_cone")) as (_, met):
            given = await met.alice._code_meetings().give(SECRET)
            assert given.text not in repr(given)
            given.close()
            given.close()
            assert await given.wait() == CodeOutcome.EXPIRED
            assert await code_of(met.bob._code_meetings().take(given.text, patience=0)) == "unknown_code"

    simulate(scenario)


def test_a_code_works_though_nobody_waits_for_what_becomes_of_it(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "full_cone", "full_cone")) as (_, met):
            given = await met.alice._code_meetings().give(SECRET)
            assert await met.bob._code_meetings().take(given.text, patience=0) == SECRET
            assert await given.wait() == CodeOutcome.TAKEN

    simulate(scenario)


def test_a_code_is_told_to_be_of_no_use_when_the_introducer_goes(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "full_cone", "full_cone")) as (relay, met):
            given = await met.alice._code_meetings().give(SECRET)
            [own] = [place for place in given._places if not place._introducer]
            own.ended(IntroductionError(Refusal.GONE, "closed"))
            began = net.time
            await relay.close()
            assert await given.wait() == CodeOutcome.EXPIRED
            assert net.time - began < 300  # and not only when its ten minutes are over

    simulate(scenario)


def test_what_is_no_ticket_of_files_is_told(simulate: Simulate, tmp_path: Path) -> None:
    async def scenario(net: SimNetwork) -> None:
        async with meeting(net, *hosts(net, "full_cone", "full_cone")) as (_, met):
            with pytest.raises(UsageError, match="of a peer"):
                await met.bob.files.receive(met.alice.ticket(), tmp_path)
            for nonsense in ("hello", "7-acorn-nothing", "rats1aaaa"):
                with pytest.raises(UsageError):
                    await met.bob.files.receive(nonsense, tmp_path)
            for secret in (str(met.alice.ticket()).encode(), b"nonsense", b"\xff\xfe"):
                given = await met.alice._code_meetings().give(secret)
                assert await code_of(met.bob.files.receive(str(given), tmp_path, patience=0)) == "bad_code"

    simulate(scenario)
