"""Nodes of the DHT that lie: some about everything, some who are all after one key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.simulation.many_nodes import PORT, Chance

from librats._core import krpc, krpc_writer
from librats._core.krpc import KrpcMessage
from librats._core.routing import distance, shared_bits
from librats.dht.addresses import host_of
from librats.dht.answering import GET, GET_PEERS
from librats.dht.items import Item, sign_item
from librats.dht.node_ids import bound_node_id

NEAR = 8
DEAD = 64
FORGED = sign_item("forged", seed=b"\xff" * 32, sequence=1 << 40)


def aimed(host: str, key: bytes) -> bytes:
    """Return the id nearest to a key that a node at an address may have (BEP 42)."""
    ids = [bound_node_id(host, key[:-1] + bytes([key[-1] & 0xF8 | chance])) for chance in range(8)]
    return min(ids, key=lambda node_id: distance(node_id, key))


def target_of(asked: bytes | None) -> tuple[KrpcMessage, bytes] | None:
    """Return a query and what it asks for."""
    if asked is None:
        return None
    message = krpc.parse(asked)
    target = message.target or message.info_hash
    return (message, target) if message.kind == krpc.QUERY and target is not None else None


@dataclass
class Liar:
    """Answers with nodes near whatever is asked for: at addresses of nobody, of victims, and of the asker's network.

    Its peers are nobody's, its items forged, its tokens false, and it says that the asker is somebody else.
    """

    chance: Chance
    victims: list[bytes]

    def sends(self, data: bytes, to: bytes, asked: bytes | None) -> bytes | None:
        found = target_of(asked)
        message = krpc.parse(data)
        if found is None or message.kind != krpc.RESPONSE or message.id is None:
            return data
        query, target = found
        told = [self.chance.address() for _ in range(5)]
        told += [self.chance.choice(self.victims), self.chance.choice(self.victims), bytes([10, 0, 0, 1, 0, 1])]
        nodes = b"".join(self._id_near(target, address) + address for address in told)
        lies: dict[str, Any] = {
            "item": FORGED.value,
            "key": FORGED.key,
            "signature": FORGED.signature,
            "sequence": FORGED.sequence,
        }
        return krpc_writer.response(
            message.transaction_id,
            message.id,
            nodes=nodes,
            token=b"false",
            seen_as=self.chance.address(),
            values=[self.chance.address() for _ in range(20)] if query.method == GET_PEERS else None,
            **(lies if query.method == GET else {}),
        )

    def _id_near(self, target: bytes, address: bytes) -> bytes:
        """Return an id that is bound to an address, or one that is as near as can be."""
        if self.chance.fraction() < 0.5:
            return aimed(host_of(address), target)
        return target[:-1] + bytes([self.chance.randbelow(256)])


@dataclass
class Attack:
    """What those share who are after one key: 256 addresses in 16 networks, with ids that are bound to them.

    Where there are ``impostors``, every second one answers near the key under an id that is not bound to its address.
    """

    key: bytes
    impostors: bool
    old: Item
    """An item of the key that was valid once."""
    chance: Chance
    addresses: list[bytes] = field(default_factory=list)
    bound: list[bytes] = field(default_factory=list)
    """Nodes, as answers have them, nearest first."""
    unbound: list[bytes] = field(default_factory=list)
    dead: list[bytes] = field(default_factory=list)
    """Nodes nearer still, with bound ids, at addresses of nobody."""

    def __post_init__(self) -> None:
        for _ in range(16):
            network = self.chance.address()[:3]
            self.addresses += [network + bytes([host]) + PORT.to_bytes(2) for host in range(16)]
        self.bound = self._nearest(self.addresses[:: 1 + self.impostors])
        self.dead = self._nearest([self.chance.address() for _ in range(2000)])[:DEAD]
        impostors = self.addresses[1::2] if self.impostors else []
        self.unbound = [self.unbound_id(address) + address for address in impostors]

    def _nearest(self, addresses: list[bytes]) -> list[bytes]:
        """Return nodes with bound ids as near to the key as can be, nearest first."""
        nodes = [aimed(host_of(address), self.key) + address for address in addresses]
        return sorted(nodes, key=lambda node: distance(node[:20], self.key))

    def unbound_id(self, address: bytes) -> bytes:
        """Return an id as near to the key as the attacker likes, which is not bound to its address."""
        return self.key[:-4] + address[:4]


@dataclass
class Attacker:
    """One of those who are after a key: near to it they tell of each other, and of nobody, and keep nothing.

    Some hand out an item of old, some a forged one, some say that there is none.
    """

    attack: Attack
    number: int

    @property
    def address(self) -> bytes:
        return self.attack.addresses[self.number]

    @property
    def node_id(self) -> bytes:
        return aimed(host_of(self.address), self.attack.key)

    def sends(self, data: bytes, to: bytes, asked: bytes | None) -> bytes | None:
        attack = self.attack
        found = target_of(asked)
        message = krpc.parse(data)
        if found is None or message.kind != krpc.RESPONSE or shared_bits(found[1], attack.key) < NEAR:
            return data
        kinds = (attack.dead, attack.bound, attack.unbound or attack.dead)
        told = [*attack.bound[:4], *(attack.chance.choice(kind) for kind in kinds * 2)]
        query = found[0]
        item = (None, attack.old, FORGED)[self.number % 3] if query.method == GET else None
        fields: dict[str, Any] = {}
        if item is not None:
            fields = {"item": item.value, "key": item.key, "signature": item.signature, "sequence": item.sequence}
        return krpc_writer.response(
            message.transaction_id,
            attack.unbound_id(self.address) if attack.impostors and self.number % 2 else self.node_id,
            nodes=b"".join(told),
            token=message.token,
            seen_as=to,
            values=[attack.chance.address() for _ in range(20)] if query.method == GET_PEERS else None,
            **fields,
        )
