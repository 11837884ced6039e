"""What each strategy may do to reach a peer, and what it cannot do without."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Flag, auto

from msgspec import Struct

from librats.errors import UsageError
from librats.types import AttemptReason, ConnectionMethod, ConnectionStrategy, NatType, PathPolicy

__all__ = [
    "Plan",
    "Situation",
    "Ways",
    "joins_nats",
    "lacks",
    "may_go",
    "plan_of",
    "policy_of",
    "strategy_of",
]


class Ways(Flag):
    """What two peers that are introduced to each other may use to find a way."""

    NONE = 0
    """Nothing: introducers are not asked."""

    HOST = auto()
    """Addresses of their interfaces."""

    REFLEXIVE = auto()
    """Addresses at which others see them."""

    RELAYED = auto()
    """Addresses on a TURN server."""

    PUNCHED = auto()
    """Ports that hole punching beyond ICE finds."""

    CARRIED = auto()
    """The introducer, where it carries sessions."""

    DIRECT = HOST | REFLEXIVE
    """What ICE does without a relay."""

    ALL = DIRECT | RELAYED | PUNCHED | CARRIED
    """Whatever works."""


class Plan(Struct, frozen=True):
    """What a strategy does."""

    dials: frozenset[ConnectionMethod]
    """How known addresses are dialled."""

    meets: Ways
    """What is used with a peer that introducers introduce."""


_STRAIGHT = frozenset({ConnectionMethod.TCP, ConnectionMethod.UDP})
_UDP, _RELAY = frozenset({ConnectionMethod.UDP}), frozenset({ConnectionMethod.RELAY})

_PLANS = {
    ConnectionStrategy.AUTO_ADAPTIVE: Plan(_STRAIGHT | _RELAY, Ways.ALL),
    ConnectionStrategy.DIRECT_ONLY: Plan(_STRAIGHT, Ways.NONE),
    ConnectionStrategy.STUN_ASSISTED: Plan(_STRAIGHT, Ways.DIRECT),
    ConnectionStrategy.ICE_FULL: Plan(frozenset(), Ways.DIRECT | Ways.RELAYED),
    ConnectionStrategy.HOLE_PUNCHING: Plan(_UDP, Ways.DIRECT | Ways.PUNCHED),
    ConnectionStrategy.TURN_RELAY: Plan(_RELAY, Ways.RELAYED),
}


def strategy_of(strategy: ConnectionStrategy | str) -> ConnectionStrategy:
    """Return a strategy that was named.

    Raises:
        UsageError: There is no such one.
    """
    if type(strategy) is ConnectionStrategy:
        return strategy
    try:
        return ConnectionStrategy(strategy)
    except ValueError:
        known = ", ".join(ConnectionStrategy)
        raise UsageError(f"no strategy {strategy!r}; there is {known}") from None


def plan_of(strategy: ConnectionStrategy) -> Plan:
    """Return what a strategy does.

    Example:
        >>> plan_of(ConnectionStrategy.DIRECT_ONLY).meets
        <Ways.NONE: 0>
    """
    return _PLANS[strategy]


def may_go(strategy: ConnectionStrategy, method: ConnectionMethod) -> bool:
    """Tell whether a strategy might have led to a session that goes that way.

    Example:
        >>> may_go(ConnectionStrategy.TURN_RELAY, ConnectionMethod.TCP)
        False
    """
    plan = plan_of(strategy)
    if method is ConnectionMethod.CARRIED:
        return Ways.CARRIED in plan.meets
    relayed = method is ConnectionMethod.RELAY
    met = plan.meets & (Ways.RELAYED if relayed else Ways.DIRECT) and method is not ConnectionMethod.TCP
    return method in plan.dials or bool(met)


class Situation(Struct, frozen=True, kw_only=True):
    """What a client has when it is asked to reach a peer."""

    policy: PathPolicy = PathPolicy.AUTO
    """Which ways sessions may go."""

    has_id: bool = True
    """Whether the peer's id is known."""

    has_address: bool = False
    """Whether an address of the peer is known."""

    meets: bool = True
    """Whether this client takes part in introductions: ICE and encryption are on."""

    has_introducers: bool = False
    """Whether somebody is connected, or configured, who introduces."""

    is_found: bool = False
    """Whether the peer may be found by its id, in the DHT, or by the introducers of its ticket."""

    has_udp: bool = True
    """Whether sessions go over UDP."""

    has_stun: bool = False
    """Whether there is a STUN server to be asked."""

    has_relay: bool = False
    """Whether there is a TURN server, or an introducer that may grant one."""

    relays: bool = True
    """Whether TURN servers are asked for relayed addresses."""

    punches: bool = True
    """Whether hole punching is on."""


