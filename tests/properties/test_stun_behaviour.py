"""Loss, duplicates and reordering on the way change no verdict, and whatever comes in breaks nothing."""

from __future__ import annotations

from random import Random

from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.stun.scripted import A1, FOUR, PRIVATE, Nat, SeededEntropy, World

from librats.stun.behaviour import BehaviourDiscovery
from librats.stun.client import Answered, StunClient, TimedOut
from librats.stun.lifetime import LifetimeDiscovery
from librats.types import Address, NatTypeInfo

NAMES = {"ei": "endpoint-independent", "ad": "address-dependent", "apd": "address-and-port-dependent"}
kinds = st.sampled_from(sorted(NAMES))


class Weather:
    """Loses some datagrams, doubles some, and lets them overtake each other; but never loses four in a row."""

    def __init__(self, seed: int, loss: float) -> None:
        self._random = Random(seed)  # noqa: S311 - the same in every run
        self._loss = loss
        self._lost = 0

    def __call__(self) -> list[float]:
        if self._random.random() < self._loss and self._lost < 1:
            self._lost += 1
            return []
        self._lost = 0
        copies = 2 if self._random.random() < 0.2 else 1
        return [self._random.uniform(0.005, 0.06) for _ in range(copies)]


def discover(world: World) -> NatTypeInfo:
    machine = BehaviourDiscovery(
        [Address(*endpoints[0]) for endpoints in world.servers],
        local_ports=world.local_ports,
        local_hosts=[PRIVATE],
        entropy=SeededEntropy(1),
        now=world.now,
    )
    world.run(machine, until=lambda: machine.result is not None)
    assert machine.result is not None
    return machine.result


@given(mapping=kinds, filtering=kinds, hairpin=st.booleans(), seed=st.integers(0, 1 << 32))
def test_duplicates_and_reordering_change_no_verdict(mapping: str, filtering: str, hairpin: bool, seed: int) -> None:
    info = discover(World(Nat(mapping, filtering, "random", hairpin), fate=Weather(seed, 0.0)))
    assert (info.mapping, info.filtering, info.problem) == (NAMES[mapping], NAMES[filtering], "")
    assert info.port_allocation == "random"
    assert info.hairpin is hairpin or mapping != "ei"


@given(mapping=kinds, filtering=kinds, seed=st.integers(0, 1 << 32))
def test_loss_may_hide_something_but_makes_up_nothing(mapping: str, filtering: str, seed: int) -> None:
    order = sorted(NAMES.values(), key=["endpoint-independent", "address-dependent", NAMES["apd"]].index)
    info = discover(World(Nat(mapping, filtering), fate=Weather(seed, 0.3)))
    assert info.mapping == NAMES[mapping] or info.mapping in ("unknown", "dependent")
    # Every copy of an answer lost looks as a filter does: what is told is never more open than what is there.
    assert info.filtering == "unknown" or order.index(info.filtering) >= order.index(NAMES[filtering])


@given(lifetime=st.floats(1, 70), seed=st.integers(0, 1 << 32))
def test_a_lifetime_is_never_told_longer_than_it_is(lifetime: float, seed: int) -> None:
    world = World(Nat("ei", "apd", lifetime=lifetime), fate=Weather(seed, 0.2))
    machine = LifetimeDiscovery(Address(*FOUR[0]), entropy=SeededEntropy(), now=world.now, waits=(5, 10, 20, 40))
    world.run(machine, until=lambda: machine.is_over)
    assert machine.lifetime is None or machine.lifetime <= lifetime + 5


@given(st.lists(st.tuples(st.binary(max_size=80), st.booleans(), st.integers(0, 200)), max_size=20))
@example([(b"\x01\x01\x00\x00\x21\x12\xa4\x42", True, 10)])
def test_whatever_comes_in_breaks_nothing(pieces: list[tuple[bytes, bool, int]]) -> None:
    server = Address(A1, 3478)
    client = StunClient(SeededEntropy())
    asked = client.ask(server, now=0.0)
    [(_, request, _)] = client.datagrams_to_send()
    for data, ours, flip in pieces:
        damaged = bytearray(b"\x01\x01" + request[2:] + data if ours else data)
        if damaged:
            damaged[flip % len(damaged)] ^= 1 << flip % 8
        client.receive_datagram(bytes(damaged), server, now=0.1)
    while (event := client.next_event()) is not None:
        assert event.transaction_id == asked
        assert not isinstance(event, TimedOut | Answered) or isinstance(event, Answered)
