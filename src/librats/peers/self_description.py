"""What we tell peers about ourselves: the greeting of the handshake, the hello, and what librats 2 has in its place."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import structs

from librats.config import RatsConfig
from librats.peers.hello import Hello
from librats.peers.identity import Identity
from librats.services.session import Link
from librats.session.greeting import Feature, Greeting
from librats.session.librats2_wire import Identify
from librats.types import Address, ConnectionMethod

__all__ = ["TRANSPORT_TCP", "TRANSPORT_UDP", "SelfDescription", "hello_of"]

TRANSPORT_TCP = 0x01
TRANSPORT_UDP = 0x02
"""What librats 2's identify says of how a node is reached (LIBRATS2 wire, section 5)."""
MAX_TOLD_ADDRESSES = 16
MAX_KNOWN_ADDRESSES = 32
INCARNATION_SIZE = 8


def _features(config: RatsConfig) -> Feature:
    nat = config.nat
    introduces = Feature.INTRODUCES | Feature.MEETINGS if nat.allow_introductions else Feature(0)
    carries = Feature.CARRIES if nat.allow_introductions and nat.carry is not None else Feature(0)
    introduced = Feature.INTRODUCED | Feature.CARRIED if nat.enable_ice else Feature(0)
    findable = Feature.FINDABLE if nat.enable_ice and config.dht.publish else Feature(0)
    return Feature.PATHS | introduces | carries | introduced | findable


class SelfDescription:
    """Who one client is, and where it is reached.

    Args:
        identity: Who we are.
        config: Limits, and what we do for others.
        agent: What we call our software.
        window: Bytes of messages that a peer may send before we have let it come in.
        new_key: Makes random bytes for keys.
    """

    def __init__(
        self,
        identity: Identity,
        config: RatsConfig,
        *,
        agent: str,
        window: int,
        new_key: Callable[[int], bytes],
    ) -> None:
        self.identity = identity
        """Who we are on the next link."""
        self._identities = {identity.peer_id: identity}
        self._new_key = new_key
        self.greeting = Greeting(
            incarnation=new_key(INCARNATION_SIZE),
            message_window=window,
            max_message=config.session.max_message_size,
            agent=agent,
            features=_features(config),
        )
        """What the handshake of the next link tells."""
        self.successions = b""
        """What each peer is told of the identities that we had before."""
        self.transports = TRANSPORT_TCP
        """What a librats 2 node is told of how we are reached."""
        self.listening: list[Address] = []
        """Where we take connections."""

    def become(self, identity: Identity, successions: bytes) -> None:
        """Be somebody else from the next link on.

        Args:
            identity: Who we are from now on.
            successions: Records that lead to it.
        """
        self.identity = identity
        self._identities[identity.peer_id] = identity
        self.greeting = structs.replace(self.greeting, incarnation=self._new_key(INCARNATION_SIZE))
        self.successions = successions

    def is_me(self, peer_id: str) -> bool:
        """Tell whether that is us, or was."""
        return peer_id in self._identities

    def hello(self, link: Link, session: int) -> bytes:
        """Return the hello for a link.

        Args:
            link: The link.
            session: Number of the session that it belongs to.
        """
        listen = [str(address) for address in self.listening[:MAX_TOLD_ADDRESSES]]
        key = self._identities[link.own_id].verify_key.hex()
        observed = "" if link.method is ConnectionMethod.CARRIED else str(link.address)
        return Hello(listen=listen, observed=observed, key=key, session=session).encode()

    def identify(self, link: Link) -> bytes:
        """Return what a librats 2 node is told."""
        return Identify(
            listen_port=self.listening[0].port if self.listening else 0,
            addresses=tuple(self.listening),
            observed=Address(link.address.host, 0) if link.method is ConnectionMethod.TCP else link.address,
            transports=self.transports,
        ).encode()


def hello_of(identify: Identify, address: Address, known: Hello | None) -> Hello:
    """Return what a librats 2 node tells of itself as a hello.

    Args:
        identify: What it has told.
        address: Its end of the connection.
        known: What it has told before; None where that is nothing.
    """
    told = [Address(address.host, identify.listen_port)] if identify.listen_port else []
    before = known.listen if known is not None else []
    listen = list(dict.fromkeys([*before, *(str(each) for each in (*told, *identify.addresses))]))
    observed = str(identify.observed) if identify.observed is not None else ""
    return Hello(listen=listen[:MAX_KNOWN_ADDRESSES], observed=observed)