def lacks(strategy: ConnectionStrategy, situation: Situation) -> tuple[str, AttemptReason] | None:
    """Return what is missing for a strategy, in words and in a word; None where it can be tried.

    Example:
        >>> lacks(ConnectionStrategy.TURN_RELAY, Situation(has_address=True))[1]
        <AttemptReason.NOT_CONFIGURED: 'not_configured'>
    """
    plan = plan_of(strategy)
    missing = next((words for is_missing, words in _needs(strategy, situation) if is_missing), "")
    if missing:
        return missing, AttemptReason.NOT_CONFIGURED
    if (situation.has_address and plan.dials) or situation.is_found:
        return None
    nowhere = "no address is known for that peer id"
    for is_missing, words, reason in (
        (not plan.meets, nowhere, AttemptReason.NO_ADDRESS),
        (not situation.has_id, "introducers know peers by their ids alone", AttemptReason.UNKNOWN_PEER),
        (not situation.meets, f"{nowhere}, and enable_ice or encryption is off", AttemptReason.NO_ADDRESS),
        (not situation.has_introducers, f"{nowhere}, and nobody introduces us", AttemptReason.NO_INTRODUCER),
    ):
        if is_missing:
            return words, reason
    return None


def _needs(strategy: ConnectionStrategy, situation: Situation) -> Iterator[tuple[bool, str]]:
    """Go through what a strategy cannot do without: whether the configuration lacks or forbids it, and its name."""
    plan = plan_of(strategy)
    relays = ConnectionMethod.RELAY in plan.dials or Ways.RELAYED in plan.meets
    hides = situation.policy is PathPolicy.RELAY_ONLY
    yield hides and not relays, f"path_policy relay_only leaves nothing of the strategy {strategy}"
    if strategy is ConnectionStrategy.TURN_RELAY:
        is_direct = situation.policy is PathPolicy.DIRECT_ONLY
        yield is_direct, f"path_policy direct_only leaves nothing of the strategy {strategy}"
        yield not situation.relays, "enable_turn_relay is off"
        yield not situation.has_relay, "no TURN server is configured, and no introducer that might grant one"
    if strategy is ConnectionStrategy.ICE_FULL:
        yield not situation.meets, "enable_ice or encryption is off"
    if strategy is ConnectionStrategy.STUN_ASSISTED:
        yield not situation.has_stun, "no STUN server is configured"
    if strategy is ConnectionStrategy.HOLE_PUNCHING:
        yield not situation.has_udp, "transports has no UDP"
        yield not situation.punches, "enable_hole_punching is off"


def policy_of(ways: Ways, policy: PathPolicy) -> PathPolicy:
    """Return the path policy of a single attempt: that of the client, made narrower by what may be used.

    Example:
        >>> policy_of(Ways.RELAYED, PathPolicy.AUTO)
        <PathPolicy.RELAY_ONLY: 'relay_only'>
    """
    if policy is not PathPolicy.AUTO or (ways & Ways.RELAYED and ways & Ways.DIRECT):
        return policy
    return PathPolicy.RELAY_ONLY if ways & Ways.RELAYED else PathPolicy.DIRECT_ONLY


def joins_nats(one: str, other: str) -> bool:
    """Tell whether both sending to where the other one is seen can join two NATs; True where that is not known.

    Args:
        one: The :class:`~librats.NatType` of one side.
        other: That of the other.

    Example:
        >>> joins_nats("symmetric", "full-cone"), joins_nats("symmetric", "port-restricted-cone")
        (True, False)
    """
    hard = {NatType.SYMMETRIC, NatType.PORT_RESTRICTED_CONE, NatType.FIREWALL}
    return not (NatType.SYMMETRIC in (one, other) and one in hard and other in hard)
