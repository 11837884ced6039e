"""Magnet links: those of the vectors, what is left out, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from librats.bittorrent.magnet import MAX_MAGNET, Magnet, parse_magnet
from librats.errors import DecodeError
from librats.types import Address

HASH = "urn:btih:" + 40 * "a"


@pytest.mark.vectors("torrent/magnet")
def test_a_link_is_read_as_libtorrent_reads_it(case: dict[str, Any]) -> None:
    if not case["valid"]:
        with pytest.raises(DecodeError):
            parse_magnet(case["uri"])
        return
    magnet = parse_magnet(case["uri"])
    assert (magnet.info_hash_v1.hex() if magnet.info_hash_v1 else None) == case["info_hash_v1"]
    assert (magnet.info_hash_v2.hex() if magnet.info_hash_v2 else None) == case["info_hash_v2"]
    assert magnet.name == case["name"]
    assert list(magnet.trackers) == case["trackers"]
    # libtorrent leaves out what is escaped, as the brackets of IPv6 are.
    assert [[peer.host, peer.port] for peer in magnet.peers][: len(case["peers"])] == case["peers"]
    assert len(magnet.peers) == case["uri"].count("x.pe=")
    assert list(magnet.web_seeds) == case["web_seeds"]
    assert parse_magnet(str(magnet)) == magnet


def test_chosen_files_are_read_and_written() -> None:
    magnet = parse_magnet(f"magnet:?xt={HASH}&so=0,2,4,6-8,7,2")
    assert magnet.files == (0, 2, 4, 6, 7, 8)
    assert "so=0,2,4,6-8" in str(magnet)
    assert parse_magnet(str(magnet)) == magnet


def test_chosen_files_are_read_where_they_are_escaped_or_told_twice() -> None:
    assert parse_magnet(f"magnet:?xt={HASH}&so=0%2C2&so=4-5").files == (0, 2, 4, 5)


@pytest.mark.parametrize("text", ["", "x", "-3", "5-", "9-7", "1,,2", "1-2-3", "\u0663", "1048577", "99999999999999"])
def test_files_that_are_chosen_by_no_number_are_refused(text: str) -> None:
    with pytest.raises(DecodeError, match="files"):
        parse_magnet(f"magnet:?xt={HASH}&so={text}")


@pytest.mark.parametrize("text", ["0-100000", "1,0-1048576", "0-60000,50000-110000"])
def test_too_many_chosen_files_are_refused(text: str) -> None:
    assert len(parse_magnet(f"magnet:?xt={HASH}&so=0-99999").files or ()) == 100_000
    with pytest.raises(DecodeError, match="more than 100000"):
        parse_magnet(f"magnet:?xt={HASH}&so={text}")


def test_peers_that_are_no_addresses_are_left_out() -> None:
    magnet = parse_magnet(f"magnet:?xt={HASH}&x.pe=host.example:1&x.pe=nonsense&x.pe=192.0.2.1:0&x.pe=:::")
    assert magnet.peers == (Address("host.example", 1),)


def test_a_link_that_is_too_long_or_has_too_many_fields_is_refused() -> None:
    with pytest.raises(DecodeError, match="characters"):
        parse_magnet(f"magnet:?xt={HASH}&dn=" + "x" * MAX_MAGNET)
    with pytest.raises(DecodeError, match="fields"):
        parse_magnet(f"magnet:?xt={HASH}" + "&a=b" * 1024)


def test_the_hash_that_peers_are_asked_with_is_of_version_1_where_there_is_one() -> None:
    assert Magnet(info_hash_v1=b"a" * 20, info_hash_v2=b"b" * 32).info_hash == b"a" * 20
    assert Magnet(info_hash_v2=b"b" * 32).info_hash == b"b" * 20
