"""The server half of a node of the DHT: what it answers to queries (BEP 5, 32, 33, 42, 43, 44, 51)."""

from __future__ import annotations

from collections import defaultdict
from typing import TypedDict

from librats._core import krpc, krpc_writer
from librats._core.krpc import KrpcMessage
from librats.dht.addresses import IPV4_SIZE, IPV6_SIZE, PORT_SIZE, network_of
from librats.dht.items import MAX_SALT, MAX_VALUE, SALT_TOO_BIG, VALUE_TOO_BIG, Item, ItemStore
from librats.dht.node_ids import ID_SIZE
from librats.dht.peer_store import PeerStore
from librats.dht.rates import Limits, Rates
from librats.dht.scrape import FILTER_SIZE
from librats.dht.siblings import Siblings
from librats.dht.tables import Tables
from librats.dht.tokens import Tokens
from librats.errors import BencodeError, KrpcError
from librats.types import Entropy

__all__ = ["Answerer"]

PROTOCOL_ERROR = 203
METHOD_UNKNOWN = 204

AMPLIFICATION = 4
LARGEST = 1280
NODES = 8
VALUES = 50
SAMPLES = 20
SAMPLE_INTERVAL = 600
HELD = 200
HELD_SECONDS = 5.0
BESIDE_VALUES = 320

NAMES = tuple("unknown" if name is None else name.decode() for name in krpc.METHODS)
PING, FIND_NODE, GET_PEERS, ANNOUNCE_PEER, GET, PUT, SAMPLE_INFOHASHES = range(1, 8)


class _Answer(TypedDict, total=False):
    """What is to be answered, beside what all answers have."""

    nodes: bytes
    nodes6: bytes
    token: bytes
    values: list[bytes]
    seeds_filter: bytes
    peers_filter: bytes
    item: bytes
    key: bytes
    signature: bytes
    sequence: int
    samples: bytes
    number: int
    interval: int


def _leave_out_item(answer: _Answer) -> None:
    del answer["item"]
    answer.pop("key", None)
    answer.pop("signature", None)


