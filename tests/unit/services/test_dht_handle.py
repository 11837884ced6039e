"""What the verbs of the DHT take and refuse."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from librats import DhtConfig, Identity, RatsClient, RatsConfig, UsageError
from librats.services.dht_handle import hash_of, is_krpc
from librats.testing import SimNetwork

HASH = b"h" * 20
NO_BYTES: Any = "text"


@pytest.mark.parametrize("value", [HASH, bytearray(HASH), HASH.hex(), HASH.hex().upper()])
def test_a_hash_is_bytes_or_hex(value: Any) -> None:
    assert hash_of(value, "a hash") == HASH


@pytest.mark.parametrize("value", [b"", HASH[1:], HASH.hex()[1:], "x" * 40, "٣" * 40, 7, None, HASH.hex() + "\n"])
def test_what_is_no_hash_is_refused(value: Any) -> None:
    with pytest.raises(UsageError, match="a hash is 20 bytes, or 40 digits in hex"):
        hash_of(value, "a hash")


def test_only_what_begins_and_ends_as_a_dictionary_is_the_dhts() -> None:
    assert is_krpc(b"d1:y1:qe")
    assert is_krpc(b"de")
    for other in (b"", b"d", b"e", b"\x10d1:y1:qe", bytes(20), b"\x40d" + bytes(9), b"d1:y1:q"):
        assert not is_krpc(other)


CALLS: list[tuple[Callable[[RatsClient], Awaitable[object]], str]] = [
    (lambda client: client.find_peers(b"short"), "an info-hash is 20 bytes"),
    (lambda client: client.find_peers(HASH, enough=0), "enough is a whole number above 0"),
    (lambda client: client.find_peers(HASH, timeout=0), "a timeout is a number of seconds above 0"),
    (lambda client: client.dht.find_nodes("zz"), "a target is 20 bytes"),
    (lambda client: client.announce_for_hash(HASH, 0), "a port is a whole number from 1 to 65535"),
    (lambda client: client.announce_for_hash(HASH, True), "a port is a whole number from 1 to 65535"),
    (lambda client: client.dht.ping("no address"), "not an address"),
    (lambda client: client.dht.ping("192.0.2.7:0"), "a node has a port"),
    (lambda client: client.dht.get(HASH, salt=bytes(65)), "a salt is at most 64 bytes"),
    (lambda client: client.dht.put(None), "NoneType"),
    (lambda client: client.dht.put(1.5), "float"),
    (lambda client: client.dht.put("x" * 1000), "a value has at most 1000 bytes when it is encoded, not 1005"),
    (lambda client: client.dht.put(1, salt=b"s"), "only a mutable item"),
    (lambda client: client.dht.put(1, sequence=1), "only a mutable item"),
    (lambda client: client.dht.put(1, compare=1), "only a mutable item"),
    (lambda client: client.dht.put(1, mutable=True, sequence=-1), "sequence is a whole number"),
    (lambda client: client.dht.put(1, mutable=True, compare=1 << 63), "compare is a whole number"),
    (lambda client: client.dht.put(1, mutable=True, salt=NO_BYTES), "a salt is at most 64 bytes"),
]


def test_arguments_that_make_no_sense_are_refused_before_anything_is_sent() -> None:
    async def main(net: SimNetwork) -> None:
        with net.host("one"):
            client = RatsClient(config=RatsConfig(dht=DhtConfig(bootstrap=())))
            async with client:
                await client.start_dht_discovery(connect=False)
                for call, words in CALLS:
                    with pytest.raises(UsageError, match=words):
                        await call(client)
                assert client.dht.statistics()["datagrams sent"] == 0

    with SimNetwork() as net:
        net.run(main(net))


async def test_before_it_runs_every_verb_says_how_to_start_it() -> None:
    client = RatsClient(identity=Identity.generate())
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: client.find_peers(HASH),
        lambda: client.announce_for_hash(HASH),
        lambda: client.dht.get(HASH),
        lambda: client.dht.put(1),
        lambda: client.dht.find_nodes(HASH),
        lambda: client.dht.ping("192.0.2.7:6881"),
    ]
    for call in calls:
        with pytest.raises(UsageError, match="start_dht_discovery"):
            await call()
    for read in (lambda: client.dht.node_id, client.dht.statistics):
        with pytest.raises(UsageError, match="start_dht_discovery"):
            read()
    assert not client.dht.is_running
    assert not client.dht.is_reachable
    assert repr(client.dht) == "<DhtHandle not running>"
    await client.stop_dht_discovery()
    with pytest.raises(UsageError, match="not running"):
        await client.start_dht_discovery()
