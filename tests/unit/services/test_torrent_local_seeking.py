"""Which networks are told of which torrents, and whose word is taken: sockets and networks are made up."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from librats.bittorrent.candidates import Candidates
from librats.bittorrent.local_discovery import LocalAnnouncement, read_local_announcement
from librats.runtime.entropy import SystemEntropy
from librats.runtime.multicast import MulticastLink
from librats.runtime.network import Network, SystemNetwork
from librats.services.torrenting import local_seeking
from librats.services.torrenting.download import Download
from librats.services.torrenting.local_seeking import LocalSeeking, may_seek_locally
from librats.testing import SimNetwork
from librats.torrents import TorrentClient
from librats.types import Address

A, B = b"a" * 20, b"b" * 20
EVERYWHERE = ["0.0.0.0", "::"]  # noqa: S104 - names, nothing is bound


def network(interface: str, host: str, near: str) -> MulticastLink:
    return MulticastLink(interface, 2, (host,), (ipaddress.ip_network(near),))


ETH = network("eth0", "192.0.2.7", "192.0.2.0/24")
ETH6 = network("eth0", "2001:db8::7", "2001:db8::/64")
WLAN = network("wlan0", "198.51.100.7", "198.51.100.0/24")


class Torrent:
    """What is asked of a torrent."""

    def __init__(self, *info_hashes: bytes) -> None:
        self.door = SimpleNamespace(info_hashes=info_hashes)
        self.wants_peers = True
        self.torrent: Any = None
        self.candidates = Candidates()


class Lan:
    """Networks that there are, sockets that are open on them, and what was sent."""

    def __init__(self) -> None:
        self.links = [ETH]
        self.open: dict[MulticastLink, FakeSocket] = {}
        self.opened: list[MulticastLink] = []
        self.asked = 0
        self.sent: list[tuple[MulticastLink, LocalAnnouncement]] = []
        self.broken: set[MulticastLink] = set()
        self.mute: set[MulticastLink] = set()

    async def list(self) -> list[MulticastLink]:
        self.asked += 1
        return self.links

    def hear(self, data: bytes, origin: str, link: MulticastLink = ETH) -> None:
        self.open[link].receive(data, Address(origin, 6771))


class FakeSocket:
    """A socket for a group."""

    lan: Lan

    def __init__(self, link: MulticastLink, group: Address, receive: Callable[[bytes, Address], object]) -> None:
        if link in self.lan.broken:
            raise OSError(errno.ENODEV, "No such device")
        assert group == (Address("ff15::efc0:988f", 6771) if link.is_ipv6 else Address("239.192.152.143", 6771))
        self.link, self.receive = link, receive
        self.lan.open[link] = self
        self.lan.opened.append(link)

    def send(self, data: bytes) -> None:
        if self.link in self.lan.mute:
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        self.lan.sent.append((self.link, read_local_announcement(data)))

    def close(self) -> None:
        del self.lan.open[self.link]


@pytest.fixture
def lan(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lan]:
    """Return what networks there are; they and the torrents are looked at in every turn of the loop."""
    lan = Lan()
    monkeypatch.setattr(FakeSocket, "lan", lan, raising=False)
    monkeypatch.setattr(local_seeking, "MulticastSocket", FakeSocket)
    monkeypatch.setattr(local_seeking, "multicast_links", lan.list)
    monkeypatch.setattr(local_seeking, "LOOK", 0.0)
    monkeypatch.setattr(local_seeking, "LOOK_AT_LINKS", 0.0)
    yield lan
    assert not lan.open


class Seeking:
    """A seeker, and for whom it has dialled."""

    def __init__(self, *hosts: str, port: int = 6881) -> None:
        self.torrents: list[Torrent] = []
        self.woken: list[Any] = []
        self.seeking = LocalSeeking(SystemEntropy(), hosts or EVERYWHERE, port, self._find, self.woken.append)

    def _find(self, info_hash: bytes) -> Download | None:
        found = (one for one in self.torrents if info_hash in one.door.info_hashes)
        return cast("Download | None", next(found, None))

    def add(self, torrent: Torrent) -> None:
        self.torrents.append(torrent)
        self.seeking.add(cast("Download", torrent))

    def remove(self, torrent: Torrent) -> None:
        self.torrents.remove(torrent)
        self.seeking.remove(cast("Download", torrent))


@asynccontextmanager
async def seeking_for(*torrents: Torrent, hosts: tuple[str, ...] = (), port: int = 6881) -> AsyncIterator[Seeking]:
    own = Seeking(*hosts, port=port)
    for torrent in torrents:
        own.add(torrent)
    yield own
    await own.seeking.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)


async def looks(lan: Lan, count: int = 5) -> None:
    """Wait until networks were looked at so often."""
    wanted = lan.asked + count
    await until(lambda: lan.asked >= wanted)


async def turns(count: int = 50) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_every_network_is_told_of_all_torrents_once(lan: Lan) -> None:
    lan.links = [ETH, ETH6, WLAN]
    async with seeking_for(Torrent(A), Torrent(B)):
        await looks(lan)
        assert [link for link, _ in lan.sent] == [ETH, ETH6, WLAN]
        assert all(set(told.info_hashes) == {A, B} for _, told in lan.sent)
        assert {told.port for _, told in lan.sent} == {6881}
        assert len({told.cookie for _, told in lan.sent}) == 1


async def test_without_torrents_nothing_is_open(lan: Lan) -> None:
    torrent = Torrent(A)
    async with seeking_for() as own:
        await turns()
        assert not lan.asked
        own.add(torrent)
        await until(lambda: lan.open)
        own.remove(torrent)
        await until(lambda: not lan.open)
        own.add(torrent)
        await until(lambda: lan.open)
    assert len(lan.sent) == 1  # the second time it was too soon to be told of again


async def test_once_it_is_closed_no_torrent_opens_anything(lan: Lan) -> None:
    async with seeking_for(Torrent(A)) as own:
        await own.seeking.close()
        own.add(Torrent(B))
        await turns()
    assert not lan.asked


@pytest.mark.parametrize("why", ["private", "paused"])
async def test_a_torrent_that_is_not_to_be_told_of_opens_nothing(lan: Lan, why: str) -> None:
    torrent = Torrent(A)
    if why == "private":
        torrent.torrent = SimpleNamespace(is_private=True)
    else:
        torrent.wants_peers = False
    async with seeking_for(torrent) as own:
        await turns()
        assert not lan.opened
        own.add(Torrent(B))
        await until(lambda: lan.sent)
        assert lan.sent[0][1].info_hashes == (B,)
        lan.hear(LocalAnnouncement(port=9, info_hashes=(A, B)).encode(ipv6=False), "192.0.2.9")
        assert not len(torrent.candidates)


async def test_one_that_turns_out_to_be_private_is_not_looked_for_from_then_on(lan: Lan) -> None:
    torrent = Torrent(A)
    async with seeking_for(torrent):
        await until(lambda: lan.sent)
        torrent.torrent = SimpleNamespace(is_private=True)
        lan.hear(LocalAnnouncement(port=9, info_hashes=(A,)).encode(ipv6=False), "192.0.2.9")
        assert not len(torrent.candidates)


async def test_who_tells_of_our_torrent_is_dialled_at_its_own_address(lan: Lan) -> None:
    torrent, other = Torrent(A), Torrent(B)
    async with seeking_for(torrent, other) as own:
        await until(lambda: lan.open)
        told = LocalAnnouncement(port=51413, info_hashes=(A, b"c" * 20)).encode(ipv6=False)
        lan.hear(told, "192.0.2.9")
        lan.hear(told, "192.0.2.9")
        assert torrent.candidates.take(float("inf")) == Address("192.0.2.9", 51413)
        assert torrent.candidates.take(float("inf")) is None
        assert not len(other.candidates)
        assert own.woken == [torrent]


@pytest.mark.parametrize("origin", ["198.51.100.9", "2001:db8:1::9"])
async def test_who_is_not_of_the_network_is_not_listened_to(lan: Lan, origin: str) -> None:
    torrent = Torrent(A)
    lan.links = [ETH6 if ":" in origin else ETH]
    async with seeking_for(torrent):
        await until(lambda: lan.open)
        lan.hear(LocalAnnouncement(port=9, info_hashes=(A,)).encode(ipv6=False), origin, lan.links[0])
        assert not len(torrent.candidates)


async def test_our_own_announcement_and_rubbish_are_passed_over(lan: Lan) -> None:
    torrent = Torrent(A)
    async with seeking_for(torrent):
        await until(lambda: lan.sent)
        lan.hear(lan.sent[0][1].encode(ipv6=False), "192.0.2.9")
        lan.hear(b"M-SEARCH * HTTP/1.1\r\n\r\n", "192.0.2.9")
        assert not len(torrent.candidates)


async def test_networks_that_come_are_told_and_those_that_go_are_left(lan: Lan) -> None:
    async with seeking_for(Torrent(A)):
        await until(lambda: lan.open)
        lan.links = [WLAN]
        await until(lambda: list(lan.open) == [WLAN])
        lan.links = [ETH, WLAN]
        await until(lambda: len(lan.open) == 2)
        await looks(lan)
        assert [link for link, _ in lan.sent] == [ETH, WLAN]  # who comes back is not told again so soon


async def test_networks_that_flap_are_not_kept_without_end(lan: Lan) -> None:
    async with seeking_for(Torrent(A)) as own:
        for number in range(3 * local_seeking.MAX_LINKS):
            link = network(f"ppp{number}", "192.0.2.7", "192.0.2.0/24")
            lan.links = [link]
            await until(lambda link=link: link in lan.open)  # type: ignore[misc]
        assert len(own.seeking._pacing) <= local_seeking.MAX_LINKS + 1


async def test_a_client_that_listens_at_one_address_is_in_its_network_alone(lan: Lan) -> None:
    lan.links = [ETH, ETH6, WLAN]
    async with seeking_for(Torrent(A), hosts=("198.51.100.7",)):
        await looks(lan)
        assert lan.opened == [WLAN]
    async with seeking_for(Torrent(A), hosts=("0.0.0.0",)):  # noqa: S104 - a name
        await looks(lan)
        assert lan.opened == [WLAN, ETH, WLAN]


async def test_a_client_without_a_tcp_port_tells_nothing_and_listens(lan: Lan) -> None:
    torrent = Torrent(A)
    async with seeking_for(torrent, port=0):
        await looks(lan)
        lan.hear(LocalAnnouncement(port=9, info_hashes=(A,)).encode(ipv6=False), "192.0.2.9")
        assert not lan.sent
        assert len(torrent.candidates) == 1


async def test_a_network_without_multicast_is_told_once_and_the_others_are_used(
    lan: Lan, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "librats.torrent")
    lan.links, lan.broken = [WLAN, ETH], {WLAN}
    async with seeking_for(Torrent(A)):
        await looks(lan)
        assert [link for link, _ in lan.sent] == [ETH]
        assert [record.getMessage() for record in caplog.records] == [
            "no peers are found on the local network of wlan0 over IPv4: [Errno 19] No such device"
        ]
        lan.broken.clear()
        await until(lambda: WLAN in lan.open)


async def test_what_could_not_be_sent_is_sent_later_and_that_is_told_once(
    lan: Lan, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "librats.torrent")
    lan.mute = {ETH}
    monkeypatch.setattr("librats.bittorrent.local_pacing.PACKET_INTERVAL", 0.0)
    async with seeking_for(Torrent(A)):
        await looks(lan)
        lan.mute.clear()
        await until(lambda: lan.sent)
    assert len(caplog.records) == 1


# Who seeks at all


def test_a_simulated_network_and_a_word_in_the_environment_keep_it_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIBRATS_LSD", "1")
    assert may_seek_locally(SystemNetwork())
    simulated = SimNetwork(seed=1)
    assert not may_seek_locally(cast("Network", simulated.host("a", addresses=["203.0.113.10"])))
    simulated.close()
    monkeypatch.setenv("LIBRATS_LSD", "0")
    assert not may_seek_locally(SystemNetwork())


@pytest.mark.parametrize("lsd", [True, False])
async def test_a_client_seeks_unless_it_is_told_not_to(
    lan: Lan, monkeypatch: pytest.MonkeyPatch, tmp_path: Any, lsd: bool
) -> None:
    monkeypatch.setenv("LIBRATS_LSD", "1")
    lan.links = [network("lo", "127.0.0.1", "127.0.0.0/8")]
    async with TorrentClient(listen_host="127.0.0.1", lsd=lsd, port_mapping=False) as client:
        await client.add("magnet:?xt=urn:btih:" + A.hex(), tmp_path)
        if lsd:
            await until(lambda: lan.sent)
            assert lan.sent[0][1].info_hashes == (A,)
            assert lan.sent[0][1].port == client.listen_port
        else:
            await turns()
            assert not lan.asked
