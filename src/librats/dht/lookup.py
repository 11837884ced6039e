"""Lookups in the DHT: from nodes that are known to those nearest to a target, and what they keep there."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from librats._core.krpc import KrpcMessage
from librats._core.routing import distance
from librats.dht.addresses import IPV4_SIZE, may_be_told, network_of
from librats.dht.items import Item
from librats.dht.node_ids import ID_SIZE, is_bound_to
from librats.errors import KrpcError, UsageError

__all__ = ["Asked", "Found", "Lookup", "Wanted"]

MOST_CANDIDATES = 200
MOST_NODES_TOLD = 16
MOST_PEERS_TOLD = 200
MOST_PEERS = 2000
MOST_TOKEN = 128
MOST_FAILURES_OF_TOLD = 4
FASTER = 2
SPARES = 2


class Wanted(Enum):
    """What a lookup is after."""

    NODES = auto()
    """The nodes nearest to the target."""

    PEERS = auto()
    """Peers that announced the hash, and the nodes to announce it to."""

    ITEM = auto()
    """The item of BEP 44 that is kept there."""

    PLACES = auto()
    """The nodes to put an item of BEP 44 to."""


class Found(NamedTuple):
    """A node near the target that has answered."""

    node_id: bytes
    """Its id."""

    address: bytes
    """Its compact address."""

    token: bytes | None
    """What it wants to be shown with an announcement or an item."""


class Asked(NamedTuple):
    """A node to ask."""

    address: bytes
    """Its compact address."""

    node_id: bytes | None
    """The id that it should have; None for a node to begin with."""


class _State(Enum):
    NEW = auto()
    ASKED = auto()
    LATE = auto()
    ANSWERED = auto()
    FAILED = auto()


@dataclass(slots=True)
class _Told:
    """What has become of the nodes of one kind, bound or not, that a node told of, and of those that they told of."""

    answered: int = 0
    failed: int = 0
    is_refused: bool = False


@dataclass(slots=True, eq=False)
class _Candidate:
    node_id: bytes | None
    address: bytes
    away: int
    told_by: _Candidate | None
    is_bound: bool
    state: _State = _State.NEW
    token: bytes | None = None
    hops: int = 1
    told: tuple[_Told, _Told] | None = None
    """Of nodes whose id is not bound, and of the others; None where it has not answered."""

    def tellers(self) -> Iterator[_Candidate]:
        """Yield who told of it, who told of that one, and so on."""
        teller = self.told_by
        while teller is not None:
            yield teller
            teller = teller.told_by


class _Survey(NamedTuple):
    """How it stands with the nearest candidates that have not failed."""

    new: list[_Candidate]
    spare: list[_Candidate]
    """Who would be next where one of them fails."""
    is_under_way: bool
    is_near: bool
    """Whether nobody is known who may be nearer than one that has answered."""


FARTHEST = 1 << 160


class Lookup:
    """One lookup, of one family of addresses. It sends nothing: it tells whom to ask, and is told what they answer.

    Nodes are asked in the order of how near they are to the target, a few at a time, and twice as many where nobody is
    known who may be nearer than one that has answered. A node that is late does not hold up the others, and its answer
    still counts. The lookup ends when the nearest that are known have answered, and the
    nearest of those whose id is bound to their address (BEP 42) as well: nobody chooses to be one of these.

    It does not trust what it is told: addresses are checked (:func:`librats.dht.addresses.may_be_told`), a host counts
    once, an answer brings 16 nodes at the most, a node brings no more where most of those that it told of, and that
    these told of, do not answer, nodes with bound ids and others are asked in turn, and items are verified.

    Args:
        target: What is looked up: 20 bytes.
        wanted: What it is after.
        address_size: Size of the addresses of the family: 6 or 18.
        size: How many of the nearest nodes must have answered, and how many of those with a bound id.
        parallel: How many nodes are asked at a time.
        most_asked: How many are asked at the most.
        enough_peers: End when that many peers were found; None looks for as many as there are.
        salt: Salt of the item.
        require_bound: Whether only nodes count whose id is bound to their address (BEP 42).
        is_ours: Tells by id, or None, and compact address whether a node is one of our own, which are not asked.

    Raises:
        UsageError: The target has not 20 bytes, or a number is below 1.

    Example:
        >>> from librats.dht.addresses import compact
        >>> from librats.dht.lookup import Lookup, Wanted
        >>> lookup = Lookup(bytes(20), Wanted.NODES)
        >>> lookup.add_known([(b"a" * 20, compact("192.0.2.7", 6881))])
        >>> [asked.node_id for asked in lookup.to_ask()]
        [b'aaaaaaaaaaaaaaaaaaaa']
        >>> lookup.failed(compact("192.0.2.7", 6881))
        >>> lookup.is_done, lookup.closest()
        (True, [])
    """

    def __init__(
        self,
        target: bytes,
        wanted: Wanted,
        *,
        address_size: int = IPV4_SIZE,
        size: int = 8,
        parallel: int = 4,
        most_asked: int = 150,
        enough_peers: int | None = None,
        salt: bytes = b"",
        require_bound: bool = False,
        is_ours: Callable[[bytes | None, bytes], bool] = lambda node_id, address: False,
    ) -> None:
        if len(target) != ID_SIZE or min(size, parallel, most_asked, enough_peers or 1) < 1:
            raise UsageError(f"a lookup needs a target of {ID_SIZE} bytes, and numbers above 0")
        self.target = target
        self.wanted = wanted
        self.address_size = address_size
        self.asked = 0
        """How many nodes were asked."""
        self.item: Item | None = None
        """The item, valid, and the newest of those that were found."""
        self.liars = 0
        """How many answers had an item that is not valid, or nodes that may not be told of."""
        self._size = size
        self._parallel = parallel
        self._most_asked = most_asked
        self._enough_peers = enough_peers
        self._salt = salt
        self._require_bound = require_bound
        self._is_ours = is_ours
        self._peers: dict[bytes, int] = {}
        # Nearest first; nodes to begin with, of which no id is known, come last.
        self._candidates: list[_Candidate] = []
        self._by_address: dict[bytes, _Candidate] = {}
        self._networks: set[bytes] = set()
        self._ids: set[bytes] = set()
        self._under_way = 0
        self._is_turn_of_bound = True

    def add_known(self, nodes: Iterable[tuple[bytes | None, bytes]]) -> None:
        """Begin with nodes that we know: from our table, or those to begin with.

        Args:
            nodes: Id, or None where it is not known, and compact address of each.
        """
        for node_id, address in nodes:
            self._add(node_id, address, None)

    def _add(self, node_id: bytes | None, address: bytes, told_by: _Candidate | None) -> None:
        network = network_of(address)
        if (
            len(address) != self.address_size
            or network in self._networks
            or (node_id is not None and node_id in self._ids)
            or self._is_ours(node_id, address)
        ):
            return
        is_bound = node_id is not None and is_bound_to(node_id, address)
        if node_id is not None and self._require_bound and not is_bound:
            return
        away = FARTHEST if node_id is None else distance(node_id, self.target)
        candidate = _Candidate(node_id, address, away, told_by, is_bound)
        if told_by is not None:
            candidate.hops = told_by.hops + 1
            if _is_refused(candidate, told_by) or any(_is_refused(candidate, one) for one in told_by.tellers()):
                return
        self._insert(candidate)
        self._by_address[address] = candidate
        self._networks.add(network)
        if len(self._candidates) > MOST_CANDIDATES:
            self._drop_farthest()

    def _insert(self, candidate: _Candidate) -> None:
        insort(self._candidates, candidate, key=_away)
        if candidate.node_id is not None:
            self._ids.add(candidate.node_id)

    def _drop_farthest(self) -> None:
        for candidate in reversed(self._candidates):
            if candidate.state is _State.NEW:
                self._forget(candidate)
                return

    def _forget(self, candidate: _Candidate) -> None:
        """Forget a candidate, so that another may come in with its id or from its host."""
        self._candidates.remove(candidate)
        del self._by_address[candidate.address]
        self._networks.discard(network_of(candidate.address))
        if candidate.node_id is not None:
            self._ids.discard(candidate.node_id)

    @property
    def is_done(self) -> bool:
        """Whether there is nobody left who is worth asking or waiting for."""
        if self._has_enough():
            return True
        survey = self._survey()
        return not (survey.is_under_way or (survey.new and self.asked < self._most_asked))

    def _has_enough(self) -> bool:
        if self._enough_peers is not None and len(self._peers) >= self._enough_peers:
            return True
        return self.item is not None and self.item.key is None

    def _survey(self) -> _Survey:
        """Look at the nearest candidates that have not failed, and at the nearest with a bound id.

        A late one does not count as one of them, and is waited for only where too few have answered.
        """
        new = []
        spare = []
        is_asked = is_late = is_near = False
        left = left_bound = self._size
        left_spare = SPARES
        answered = 0
        for candidate in self._candidates:
            state = candidate.state
            if state is _State.FAILED:
                continue
            if left <= 0 and not (candidate.is_bound and left_bound > 0):
                if left_spare and state is not _State.LATE:
                    left_spare -= 1
                    if state is _State.NEW:
                        spare.append(candidate)
                if not left_spare and left_bound <= 0:
                    break
                continue
            if state is _State.LATE:
                is_late = True
                continue
            if state is _State.NEW:
                new.append(candidate)
            elif state is _State.ASKED:
                is_asked = True
            else:
                is_near = is_near or not (new or is_asked)
                answered += 1
            left -= 1
            left_bound -= candidate.is_bound
        return _Survey(new, spare, is_asked or (is_late and answered < self._size), is_near)

    def to_ask(self) -> list[Asked]:
        """Return whom to ask now; each counts as asked."""
        if self._under_way >= FASTER * self._parallel or self.asked >= self._most_asked or self._has_enough():
            return []
        survey = self._survey()
        parallel = self._parallel * (FASTER if survey.is_near else 1)
        worth = survey.new or (survey.spare if survey.is_near and survey.is_under_way else [])
        chosen = self._in_turn(worth, min(parallel - self._under_way, self._most_asked - self.asked))
        for candidate in chosen:
            candidate.state = _State.ASKED
        self._under_way += len(chosen)
        self.asked += len(chosen)
        return [Asked(candidate.address, candidate.node_id) for candidate in chosen]

    def _in_turn(self, candidates: list[_Candidate], count: int) -> list[_Candidate]:
        """Choose one with a bound id, then one without, and so on, each nearest first: neither hold up the others."""
        kinds = [one for one in candidates if not one.is_bound], [one for one in candidates if one.is_bound]
        chosen = []
        for _ in range(min(count, len(candidates))):
            kind = self._is_turn_of_bound if kinds[self._is_turn_of_bound] else not self._is_turn_of_bound
            chosen.append(kinds[kind].pop(0))
            self._is_turn_of_bound = not kind
        return chosen

    def late(self, address: bytes) -> None:
        """Take note that an answer takes longer than usual.

        Args:
            address: Compact address of the node that was asked.
        """
        candidate = self._by_address.get(address)
        if candidate is not None and candidate.state is _State.ASKED:
            self._settle(candidate, _State.LATE)

    def _settle(self, candidate: _Candidate, state: _State) -> None:
        self._under_way -= candidate.state is _State.ASKED
        candidate.state = state

    def failed(self, address: bytes) -> None:
        """Take note that a node has not answered, or with an error.

        Args:
            address: Compact address of the node that was asked.
        """
        candidate = self._by_address.get(address)
        if candidate is None or candidate.state not in (_State.ASKED, _State.LATE):
            return
        self._settle(candidate, _State.FAILED)
        # Somebody else may be under that id.
        if candidate.node_id is not None:
            self._ids.discard(candidate.node_id)
        for teller in candidate.tellers():
            told = _told(teller)[candidate.is_bound]
            told.failed += 1
            if told.failed >= MOST_FAILURES_OF_TOLD and told.failed > told.answered and not told.is_refused:
                told.is_refused = True
                self._forget_told(teller, candidate.is_bound)

    def _forget_told(self, teller: _Candidate, is_bound: bool) -> None:
        """Forget those of a kind that a node told of, or that these told of, and that were not asked yet."""
        told = [
            one
            for one in self._candidates
            if one.state is _State.NEW and one.is_bound == is_bound and teller in one.tellers()
        ]
        for one in told:
            self._forget(one)

    def answered(self, address: bytes, message: KrpcMessage) -> None:
        """Take note of an answer.

        Args:
            address: Compact address of the node that was asked.
            message: What it answered.
        """
        candidate = self._by_address.get(address)
        if candidate is None or candidate.state not in (_State.ASKED, _State.LATE):
            return
        node_id = message.id
        if node_id is None or not self._is_itself(candidate, node_id) or not self._take_item(message):
            self.failed(address)
            return
        self._settle(candidate, _State.ANSWERED)
        for teller in candidate.tellers():
            _told(teller)[candidate.is_bound].answered += 1
        token = message.token
        if token is not None and len(token) <= MOST_TOKEN:
            candidate.token = token
        self._take_peers(candidate, message)
        self._take_nodes(candidate, message)

    def _is_itself(self, candidate: _Candidate, node_id: bytes) -> bool:
        """Whether a node has the id that it should have; one to begin with gets its own now."""
        if candidate.node_id is not None:
            return candidate.node_id == node_id
        is_bound = is_bound_to(node_id, candidate.address)
        is_ours = self._is_ours(node_id, candidate.address)
        if is_ours or node_id in self._ids or (self._require_bound and not is_bound):
            # Ours, asked already, or of no use as one of the nearest: what it tells is still good to begin with.
            return True
        candidate.node_id = node_id
        candidate.is_bound = is_bound
        candidate.away = distance(node_id, self.target)
        self._candidates.remove(candidate)
        self._insert(candidate)
        return True

    def _take_item(self, message: KrpcMessage) -> bool:
        """Take an item if it is valid and newer than the one before; whether it was not invalid."""
        value = message.item
        if self.wanted is not Wanted.ITEM or value is None:
            return True
        key, signature, sequence = message.key, message.signature, message.sequence
        if key is None:
            item = Item(value=value)
        elif signature is None or sequence is None:
            self.liars += 1
            return False
        else:
            item = Item(value=value, key=key, signature=signature, sequence=sequence, salt=self._salt)
        try:
            if item.target != self.target:
                raise KrpcError(203, "an item of another target")
            if self.item is None or item.sequence > self.item.sequence:
                item.check()
                self.item = item
        except KrpcError:
            self.liars += 1
            return False
        return True

    def _take_peers(self, candidate: _Candidate, message: KrpcMessage) -> None:
        if self.wanted is not Wanted.PEERS:
            return
        for value in dict.fromkeys(message.values[:MOST_PEERS_TOLD]):
            times = self._peers.get(value, 0)
            if (times or len(self._peers) < MOST_PEERS) and may_be_told(value, candidate.address):
                self._peers[value] = times + 1

    def _take_nodes(self, candidate: _Candidate, message: KrpcMessage) -> None:
        nodes = (message.nodes if self.address_size == IPV4_SIZE else message.nodes6) or b""
        each = ID_SIZE + self.address_size
        if len(nodes) % each:
            self.liars += 1
            return
        refused = False
        for start in range(0, min(len(nodes), MOST_NODES_TOLD * each), each):
            node_id, address = nodes[start : start + ID_SIZE], nodes[start + ID_SIZE : start + each]
            if may_be_told(address, candidate.address):
                self._add(node_id, address, candidate)
            else:
                refused = True
        self.liars += refused

    @property
    def peers(self) -> list[bytes]:
        """Compact addresses of peers: first those that most nodes tell of, then in the order in which they came."""
        return sorted(self._peers, key=lambda peer: -self._peers[peer])

    @property
    def hops(self) -> int:
        """How many nodes told of each other, one of the next, up to the nearest that has answered; 0 for none."""
        return next((one.hops for one in self._candidates if one.state is _State.ANSWERED), 0)

    def closest(self) -> list[Found]:
        """Return the nodes nearest to the target that have answered, nearest first.

        They are as many as must have answered, and of those with a bound id as many again where the former have fewer.
        """
        found = []
        left = left_bound = self._size
        for one in self._candidates:
            if one.state is not _State.ANSWERED or one.node_id is None:
                continue
            if left > 0 or (one.is_bound and left_bound > 0):
                found.append(Found(one.node_id, one.address, one.token))
                left -= 1
                left_bound -= one.is_bound
        return found


def _away(candidate: _Candidate) -> int:
    return candidate.away


def _told(teller: _Candidate) -> tuple[_Told, _Told]:
    if teller.told is None:
        teller.told = (_Told(), _Told())
    return teller.told


def _is_refused(candidate: _Candidate, teller: _Candidate) -> bool:
    return teller.told is not None and teller.told[candidate.is_bound].is_refused