def _shrink(answer: _Answer, excess: int) -> bool:
    """Leave out what is dispensable first, a piece at a time; whether there was anything."""
    samples, values = answer.get("samples"), answer.get("values")
    nodes, nodes6 = answer.get("nodes", b""), answer.get("nodes6", b"")
    if samples:
        answer["samples"] = samples[: -max(1, -(-excess // ID_SIZE)) * ID_SIZE]
    elif values and (len(values) > NODES or not (nodes or nodes6)):
        answer["values"] = values[: -max(1, excess // (len(values[0]) + 2))]
    elif "seeds_filter" in answer:
        del answer["seeds_filter"]
        del answer["peers_filter"]
    elif nodes6 and len(nodes6) >= len(nodes):
        answer["nodes6"] = nodes6[: -(ID_SIZE + IPV6_SIZE)]
    elif nodes:
        answer["nodes"] = nodes[: -(ID_SIZE + IPV4_SIZE)]
    else:
        return False
    return True


class Answerer:
    """Answers queries. It sends nothing by itself, and touches no network and no clock.

    A source that has not proven that it hears what is sent to it is answered with four times the bytes of its query at
    the most, and with so many a second. Where an item does not fit then, the query is held until it has proven itself:
    :meth:`take_to_prove` tells whom to ping, and :meth:`prove` what to send then.

    Args:
        tables: The nodes that we know; who asks becomes a spare there.
        entropy: Where tokens come from.
        now: Seconds.
        limits: What others may have of us.
        version: Our software, as messages tell it: two letters and two bytes.
        siblings: With whom peers and items are kept together; None for nobody.

    Example:
        >>> from librats.dht.addresses import compact
        >>> from librats.dht.answering import Answerer
        >>> from librats.dht.tables import Tables
        >>> from librats.testing.entropy import SeededEntropy
        >>> answerer = Answerer(Tables(b"mnopqrstuvwxyz123456"), SeededEntropy(1), now=0.0)
        >>> ping = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe"
        >>> answerer.receive(ping, compact("192.0.2.7", 6881), now=1.0)
        b'd2:ip6:\\xc0\\x00\\x02\\x07\\x1a\\xe11:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re'
    """

    def __init__(
        self,
        tables: Tables,
        entropy: Entropy,
        *,
        now: float,
        limits: Limits | None = None,
        version: bytes | None = None,
        siblings: Siblings | None = None,
    ) -> None:
        self.tables = tables
        self.peers = PeerStore(entropy) if siblings is None else siblings.peers
        self.items = ItemStore() if siblings is None else siblings.items
        self.counts: defaultdict[str, int] = defaultdict(int)
        """How often what happened: queries by method, ``error 203`` and so on, and what was not answered."""
        self._tokens = Tokens(entropy, now=now)
        self._rates = Rates(Limits() if limits is None else limits)
        self._version = version
        self._held: dict[bytes, tuple[KrpcMessage, int, float]] = {}
        self._to_prove: list[bytes] = []
        self._methods = {
            FIND_NODE: self._find_node,
            GET_PEERS: self._get_peers,
            ANNOUNCE_PEER: self._announce_peer,
            GET: self._get,
            PUT: self._put,
            SAMPLE_INFOHASHES: self._sample_infohashes,
        }

    def receive(self, data: bytes, source: bytes, *, now: float) -> bytes | None:
        """Answer a datagram; what is no query is counted and dropped.

        Args:
            data: The datagram.
            source: Compact address that it came from.
            now: Seconds.

        Returns:
            What to send back, if anything.
        """
        try:
            message = krpc.parse(data)
        except (BencodeError, KrpcError):
            self.counts["malformed"] += 1
            return None
        if message.kind != krpc.QUERY:
            self.counts["not a query"] += 1
            return None
        return self.answer(message, len(data), source, now=now)

    def answer(self, message: KrpcMessage, size: int, source: bytes, *, now: float) -> bytes | None:
        """Answer a query.

        Args:
            message: The query.
            size: Bytes of the datagram that it came in.
            source: Compact address that it came from.
            now: Seconds.

        Returns:
            What to send back, if anything.
        """
        rates = self._rates
        if not rates.may_ask(network_of(source), now=now):
            self.counts["too many queries"] += 1
            return None
        method = message.method
        self.counts[NAMES[method]] += 1
        node_id = message.id
        answer: _Answer = {}
        room = LARGEST if rates.is_proven(source, now=now) else min(AMPLIFICATION * size, LARGEST)
        try:
            if not method:
                named = message.method_name is not None
                code = METHOD_UNKNOWN if named else PROTOCOL_ERROR
                raise KrpcError(code, "Method Unknown" if named else "a query without a method")
            if node_id is None:
                raise KrpcError(PROTOCOL_ERROR, "a query without the id of its node")
            if method != PING:
                self._methods[method](message, source, answer, room, now)
        except KrpcError as error:
            self.counts[f"error {error.code}"] += 1
            transaction_id, words = message.transaction_id or b"", error.reason.encode()
            written = krpc_writer.error(transaction_id, error.code, words, seen_as=source, version=self._version)
        else:
            if not message.read_only:
                self.tables.heard(node_id, source, now=now, answered=False)
            fitting = self._fitted(answer, message, size, room, source, now)
            if fitting is None:
                return None
            written = fitting
        if rates.is_proven(source, now=now):
            return written
        if len(written) > AMPLIFICATION * size:
            self.counts["would amplify"] += 1
            return None
        if not rates.may_be_sent(network_of(source), len(written), now=now):
            self.counts["too many bytes"] += 1
            return None
        return written

    def _written(self, answer: _Answer, message: KrpcMessage, source: bytes) -> bytes:
        transaction_id = message.transaction_id or b""
        own_id = self.tables.own_ids[len(source)]
        return krpc_writer.response(transaction_id, own_id, seen_as=source, version=self._version, **answer)

    def _fitted(
        self, answer: _Answer, message: KrpcMessage, size: int, room: int, source: bytes, now: float
    ) -> bytes | None:
        """Write an answer, shortened until there is room for it; None where its query is held."""
        written = self._written(answer, message, source)
        if len(written) <= room:
            return written
        if "item" in answer and room < LARGEST:
            if not message.read_only and len(self._held) < HELD and source not in self._held:
                self.counts["held"] += 1
                self._held[source] = (message, size, now)
                self._to_prove.append(source)
                return None
            _leave_out_item(answer)
            written = self._written(answer, message, source)
        self.counts["cut"] += 1
        while len(written) > room and _shrink(answer, len(written) - room):
            written = self._written(answer, message, source)
        return written

    def take_to_prove(self) -> list[bytes]:
        """Return addresses to ping: sources of queries that are held."""
        taken, self._to_prove = self._to_prove, []
        return taken

    def prove(self, source: bytes, *, now: float) -> bytes | None:
        """Take note that a source answered us; return the answer to the query of it that is held.

        Args:
            source: Compact address.
            now: Seconds.
        """
        self._rates.prove(source, now=now)
        held = self._held.pop(source, None)
        return self.answer(held[0], held[1], source, now=now) if held is not None else None

    def expire(self, *, now: float) -> None:
        """Forget what is too old: peers, items, what hosts used up, and queries that are held.

        Args:
            now: Seconds.
        """
        self.peers.expire(now=now)
        self.items.expire(now=now)
        self._rates.expire(now=now)
        for source in [source for source, (_, _, at) in self._held.items() if now - at >= HELD_SECONDS]:
            del self._held[source]

    def _add_nodes(self, message: KrpcMessage, source: bytes, target: bytes, answer: _Answer) -> None:
        want = message.want
        is_ipv4 = len(source) == IPV4_SIZE
        has_wish = b"n4" in want or b"n6" in want
        if b"n4" in want if has_wish else is_ipv4:
            answer["nodes"] = self.tables.closest(target, IPV4_SIZE, NODES)
        if b"n6" in want if has_wish else not is_ipv4:
            answer["nodes6"] = self.tables.closest(target, IPV6_SIZE, NODES)

    def _find_node(self, message: KrpcMessage, source: bytes, answer: _Answer, room: int, now: float) -> None:
        self._add_nodes(message, source, _needed(message.target, "target"), answer)

    def _get_peers(self, message: KrpcMessage, source: bytes, answer: _Answer, room: int, now: float) -> None:
        info_hash = _needed(message.info_hash, "info_hash")
        host = source[:-PORT_SIZE]
        self._add_nodes(message, source, info_hash, answer)
        answer["token"] = self._tokens.give(host, info_hash, now=now)
        # More than what there is room for beside nodes and all the rest is not looked for.
        count = min(VALUES, max(NODES, (room - BESIDE_VALUES) // (len(source) + 2)))
        values = self.peers.peers(info_hash, now=now, host_size=len(host), count=count, without_seeds=message.noseed)
        if values:
            answer["values"] = values
        if message.scrape and room > 2 * FILTER_SIZE and self.peers.knows(info_hash, now=now):
            answer["seeds_filter"], answer["peers_filter"] = self.peers.scrape(info_hash, now=now)

    def _announce_peer(self, message: KrpcMessage, source: bytes, answer: _Answer, room: int, now: float) -> None:
        info_hash = _needed(message.info_hash, "info_hash")
        port = int.from_bytes(source[-PORT_SIZE:]) if message.implied_port else message.port
        if not port:
            raise KrpcError(PROTOCOL_ERROR, "a port is missing")
        self._check_token(message, source, info_hash, now)
        address = source[:-PORT_SIZE] + port.to_bytes(PORT_SIZE)
        self.peers.announce(info_hash, address, now=now, is_seed=message.seed)

    def _check_token(self, message: KrpcMessage, source: bytes, target: bytes, now: float) -> None:
        token = message.token
        if token is None or not self._tokens.accepts(token, source[:-PORT_SIZE], target, now=now):
            raise KrpcError(PROTOCOL_ERROR, "Bad token")
        self._rates.prove(source, now=now)

    def _get(self, message: KrpcMessage, source: bytes, answer: _Answer, room: int, now: float) -> None:
        target = _needed(message.target, "target")
        self._add_nodes(message, source, target, answer)
        answer["token"] = self._tokens.give(source[:-PORT_SIZE], target, now=now)
        item = self.items.get(target, now=now)
        if item is None:
            return
        known = message.sequence
        if item.key is None:
            answer["item"] = item.value
            return
        answer["sequence"] = item.sequence
        if known is None or item.sequence > known:
            answer["item"], answer["key"], answer["signature"] = item.value, item.key, item.signature

    def _put(self, message: KrpcMessage, source: bytes, answer: _Answer, room: int, now: float) -> None:
        value = _needed(message.item, "v")
        key = message.key
        salt = message.salt or b""
        if len(value) > MAX_VALUE:
            raise KrpcError(VALUE_TOO_BIG, "message (v field) too big")
        if len(salt) > MAX_SALT:
            raise KrpcError(SALT_TOO_BIG, "salt (salt field) too big")
        if key is None:
            item = Item(value=value)
        else:
            sequence = message.sequence
            if sequence is None:
                raise KrpcError(PROTOCOL_ERROR, "seq is missing")
            signature = _needed(message.signature, "sig")
            item = Item(value=value, key=key, signature=signature, sequence=sequence, salt=salt)
        self._check_token(message, source, item.target, now)
        self.items.put(item, now=now, compare=message.compare)

    def _sample_infohashes(self, message: KrpcMessage, source: bytes, answer: _Answer, room: int, now: float) -> None:
        self._add_nodes(message, source, _needed(message.target, "target"), answer)
        answer["samples"] = b"".join(self.peers.sample(SAMPLES))
        answer["number"] = len(self.peers)
        answer["interval"] = SAMPLE_INTERVAL


def _needed(field: bytes | None, name: str) -> bytes:
    if field is None:
        raise KrpcError(PROTOCOL_ERROR, f"{name} is missing")
    return field
