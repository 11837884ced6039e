"""The DHT of clients that block."""

from __future__ import annotations

from librats import DhtConfig, Identity, RatsConfig
from librats.blocking import RatsClient

HASH = b"a hash has 20 bytes."


def client_at(host: str) -> RatsClient:
    config = RatsConfig(listen_host=host, dht=DhtConfig(bootstrap=()))
    return RatsClient(0, config=config, identity=Identity.generate())


def test_what_one_has_announced_and_put_is_found_by_the_other() -> None:
    with client_at("127.0.0.2") as one, client_at("127.0.0.3") as other:
        assert not one.start_dht_discovery(connect=False)
        assert other.start_dht_discovery(bootstrap=[f"127.0.0.2:{one.listen_port}"], connect=False)
        assert other.announce_for_hash(HASH) == 1
        assert one.find_peers(HASH) == other.addresses
        assert other.dht.announce(HASH, 4000) == 1
        assert [address.port for address in one.dht.find_peers(HASH)] == [other.listen_port, 4000]
        stored = other.dht.put({"a": 1}, mutable=True)
        item = one.dht.get(stored.target)
        assert item is not None
        assert item.value == {b"a": 1}
        assert one.dht.ping(other.addresses[0]).node_id == other.dht.node_id
        assert [node.node_id for node in other.dht.find_nodes(HASH)] == [one.dht.node_id]
        assert one.dht.is_running
        assert other.dht.is_reachable
        assert other.dht.statistics()["nodes"] == 1
        assert repr(other.dht).endswith("reachable>")
        other.stop_dht_discovery()
        assert repr(other.dht) == "<DhtHandle not running>"
