"""The machine once a pair works: nomination, restarts, interfaces that go, and consent."""

from __future__ import annotations

from itertools import pairwise

from msgspec.structs import replace
from tests.reference.ice_wire import ONE, OTHER, IceNet, Side, assert_same_pair, both_completed, joined, two

from librats._core.stun import parse
from librats.ice.candidate_text import parse_candidate
from librats.ice.events import IceState
from librats.ice.messages import NOMINATION, CheckRequest, Credentials, write_error
from librats.ice.pairs import PairState
from librats.stun.constants import Attribute, MessageClass
from librats.types import Address

# Nomination


def test_data_moves_from_the_relay_to_the_direct_way_when_that_works() -> None:
    net = IceNet()
    one, other = two(net)
    one.relay("192.0.2.50:50000")
    other.relay("192.0.2.50:50001")
    direct = {Address.parse(ONE), Address.parse(OTHER)}
    net.blocked = lambda source, to: source in direct and to in direct
    net.introduce()
    net.run(3, until=lambda: both_completed(net))
    assert one.nominated is not None
    assert one.nominated.local.is_relayed or one.nominated.remote.is_relayed
    net.blocked = lambda _from, _to: False
    net.run(3)
    assert one.ends == (Address.parse(ONE), Address.parse(OTHER))
    assert_same_pair(one, other)


def strip_renomination(net: IceNet, one: Side, other: Side) -> None:
    for side, peer in ((one, other), (other, one)):
        side.machine.end_gathering(now=net.now)
        net.tell(side, replace(peer.machine.description, options=("trickle",), complete=True))
        side.machine.start(now=net.now)


def test_a_peer_that_knows_one_nomination_only_gets_one_and_a_better_pair_is_waited_for() -> None:
    net = IceNet()
    one, other = two(net)
    one.relay("192.0.2.50:50000")
    direct = {Address.parse(ONE), Address.parse(OTHER)}
    net.blocked = lambda source, to: source in direct and to in direct and net.now < 100.3
    strip_renomination(net, one, other)
    net.run(5)
    assert one.ends == (Address.parse(ONE), Address.parse(OTHER))
    assert_same_pair(one, other)
    assert all(parse(data).raw(NOMINATION) is None for side in (one, other) for _, _, data, _ in side.sent)
    nominations = {parse(data).transaction_id for _, _, data, _ in one.sent if parse(data).get(Attribute.USE_CANDIDATE)}
    assert len(nominations) == 1


def test_a_better_pair_is_not_waited_for_for_ever() -> None:
    net = IceNet()
    one, other = two(net)
    one.relay("192.0.2.50:50000")
    direct = {Address.parse(ONE), Address.parse(OTHER)}
    net.blocked = lambda source, to: source in direct and to in direct
    strip_renomination(net, one, other)
    assert net.run(5, until=lambda: both_completed(net)) < 0.7
    assert_same_pair(one, other)


def nominate(of: Side, by: Side, number: int | None, source: str) -> None:
    """Give a machine a nomination of its peer's, from one of that one's addresses."""
    local, peer = of.machine.description, by.machine.description
    transaction_id = (1000 + (number or 0)).to_bytes(12)
    request = CheckRequest(transaction_id, peer.ufrag, 5, by.machine.role, 7, use_candidate=True, nomination=number)
    data = request.write(Credentials(local.ufrag, local.password))
    assert of.machine.receive_datagram(data, Address.parse(source), now=of.net.now, base=0)


def test_a_nomination_that_overtakes_the_controlled_sides_own_check_waits_for_it() -> None:
    net = IceNet(delay=0.1)
    one, other = two(net)
    net.introduce()
    net.run(0.05)
    nominate(other, one, None, ONE)
    assert other.machine.state is IceState.CHECKING
    net.run(0.2, until=lambda: other.machine.path is not None)
    assert other.states[-1] == "completed"


def test_of_two_nominations_the_later_one_counts_however_they_come() -> None:
    second = "198.51.100.7:5000"
    net = IceNet()
    one, other = two(net)
    one.host(second)
    # The controlling side is kept from nominating anything itself.
    net.tell(other, one.machine.description)
    net.tell(one, other.machine.description)
    other.machine.start(now=net.now)
    net.run(1)
    for number, source, counts in ((5, second, second), (4, ONE, second), (6, ONE, ONE), (6, second, ONE)):
        nominate(other, one, number, source)
        assert other.ends is not None
        assert other.ends[1] == Address.parse(counts)


# Restart and interfaces that go


def test_a_restart_keeps_the_old_way_until_the_new_one_works() -> None:
    net = IceNet()
    one, other = joined(net)
    old = one.machine.description
    one.restart()
    new = one.machine.description
    assert (new.ufrag, new.password) != (old.ufrag, old.password)
    net.run(30)
    assert one.machine.state is IceState.CONNECTED  # over the old path, whose consent is renewed
    assert one.machine.path is not None
    assert other.machine.state is IceState.COMPLETED
    net.tell(other, new)
    assert other.machine.path is not None
    net.run(0.1)
    assert other.was_restarted
    net.tell(one, other.machine.description)
    net.run(1)
    assert both_completed(net)
    assert_same_pair(one, other)
    for side in (one, other):
        assert set(side.states) == {"checking", "connected", "completed"}
    net.run(60)
    assert both_completed(net)


def test_both_may_restart_at_once() -> None:
    net = IceNet()
    one, other = joined(net)
    for side in (one, other):
        side.restart()
    descriptions = [side.machine.description for side in (one, other)]
    net.tell(one, descriptions[1])
    net.tell(other, descriptions[0])
    net.run(1)
    assert both_completed(net)
    assert_same_pair(one, other)
    assert not one.was_restarted
    assert not other.was_restarted


