"""Why an attempt to reach a peer has come to nothing, in a word for programs."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["AttemptReason"]


class AttemptReason(StrEnum):
    """Why an attempt has failed. The reference has a page with the cause of each, and what to do."""

    REFUSED = "refused"
    """The host has answered: nobody listens there."""

    UNREACHABLE = "unreachable"
    """This host's network knows no way there."""

    NO_ANSWER = "no_answer"
    """Nothing has come back from there in its time."""

    TIMEOUT = "timeout"
    """The time for everything was over before it came to an end."""

    OVERTAKEN = "overtaken"
    """Another way was quicker, and this one was given up."""

    NO_NAME = "no_name"
    """The host name has no address."""

    NO_ADDRESS = "no_address"
    """No address of that peer is known, and the strategy needs one."""

    NOT_CONFIGURED = "not_configured"
    """What the strategy needs is not configured, or is switched off."""

    NO_INTRODUCER = "no_introducer"
    """Nobody is connected who could introduce the two."""

    UNKNOWN_PEER = "unknown_peer"
    """The introducers are not connected to that peer; or nobody knows who is at that address."""

    NOT_IN_DHT = "not_in_dht"
    """The DHT has no record of that peer, and knows nobody who introduces it."""

    DHT_UNREACHABLE = "dht_unreachable"
    """No node of the DHT has answered, or not in its time."""

    INTRODUCTION_FAILED = "introduction_failed"
    """The introducer did not, or could not, pass the letters on."""

    PEER_REFUSED = "peer_refused"
    """The peer does not want to talk to this client, or has no place for it."""

    DENIED = "denied"
    """This client's own allow or deny list, hook or limit says no."""

    WRONG_IDENTITY = "wrong_identity"
    """Somebody else than the peer that was expected has answered."""

    OWN_ADDRESS = "own_address"
    """This client itself is there."""

    HANDSHAKE_FAILED = "handshake_failed"
    """There was a connection, and no session came about on it."""

    ADDRESS_REFUSED = "address_refused"
    """The address is none that a stranger may have this client send to, or none that the strategy allows."""

    NO_PATH = "no_path"
    """ICE has tried every pair of addresses, and none works."""

    NAT_INCOMPATIBLE = "nat_incompatible"
    """Both sides' NATs give every destination another port, which cannot be found out or guessed."""

    UDP_BLOCKED = "udp_blocked"
    """No datagrams get through to one of the sides, and its TCP ports cannot be known."""

    CARRY_LIMIT = "carry_limit"
    """An introducer carries no more of the session, or no further one: a limit is reached, which the words name."""

    RELAY_DENIED = "relay_denied"
    """A TURN server has refused: the credentials, another allocation, or the peer's address."""

    RELAY_UNREACHABLE = "relay_unreachable"
    """No TURN server has answered."""

    PROXY_UNREACHABLE = "proxy_unreachable"
    """The proxy cannot be reached, or answers in something else than it should."""

    PROXY_DENIED = "proxy_denied"
    """The proxy has refused: the credentials, or the server behind it."""

    OUT_OF_BUDGET = "out_of_budget"
    """The datagrams or seconds that hole punching may cost were used up."""

    CANCELLED = "cancelled"
    """The client was stopped, or the caller has given up."""

    FAILED = "failed"
    """Something else; the words tell what."""
