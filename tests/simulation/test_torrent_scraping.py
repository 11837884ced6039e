"""Trackers that are far away, lose packets or are not there at all are asked how many peers a torrent has."""

from __future__ import annotations

import asyncio
from struct import pack

import pytest
from tests.simulation.conftest import Simulate

from librats.runtime.datagrams import Origin
from librats.runtime.udp import DatagramEndpoint
from librats.services.torrenting import scraping
from librats.testing import SimHost, SimNetwork
from librats.torrents import TorrentClient, TrackerCounts
from librats.types import Address

PORT = 6969
LINK = "magnet:?xt=urn:btih:" + 40 * "a"


async def run_tracker(host: SimHost, seeds: int) -> DatagramEndpoint:
    """Run a tracker over UDP that counts so many seeds."""

    def receive(items: list[tuple[bytes, Origin]]) -> None:
        for data, origin in items:
            body = b"ourscrap" if data[8:12] == bytes(4) else pack(">iii", seeds, 0, 0)
            endpoint.send(data[8:16] + body, Address(origin.host, origin.port))

    endpoint = await host.open_datagram(port=PORT, receive=receive)
    return endpoint


async def scraped(hosts: list[SimHost], timeout: float) -> tuple[list[TrackerCounts], float]:
    """Return what the trackers of hosts tell, and the seconds that it took."""
    loop = asyncio.get_running_loop()
    link = LINK + "".join(f"&tr=udp://{host.addresses[0]}:{PORT}" for host in hosts)
    begun = loop.time()
    found = await TorrentClient().scrape(link, timeout=timeout)
    return found, loop.time() - begun


def test_one_that_is_not_there_costs_the_timeout_and_nobody_elses_answer(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        asker, gone, there = net.host("asker"), net.host("gone"), net.host("there")
        net.cut(asker, gone)
        tracker = await run_tracker(there, 7)
        found, seconds = await asker.spawn(scraped([gone, there], 10.0))
        assert [(told.seeds, told.error) for told in found] == [(None, "it does not answer within 10 s"), (7, "")]
        assert seconds == pytest.approx(10.0, abs=0.01)
        tracker.close()

    simulate(scenario, delay=0.05)


def test_those_that_all_answer_are_not_waited_for_any_longer(simulate: Simulate) -> None:
    async def scenario(net: SimNetwork) -> None:
        asker, near, far = net.host("asker"), net.host("near"), net.host("far")
        net.set_link(asker, far, delay=0.4)
        trackers = [await run_tracker(near, 1), await run_tracker(far, 2)]
        found, seconds = await asker.spawn(scraped([near, far], 10.0))
        assert [told.seeds for told in found] == [1, 2]
        assert seconds == pytest.approx(1.6, abs=0.1)  # two round trips of the slower one
        for tracker in trackers:
            tracker.close()

    simulate(scenario, delay=0.05)


def test_whose_turn_has_not_come_in_time_is_told_as_one_that_does_not_answer(
    simulate: Simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scraping, "AT_ONCE", 1)

    async def scenario(net: SimNetwork) -> None:
        asker, gone = net.host("asker"), [net.host(f"gone{number}") for number in range(3)]
        for host in gone:
            net.cut(asker, host)
        found, seconds = await asker.spawn(scraped(gone, 10.0))
        assert [told.error for told in found] == ["it does not answer within 10 s"] * 3
        assert seconds == pytest.approx(10.0, abs=0.01)

    simulate(scenario)


@pytest.mark.parametrize("seed", range(10))
def test_what_is_lost_is_asked_again_before_the_time_is_over(simulate: Simulate, seed: int) -> None:
    async def scenario(net: SimNetwork) -> None:
        asker, host = net.host("asker"), net.host("host")
        tracker = await run_tracker(host, 7)
        ((told,), _) = await asker.spawn(scraped([host], 30.0))
        assert told.seeds == 7
        tracker.close()

    simulate(scenario, seed, delay=0.05, loss=0.2)