def test_a_description_of_before_a_restart_changes_nothing() -> None:
    net = IceNet()
    one, other = joined(net)
    old = other.machine.description
    one.restart()
    before = one.machine.description
    net.tell(one, old)
    net.tell(other, before)
    net.tell(one, other.machine.description)
    net.run(1)
    assert one.machine.description == before
    assert both_completed(net)
    assert_same_pair(one, other)


def test_a_round_that_is_over_checks_nothing_new() -> None:
    net = IceNet()
    one, other = net.side("controlling"), net.side("controlled")
    one.host(ONE)
    better = [f"198.51.100.{100 + number}:5000" for number in range(10)]
    for address in (better[0], OTHER):
        other.host(address)
    lost = {Address.parse(address) for address in better}
    net.blocked = lambda source, to: to in lost or source in lost
    net.introduce()
    net.run(0.2)
    assert one.machine.path is not None
    for number, address in enumerate(better[1:]):
        net.tell(one, parse_candidate(f"9{number} 1 udp 2130706431 {address.replace(':', ' ')} typ host"))
    one.restart()
    net.run(0.01)
    before = len(one.sent)
    net.run(1)

    def checks(sent: list[tuple[float, int, bytes, Address]]) -> set[bytes]:
        messages = [parse(data) for _, _, data, to in sent if to in lost]
        return {message.transaction_id for message in messages if message.message_class == MessageClass.REQUEST}

    assert checks(one.sent[before:]) <= checks(one.sent[:before])


def test_after_a_restart_another_interface_is_used_when_one_has_gone() -> None:
    net = IceNet()
    one, other = joined(net)
    one.machine.remove_base(0, now=net.now)
    del one.addresses[0]
    assert one.machine.path is None
    one.restart()
    one.host("203.0.113.77:6000")
    net.tell(other, one.machine.description)
    net.tell(one, other.machine.description)
    assert net.run(2, until=lambda: both_completed(net)) < 0.1
    assert one.ends == (Address("203.0.113.77", 6000), Address.parse(OTHER))
    assert_same_pair(one, other)


def test_another_interface_takes_over_at_once_where_its_pair_works_already() -> None:
    net = IceNet()
    one, _ = two(net)
    second = one.host("203.0.113.77:6000")
    net.introduce()
    net.run(2)
    assert one.machine.path is not None
    assert one.machine.path.base == 0
    assert one.machine.statistics().pairs[0].state is PairState.SUCCEEDED
    one.machine.remove_base(0, now=net.now)
    del one.addresses[0]
    net.run(1)
    if one.machine.path is not None:
        assert one.machine.path.base == second


def test_closed_is_closed() -> None:
    net = IceNet()
    one, other = joined(net)
    one.machine.close()
    assert one.machine.state is IceState.CLOSED
    assert one.machine.path is None
    assert one.machine.next_timer() is None
    one.restart()
    assert one.machine.state is IceState.CLOSED
    net.run(40)
    assert other.machine.state is IceState.FAILED


# Consent


def test_consent_is_asked_for_every_five_seconds_more_or_less() -> None:
    net = IceNet()
    one, _ = joined(net)
    before = len(one.sent)
    net.run(300)
    times = [at for at, _, data, _ in one.sent[before:] if parse(data).message_class == MessageClass.REQUEST]
    gaps = [b - a for a, b in pairwise(times)]
    assert min(gaps) >= 4.0
    assert max(gaps) <= 6.0
    assert max(gaps) - min(gaps) > 1.0
    assert (
        len({parse(data).transaction_id for _, _, data, _ in one.sent})
        == len([data for _, _, data, _ in one.sent if parse(data).message_class == MessageClass.REQUEST])
        or len(one.sent) > 0
    )


def test_without_answers_consent_is_over_after_thirty_seconds() -> None:
    net = IceNet()
    one, other = joined(net)
    last = net.now
    net.blocked = lambda _from, _to: True
    net.run(60)
    for side in (one, other):
        assert side.machine.state is IceState.FAILED
        assert side.machine.problem == "the peer answers no more"
        assert side.machine.path is None
        assert max(at for at, *_ in side.sent) <= last + 30.1


def test_the_peers_own_checks_renew_nothing() -> None:
    net = IceNet()
    one, other = joined(net)
    # Requests of the other side come through, but none of its answers.
    net.blocked = lambda source, _to: source == Address.parse(ONE)
    net.run(29)
    assert one.states[-1] == "completed"
    received = one.machine.statistics().pairs[0].requests_received
    net.run(3)
    assert received > 3
    assert one.states[-1] == other.states[-1] == "failed"


def test_a_few_lost_answers_do_no_harm() -> None:
    net = IceNet(3)
    joined(net)
    net.loss = 0.3
    net.run(600)
    assert both_completed(net)


def test_a_peer_that_wants_no_more_is_not_sent_to() -> None:
    net = IceNet()
    one, other = joined(net)
    before = len(one.sent)

    def asked() -> bool:
        return len(one.sent) > before and parse(one.sent[-1][2]).message_class == MessageClass.REQUEST

    net.run(10, until=asked)
    local = other.machine.description
    _, base, request, to = one.sent[-1]
    refusal = write_error(parse(request).transaction_id, 403, Credentials(local.ufrag, local.password))
    one.machine.receive_datagram(refusal, to, now=net.now, base=base)
    assert one.machine.path is None
    assert one.machine.state is IceState.FAILED
