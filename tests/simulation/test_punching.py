"""Hole punchers in a simulated network: behind routers of every kind, with losses, and with peers that mislead."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from tests.simulation.conftest import Simulate
from tests.simulation.punching import CONFIG, Outcome, Wire, join, join_behind, nat_of, serve, wires

from librats import ConnectError, NatTypeInfo
from librats.errors import ConfigError
from librats.punch import PunchReason, PunchSettings
from librats.services.punch.path import PunchedPath
from librats.services.punch.puncher import HolePuncher
from librats.testing import SimHost, SimNetwork, SimRouter
from librats.testing.behaviors import ROUTER_TYPES, RouterBehavior
from librats.types import Address

KINDS = tuple(kind for kind in ROUTER_TYPES if kind not in ("v6_only", "tcp443_only", "udp_blocked"))
RANDOM = {"symmetric", "cgnat_sym"}
HARD = RANDOM | {"symmetric_seq", "symmetric_ad"}
LETS_HOSTS_IN = {"open", "full_cone", "full_cone_random", "restricted", "restricted_random"}


def expected(one: str, other: str) -> str:
    """Return what joins two kinds; empty where nothing does."""
    kinds = {one, other}
    if kinds & {"symmetric_eif", *LETS_HOSTS_IN} or not kinds & HARD:
        return "simultaneous"
    if "symmetric_ad" in kinds:
        return "birthday"
    if kinds <= HARD:
        return "prediction" if kinds == {"symmetric_seq"} else ""
    return "prediction" if "symmetric_seq" in kinds else "birthday"


@pytest.mark.parametrize("one", KINDS)
def test_every_pair_is_joined_or_named_impossible(simulate: Simulate, one: str) -> None:
    for number, other in enumerate(KINDS):
        outcome = simulate(partial(join_behind, kinds=(one, other)), seed=number, delay=0.02)
        assert outcome.technique == expected(one, other), (one, other, outcome)
        if not outcome.technique:
            assert outcome.reasons == (PunchReason.UNPREDICTABLE, PunchReason.UNPREDICTABLE)
        if outcome.technique == "simultaneous":
            assert outcome.seconds < 0.3


@pytest.mark.parametrize("leads", [True, False])
def test_where_udp_is_blocked_connections_meet(simulate: Simulate, leads: bool) -> None:
    for number, other in enumerate((*KINDS, "udp_blocked")):
        kinds = ("udp_blocked", other) if leads else (other, "udp_blocked")
        outcome = simulate(partial(join_behind, kinds=kinds), seed=number, delay=0.02)
        if other in HARD - {"symmetric_seq"}:
            assert outcome.reasons == (PunchReason.UDP_BLOCKED, PunchReason.UDP_BLOCKED)
        else:
            assert (outcome.technique, outcome.rounds) == ("tcp", 1), (kinds, outcome)
            assert outcome.seconds < 1, (kinds, outcome)


def test_connections_meet_though_packets_are_lost(simulate: Simulate) -> None:
    for seed in range(10):
        kinds = ("udp_blocked", "port_restricted")
        outcome = simulate(partial(join_behind, kinds=kinds, loss=0.1), seed=seed, delay=0.02)
        assert outcome.technique == "tcp", (seed, outcome)


@pytest.mark.parametrize("delays", [(0.3, 0.0), (0.0, 0.3), (0.4, 0.4)])
@pytest.mark.parametrize("other", ["openwrt", "port_restricted"])
def test_connections_meet_though_one_side_is_early(simulate: Simulate, other: str, delays: tuple[float, float]) -> None:
    for kinds in (("udp_blocked", other), (other, "udp_blocked")):
        outcome = simulate(partial(join_behind, kinds=kinds, delays=delays), delay=0.02)
        assert outcome.technique == "tcp", (kinds, outcome)


def test_who_wants_datagrams_gets_no_connection(simulate: Simulate) -> None:
    outcome = simulate(partial(join_behind, kinds=("udp_blocked", "port_restricted"), tcp=False), delay=0.02)
    assert outcome.reasons == (PunchReason.UDP_BLOCKED, PunchReason.UDP_BLOCKED)


def test_strangers_who_connect_get_nothing(simulate: Simulate) -> None:
    """A host floods the ports of whoever listens, with connections, nonsense, and checks of its own."""

    async def main(net: SimNetwork) -> Outcome:
        relay = await serve(net)
        hosts = [net.host(f"host{n}", behind=net.router(f"router{n}", "udp_blocked+full_cone")) for n in range(2)]
        attacker = net.host("attacker")
        said = [b"GET / HTTP/1.0\r\n\r\n", bytes(2000), bytes.fromhex("000100002112a442") + bytes(12)]

        async def flood(router: SimRouter) -> None:
            while True:
                for port in range(49152, 49160):
                    for words in said:
                        with suppress(OSError), attacker:
                            _, writer = await asyncio.open_connection(router.address, port)
                            writer.write(words)
                            writer.close()
                await asyncio.sleep(0.01)

        floods = [attacker.spawn(flood(router)) for router in net.routers if router.outer is None]
        try:
            return await join(*hosts)
        finally:
            for task in floods:
                task.cancel()
            await asyncio.wait(floods)
            await relay.close()

    assert simulate(main, delay=0.02).technique == "tcp"


@pytest.mark.parametrize("kinds", [("symmetric", "port_restricted"), ("port_restricted", "cgnat_sym")])
def test_chance_succeeds_nearly_always_and_within_its_budget(simulate: Simulate, kinds: tuple[str, str]) -> None:
    settings = PunchSettings()
    outcomes = [simulate(lambda net: join_behind(net, kinds), seed=seed, delay=0.02) for seed in range(20)]
    assert sum(outcome.technique == "birthday" and outcome.rounds == 1 for outcome in outcomes) >= 19
    assert all(outcome.technique == "birthday" for outcome in outcomes)
    assert max(sum(outcome.sent) for outcome in outcomes if outcome.rounds == 1) < (
        settings.birthday_probes + 4 * settings.birthday_sockets
    )


@pytest.mark.parametrize("kinds", [("bare_masquerade", "port_restricted"), ("port_restricted", "bare_masquerade")])
@pytest.mark.parametrize("delays", [(0.3, 0.0), (0.0, 0.3)])
def test_early_datagrams_do_no_harm(simulate: Simulate, kinds: tuple[str, str], delays: tuple[float, float]) -> None:
    outcome = simulate(lambda net: join_behind(net, kinds, delays=delays), seed=1, delay=0.02)
    assert (outcome.technique, outcome.rounds) == ("simultaneous", 1)


DEEP = "port_restricted+bare_masquerade"


@pytest.mark.parametrize("kinds", [(DEEP, "port_restricted"), ("port_restricted", DEEP)])
def test_where_the_first_datagrams_open_nothing_both_begin_at_the_same_time(
    simulate: Simulate, kinds: tuple[str, str]
) -> None:
    outcome = simulate(lambda net: join_behind(net, kinds, delays=(0.3, 0.3)), seed=1, delay=0.02)
    assert (outcome.technique, outcome.rounds) == ("simultaneous", 1)


def test_a_spoilt_port_is_given_up_for_a_fresh_one(simulate: Simulate) -> None:
    kinds = (DEEP, "port_restricted")
    outcome = simulate(lambda net: join_behind(net, kinds, delays=(0.0, 0.3)), seed=1, delay=0.02)
    assert (outcome.technique, outcome.rounds) == ("simultaneous", 2)


@pytest.mark.parametrize("kinds", [("port_restricted", "port_restricted"), ("symmetric_seq", "port_restricted")])
def test_losses_delay_it(simulate: Simulate, kinds: tuple[str, str]) -> None:
    for seed in range(10):
        outcome = simulate(lambda net: join_behind(net, kinds, loss=0.3), seed=seed, delay=0.02)
        assert outcome.technique, (seed, outcome)
        assert outcome.seconds < 5, (seed, outcome)


def test_the_traffic_of_others_is_allowed_for(simulate: Simulate) -> None:
    async def chatter(host: SimHost) -> None:
        with host:
            endpoint = await host.open_datagram("", 0, receive=lambda _: None)
        try:
            for port in range(2000, 60_000):
                endpoint.send(b"x", Address("198.51.100.77", port))
                await asyncio.sleep(0.01)
        finally:
            endpoint.close()

    async def main(net: SimNetwork, other: str) -> Outcome:
        relay = await serve(net)
        router = net.router("router0", "symmetric_seq")
        hosts = [net.host("host0", behind=router), net.host("host1", behind=net.router("router1", other))]
        noisy = net.host("noisy", behind=router)
        noise = noisy.spawn(chatter(noisy))
        try:
            return await join(*hosts)
        finally:
            noise.cancel()
            await asyncio.wait({noise})
            await relay.close()

    for other in ("port_restricted", "symmetric_seq"):
        for seed in range(5):
            outcome = simulate(partial(main, other=other), seed=seed, delay=0.02)
            assert outcome.technique == "prediction", (other, seed, outcome)


def test_two_hosts_in_one_network_meet_there(simulate: Simulate) -> None:
    async def main(net: SimNetwork, kind: str) -> Outcome:
        relay = await serve(net)
        router = net.router("router", kind)
        try:
            return await join(net.host("host0", behind=router), net.host("host1", behind=router))
        finally:
            await relay.close()

    for kind in ("port_restricted", "symmetric", "full_cone"):
        assert simulate(partial(main, kind=kind), delay=0.02).technique == "simultaneous"


def test_two_homes_behind_one_carrier_meet_by_its_hairpin_and_not_without(simulate: Simulate) -> None:
    async def main(net: SimNetwork, carrier: RouterBehavior) -> Outcome:
        relay = await serve(net)
        outer = net.router("carrier", carrier)
        homes = [net.router(f"home{n}", "port_restricted", behind=outer) for n in range(2)]
        try:
            return await join(*(net.host(f"host{n}", behind=home) for n, home in enumerate(homes)), tcp=False)
        finally:
            await relay.close()

    turns = RouterBehavior(filtering="endpoint-independent", hairpin=True)
    assert simulate(lambda net: main(net, turns), delay=0.02).technique == "simultaneous"
    outcome = simulate(lambda net: main(net, RouterBehavior(filtering="endpoint-independent")), delay=0.02)
    assert outcome.reasons == (PunchReason.NO_ANSWER, PunchReason.NO_ANSWER)
    assert outcome.rounds == PunchSettings().rounds


def test_what_the_leader_sends_at_once_arrives(simulate: Simulate) -> None:
    async def main(net: SimNetwork) -> list[bytes]:
        relay = await serve(net)
        hosts = [net.host(f"host{n}", behind=net.router(f"router{n}", "port_restricted")) for n in range(2)]
        nats = [await nat_of(host) for host in hosts]
        ends = wires(0.04, 0.04)

        async def talk(number: int) -> bytes:
            nat, host = nats[number], hosts[number]
            puncher = HolePuncher(ends[number], leads=not number, config=CONFIG, nat=nat, network=host)
            path = await puncher.punch()
            assert isinstance(path, PunchedPath)
            path.send(b"from %d" % number)
            heard = await path.recv()
            await asyncio.sleep(1)
            path.close()
            return heard

        heard = await asyncio.gather(talk(0), talk(1))
        await relay.close()
        return list(heard)

    assert simulate(main, delay=0.02) == [b"from 1", b"from 0"]


def test_the_other_side_need_not_be_there_yet(simulate: Simulate) -> None:
    outcome = simulate(lambda net: join_behind(net, ("port_restricted", "bare_masquerade"), late=3.0), delay=0.02)
    assert (outcome.technique, outcome.rounds) == ("simultaneous", 1)
    assert outcome.seconds < 3.6


def test_ipv6_goes_without_any_technique(simulate: Simulate) -> None:
    outcome = simulate(lambda net: join_behind(net, ("symmetric", "symmetric"), ipv6=True), delay=0.02)
    assert outcome.technique == "simultaneous"


class Meddler(Wire):
    """A peer that tells something else than it should."""

    def __init__(self, wire: Wire, change: Mapping[str, Any]) -> None:
        self.wire, self.change = wire, change

    async def send(self, message: dict[str, Any]) -> None:
        await self.wire.send({**message, **self.change} if "round" in message else message)

    async def receive(self) -> Mapping[str, Any]:
        return await self.wire.receive()


async def mislead(net: SimNetwork, change: Mapping[str, Any], *, tcp: bool = False) -> tuple[ConnectError, set[str]]:
    """Return why a side has given up whose peer misleads it, and the hosts that it has sent to."""
    relay = await serve(net)
    hosts = [net.host(f"host{n}", behind=net.router(f"router{n}", "port_restricted")) for n in range(2)]
    nats = [await nat_of(host) for host in hosts]
    ends = wires(0.04, 0.04)
    settings = PunchSettings(rounds=1, answer_time=2.0)
    victim, liar = (
        HolePuncher(
            wire,
            leads=host is hosts[0],
            config=CONFIG,
            nat=nat,
            settings=settings,
            network=host,
            local_hosts=[address for address in host.addresses if ":" not in address],
            tcp=tcp,
        )
        for wire, host, nat in zip((ends[0], Meddler(ends[1], change)), hosts, nats, strict=True)
    )
    outcomes = await asyncio.gather(victim.punch(), liar.punch(), return_exceptions=True)
    await relay.close()
    assert isinstance(outcomes[0], ConnectError)
    assert isinstance(outcomes[1], ConnectError)
    return outcomes[0], {attempt.address.host for attempt in outcomes[0].attempts}


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.1.2.3", "192.168.1.1", "169.254.169.254", "224.0.0.1", "[::1]", "[fe80::1]"]
)
def test_strangers_send_nobody_into_networks_of_his_own(simulate: Simulate, host: str) -> None:
    change = {"public": [f"{host}:80"], "hosts": [f"{host}:81"], "tcp": [f"{host}:82"]}
    for tcp in (False, True):
        error, hosts = simulate(partial(mislead, change=change, tcp=tcp), delay=0.02)
        assert error.reason == PunchReason.REFUSED
        assert hosts == set()


def test_an_address_where_nobody_is_costs_the_budget_and_no_more(simulate: Simulate) -> None:
    error, hosts = simulate(lambda net: mislead(net, {"public": ["198.51.100.66:80"], "hosts": []}), delay=0.02)
    assert error.reason == PunchReason.NO_ANSWER
    assert hosts == {"198.51.100.66"}


def test_a_peer_that_names_nothing_is_told_apart(simulate: Simulate) -> None:
    error, _ = simulate(lambda net: mislead(net, {"public": [], "hosts": []}), delay=0.02)
    assert error.reason == PunchReason.NO_ADDRESS


def test_a_message_that_cannot_be_read_is_skipped(simulate: Simulate) -> None:
    error, _ = simulate(lambda net: mislead(net, {"public": 7}), delay=0.02)
    assert error.reason == PunchReason.PEER_SILENT


def test_another_key_joins_nobody(simulate: Simulate) -> None:
    error, _ = simulate(lambda net: mislead(net, {"pwd": "x" * 24}), delay=0.02)
    assert error.reason == PunchReason.NO_ANSWER


async def alone(net: SimNetwork, settings: PunchSettings, *, leads: bool) -> str:
    host = net.host("host", behind=net.router("router", "port_restricted"))
    wire, _ = wires(0.04, 0.04)
    with pytest.raises(ConnectError) as caught:
        await HolePuncher(wire, leads=leads, config=CONFIG, nat=NatTypeInfo(), settings=settings, network=host).punch()
    return caught.value.reason


@pytest.mark.parametrize("leads", [True, False])
def test_nobody_waits_forever(simulate: Simulate, leads: bool) -> None:
    async def main(net: SimNetwork) -> list[str]:
        silent = await alone(net, PunchSettings(answer_time=1.0), leads=leads)
        return [silent]

    assert simulate(main) == [PunchReason.PEER_SILENT]


def test_the_whole_takes_no_longer_than_it_may(simulate: Simulate) -> None:
    settings = PunchSettings(seconds=0.5, answer_time=100.0)
    assert simulate(lambda net: alone(net, settings, leads=True)) == PunchReason.OUT_OF_BUDGET


@pytest.mark.parametrize("after", [0.01, 0.05, 0.1, 0.13, 0.2, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("kinds", [("symmetric", "openwrt"), ("udp_blocked", "openwrt")])
def test_it_can_be_cancelled_at_any_time(simulate: Simulate, kinds: tuple[str, str], after: float) -> None:
    async def main(net: SimNetwork) -> None:
        relay = await serve(net)
        hosts = [net.host(f"host{n}", behind=net.router(f"r{n}", k)) for n, k in enumerate(kinds)]
        nats = [await nat_of(host) for host in hosts]
        ends = wires(0.04, 0.04)
        tasks = [
            host.spawn(HolePuncher(end, leads=end is ends[0], config=CONFIG, nat=nat, network=host).punch())
            for host, nat, end in zip(hosts, nats, ends, strict=True)
        ]
        await asyncio.sleep(after)
        for task in tasks:
            task.cancel()
        for path in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(path, BaseException):
                path.close()
        await relay.close()

    simulate(main, delay=0.02)


def test_a_machine_without_sockets_says_so(simulate: Simulate, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main(net: SimNetwork) -> None:
        host = net.host("host")

        async def refuse(*_: Any, **__: Any) -> None:
            raise ConfigError("port", "no datagrams")

        monkeypatch.setattr(host, "open_datagram", refuse)
        with pytest.raises(ConfigError):
            await HolePuncher(wires(0, 0)[0], leads=True, config=CONFIG, nat=NatTypeInfo(), network=host).punch()

    simulate(main)
