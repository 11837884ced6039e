"""The handle ``client.dht``: the BitTorrent DHT, as applications use it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from librats.config import DhtConfig
from librats.errors import ConfigError, UsageError
from librats.runtime.datagrams import Origin
from librats.runtime.network import Network
from librats.runtime.offload import run_in_thread
from librats.runtime.tasks import TaskSet
from librats.runtime.udp import DatagramEndpoint
from librats.services.dht_results import DhtItem, DhtNodeInfo, DhtStored
from librats.types import Address

if TYPE_CHECKING:
    from librats.dht.events import DhtUnreachable
    from librats.services.dht import DhtDriver
    from librats.services.dht_driving.addresses import DhtAddresses

    Driver = DhtDriver | DhtAddresses

__all__ = ["DhtHandle"]

HASH_SIZE = 20
HEX = re.compile("[0-9a-fA-F]{40}")
MAX_VALUE = 1000
MAX_SALT = 64
MAX_SEQUENCE = (1 << 63) - 1
MAX_PORT = 65535
MILLISECONDS = 1000


class NodesFile(Protocol):
    """Where nodes are kept between runs."""

    def load(self) -> dict[str, object] | None:
        """Read them."""

    def start(self, snapshot: Callable[[], Mapping[str, object] | None]) -> None:
        """Write what changes from now on."""

    def changed(self) -> None:
        """Take note that there is something to write."""

    async def close(self) -> None:
        """Write what is left to write."""


class DhtPlace(Struct, frozen=True, kw_only=True):
    """Where a client's node is."""

    network: Network
    """The network."""

    endpoint: DatagramEndpoint | None
    """The client's UDP port; None where it has none."""

    listen_host: str
    """Address to listen on; empty for every interface."""

    listen_port: int
    """Port that the client's sessions come to."""

    file: NodesFile | None
    """Where nodes are kept between runs; None for nowhere."""

    on_event: Callable[[DhtUnreachable], object]
    """Called with what applications are told."""


def is_krpc(data: bytes) -> bool:
    """Whether a datagram is the DHT's, by its first and last byte: nothing else on a client's UDP port begins so.

    Packets of sessions begin with 0x10 to 0x16, STUN with 0x00 to 0x03, and ChannelData with 0x40 to 0x4f.

    Example:
        >>> is_krpc(b"d1:q4:pinge"), is_krpc(b""), is_krpc(bytes([0x10, 2]))
        (True, False, False)
    """
    return data.startswith(b"d") and data.endswith(b"e")


def hash_of(value: bytes | str, what: str) -> bytes:
    """Return 20 bytes that are given as they are or in hex.

    Raises:
        UsageError: They are not.

    Example:
        >>> hash_of("6a" * 20, "a target")
        b'jjjjjjjjjjjjjjjjjjjj'
    """
    if isinstance(value, str) and HEX.fullmatch(value):
        return bytes.fromhex(value)
    if isinstance(value, bytes | bytearray) and len(value) == HASH_SIZE:
        return bytes(value)
    raise UsageError(f"{what} is {HASH_SIZE} bytes, or {2 * HASH_SIZE} digits in hex, not {value!r}")


class DhtHandle:
    """The BitTorrent DHT. Comes from a client: :attr:`~librats.RatsClient.dht`.

    It runs after :meth:`~librats.RatsClient.start_dht_discovery`, or with
    :attr:`DhtConfig.enabled <librats.DhtConfig.enabled>`; before that every verb raises a :class:`~librats.UsageError`.
    A verb that is called before the node has got in waits for that. Hashes and targets are 20 bytes, or 40 digits in
    hex.

    Example:
        .. code-block:: python

            await client.start_dht_discovery()
            stored = await client.dht.put({"port": 8080})
            item = await client.dht.get(stored.target)
            print(item.value)
    """

    def __init__(self, settings: Callable[[], DhtConfig], seed: Callable[[], bytes], tasks: TaskSet) -> None:
        self._settings = settings
        self._seed = seed
        self._tasks = tasks
        self._driver: Driver | None = None
        self._place: DhtPlace | None = None
        self._own: DatagramEndpoint | None = None
        self._single: DhtDriver | None = None
        self._last_sequence = 0

    def __repr__(self) -> str:
        """Show the id, and whether anybody answers."""
        driver = self._driver
        if driver is None or not driver.is_running:
            return "<DhtHandle not running>"
        return f"<DhtHandle {driver.node_id.hex()[:8]} {'reachable' if driver.is_reachable else 'unreachable'}>"

    # Life

    async def start(self, place: DhtPlace, bootstrap: Sequence[str] | None = None) -> None:
        """Run a node from now on, and wait for nobody to answer.

        Args:
            place: Where it is.
            bootstrap: Nodes to begin with; the configured ones where it is None.

        Raises:
            ConfigError: The port of its own is taken, or a node to begin with is none.
        """
        settings = self._settings()
        if bootstrap is not None:
            settings = replace(settings, bootstrap=tuple(bootstrap))
        await self.stop()
        try:
            saved = None if place.file is None else await run_in_thread(place.file.load)
            driver = self._driver = await self._new_driver(place, settings, saved)
            self._place = place
            await driver.begin()
        except BaseException:
            await self.stop()
            raise
        if place.file is not None:
            place.file.start(self._snapshot)
            driver.changed = place.file.changed

    async def _new_driver(self, place: DhtPlace, settings: DhtConfig, saved: object) -> Driver:
        """Return a node on the client's socket or one of its own, or one at each address that is named."""
        network, tasks, on_event = place.network, self._tasks, place.on_event
        self._single = None
        if settings.addresses:
            from librats.services.dht_driving.addresses import DhtAddresses  # noqa: PLC0415 - not every client needs it

            return DhtAddresses(network=network, tasks=tasks, settings=settings, saved=saved, on_event=on_event)
        from librats.services.dht import DhtDriver  # noqa: PLC0415 - not every client needs it

        endpoint = await self._endpoint(place, settings.port)
        self._single = DhtDriver(
            endpoint, network=network, tasks=tasks, settings=settings, saved=saved, on_event=on_event
        )
        return self._single

    async def _endpoint(self, place: DhtPlace, port: int | None) -> DatagramEndpoint:
        """Return the socket to use: the client's, or one of our own."""
        if port is None and place.endpoint is not None:
            return place.endpoint
        try:
            self._own = await place.network.open_datagram(place.listen_host, port or 0, receive=self._received)
        except ConfigError as error:
            raise ConfigError("dht.port", f"no socket for the DHT at UDP port {port or 0}: {error}") from error
        return self._own

    def _received(self, batch: Sequence[tuple[bytes, Origin]]) -> None:
        if self._single is not None:
            self._single.receive(batch)

    def _snapshot(self) -> dict[str, object] | None:
        driver = self._driver
        return driver.save() if driver is not None and driver.is_running else None

    def take(self, batch: list[tuple[bytes, Origin]]) -> list[tuple[bytes, Origin]]:
        """Take of what has come to the client's UDP port what is the DHT's, and return the rest.

        Args:
            batch: What has come.
        """
        if self._single is None or self._own is not None:
            return batch
        ours = [item for item in batch if is_krpc(item[0])]
        if not ours:
            return batch
        self._single.receive(ours)
        return [item for item in batch if not is_krpc(item[0])] if len(ours) < len(batch) else []

    async def wait(self) -> bool:
        """Wait until somebody has answered, or has not for so long that this was told; return which of the two."""
        return await self._running().start()

    async def stop(self) -> None:
        """Run no node any more, and write what is left to write. Idempotent."""
        driver, place, own = self._driver, self._place, self._own
        try:
            if driver is not None and place is not None and place.file is not None:
                await place.file.close()
        finally:
            self._driver = self._single = self._place = self._own = None
            try:
                if driver is not None:
                    await driver.close()
            finally:
                if own is not None:
                    own.close()

    def _running(self) -> Driver:
        if self._driver is None:
            raise UsageError("the DHT is not running: call start_dht_discovery(), or set DhtConfig(enabled=True)")
        return self._driver

    # How it is

    @property
    def driver(self) -> Driver | None:
        """The node itself, for the other parts of the client; None while it does not run."""
        return self._driver if self.is_running else None

    @property
    def is_running(self) -> bool:
        """True while the client has a node in the DHT, or is trying to get in."""
        return self._driver is not None and self._driver.is_running

    @property
    def is_reachable(self) -> bool:
        """True while a node is known that has answered."""
        return self._driver is not None and self._driver.is_reachable

    @property
    def listen_port(self) -> int:
        """The UDP port that the client's node listens on; 0 while it does not run, or has one at each address."""
        place = self._place
        endpoint = self._own if self._own is not None else place.endpoint if place is not None else None
        return endpoint.local_address.port if endpoint is not None and self._single is not None else 0

    @property
    def node_id(self) -> bytes:
        """The id of the client's node, 20 bytes. It has nothing to do with the peer id.

        Raises:
            UsageError: The DHT is not running.
        """
        return self._running().node_id

    def statistics(self) -> dict[str, Any]:
        """Return numbers: how many nodes are known, what is kept for others, what was asked and answered how often.

        Raises:
            UsageError: The DHT is not running.
        """
        return self._running().statistics()

    # Verbs

    async def find_nodes(self, target: bytes | str, *, timeout: float | None = None) -> list[DhtNodeInfo]:
        """Return the nodes nearest to a target, eight of each address family at the most.

        Args:
            target: 20 bytes, or 40 digits in hex.
            timeout: Seconds; the configured ``lookup_timeout`` where it is None.

        Raises:
            DhtError: No node has answered.
            OperationTimeout: The time is up.
            UsageError: That is no target, or the DHT is not running.
        """
        return await self._running().find_nodes(hash_of(target, "a target"), timeout=checked(timeout))

    async def find_peers(
        self, info_hash: bytes | str, *, enough: int | None = None, timeout: float | None = None
    ) -> list[Address]:
        """Return the addresses of peers that have announced themselves under a hash.

        Nothing is known of them but what they have said: they may be anybody.

        Args:
            info_hash: 20 bytes, or 40 digits in hex.
            enough: End when that many were found; None looks for as many as there are.
            timeout: Seconds; the configured ``lookup_timeout`` where it is None.

        Raises:
            DhtError: No node has answered.
            OperationTimeout: The time is up.
            UsageError: That is no hash, ``enough`` is below 1, or the DHT is not running.
        """
        if enough is not None and (not isinstance(enough, int) or enough < 1):
            raise UsageError(f"enough is a whole number above 0, or None, not {enough!r}")
        wanted = hash_of(info_hash, "an info-hash")
        return await self._running().find_peers(wanted, enough=enough, timeout=checked(timeout))

    async def announce(self, info_hash: bytes | str, port: int | None = None, *, timeout: float | None = None) -> int:
        """Announce this client under a hash: whoever looks for that finds its address. It lasts half an hour.

        Args:
            info_hash: 20 bytes, or 40 digits in hex.
            port: The port to announce; the one that the client listens on where it is None, or what a NAT has made of
                that.
            timeout: Seconds; the configured ``lookup_timeout`` where it is None.

        Returns:
            How many nodes have taken it; one that has over IPv4 and IPv6 counts twice.

        Raises:
            DhtError: No node has answered, or none has taken it.
            OperationTimeout: The time is up.
            UsageError: That is no hash or no port, or the DHT is not running.
        """
        driver = self._running()
        wanted = hash_of(info_hash, "an info-hash")
        if port is None:
            port = self._implied_port()
        elif type(port) is not int or not 1 <= port <= MAX_PORT:
            raise UsageError(f"a port is a whole number from 1 to {MAX_PORT}, not {port!r}")
        return await driver.announce(wanted, port, timeout=checked(timeout))

    def _implied_port(self) -> int | None:
        """Return the port that sessions come to; None where nodes see it as where our datagrams come from."""
        place = self._place
        if place is None:
            return None
        shares = place.endpoint is not None and self._own is None and self._single is not None
        same = place.endpoint is not None and place.endpoint.local_address.port == place.listen_port
        return None if shares and same else place.listen_port or None

    async def ping(self, address: Address | str, *, timeout: float | None = None) -> DhtNodeInfo:
        """Ask one node whether it is there.

        Args:
            address: ``"host:port"``, ``"[ipv6]:port"`` or an :class:`~librats.Address`.
            timeout: Seconds; the configured ``lookup_timeout`` where it is None.

        Returns:
            Its id, where it has answered from, and how long that took.

        Raises:
            OperationTimeout: It does not answer.
            DhtError: It answers with an error, its name does not resolve, or there is no way to such an address.
            UsageError: That is no address, or the DHT is not running.
        """
        driver = self._running()
        target = address if isinstance(address, Address) else Address.parse(address)
        if not target.port:
            raise UsageError(f"a node has a port, unlike {target}")
        return await driver.ping(target, timeout=checked(timeout))

    async def get(self, target: bytes | str, *, salt: bytes = b"", timeout: float | None = None) -> DhtItem | None:
        """Return the value that is kept at a target (BEP 44), checked against its hash or its signature.

        Args:
            target: 20 bytes, or 40 digits in hex: what :meth:`put` has returned.
            salt: Salt of a mutable item.
            timeout: Seconds; the configured ``lookup_timeout`` where it is None.

        Returns:
            The newest that was found; None where there is none.

        Raises:
            DhtError: No node has answered.
            OperationTimeout: The time is up.
            UsageError: That is no target or no salt, or the DHT is not running.
        """
        from librats._core import bencode  # noqa: PLC0415 - loaded with the driver

        driver, wanted = self._running(), hash_of(target, "a target")
        item = await driver.get(wanted, salt=_salt(salt), timeout=checked(timeout))
        if item is None:
            return None
        return DhtItem(
            target=wanted,
            value=bencode.decode(item.value),
            key=item.key,
            salt=item.salt,
            sequence=item.sequence,
            signature=item.signature,
        )

    async def put(
        self,
        value: Any,
        *,
        salt: bytes = b"",
        mutable: bool = False,
        sequence: int | None = None,
        compare: int | None = None,
        timeout: float | None = None,
    ) -> DhtStored:
        """Keep a value in the DHT (BEP 44), where it stays for some two hours; put it again to keep it longer.

        Args:
            value: Numbers, bytes, text, lists, and dictionaries with keys of text or bytes; at most 1,000 bytes when it
                is encoded.
            salt: Up to 64 bytes that tell apart mutable items of this client.
            mutable: Whether it can be replaced later: it is signed with the client's own signing key then, and kept
                under that key. Else it is kept under its own hash.
            sequence: Number of a mutable item, of which the highest one counts; the clock gives one where it is None.
            compare: Replace only a mutable item of that number (``cas``); None for any.
            timeout: Seconds; the configured ``lookup_timeout`` where it is None.

        Returns:
            Where it is kept, under which number, and how many nodes have taken it.

        Raises:
            DhtError: No node has answered, or none has taken it: a higher number is there for example.
            OperationTimeout: The time is up.
            UsageError: The value cannot be encoded or is too long, another argument makes no sense, or the DHT is not
                running.
        """
        from librats._core import bencode  # noqa: PLC0415 - loaded with the driver
        from librats.dht.items import Item, sign_item  # noqa: PLC0415

        driver = self._running()
        encoded = bencode.encode(value)
        if len(encoded) > MAX_VALUE:
            raise UsageError(f"a value has at most {MAX_VALUE} bytes when it is encoded, not {len(encoded)}")
        for name, number in (("sequence", sequence), ("compare", compare)):
            if number is not None and (type(number) is not int or not 0 <= number <= MAX_SEQUENCE):
                raise UsageError(f"{name} is a whole number from 0 to 2**63 - 1, or None, not {number!r}")
        if mutable:
            chosen = self._next_sequence() if sequence is None else sequence
            item = sign_item(value, seed=self._seed(), sequence=chosen, salt=_salt(salt))
        elif salt or sequence is not None or compare is not None:
            raise UsageError("only a mutable item has a salt, a sequence number, or another one to replace")
        else:
            item = Item(value=encoded)
        nodes = await driver.put(item, compare=compare, timeout=checked(timeout))
        return DhtStored(target=item.target, sequence=item.sequence, nodes=nodes)

    def _next_sequence(self) -> int:
        """Return a number by the clock, in milliseconds, higher than any that it has returned before."""
        now = 0 if self._place is None else int(self._place.network.wall_time() * MILLISECONDS)
        self._last_sequence = max(now, self._last_sequence + 1)
        return self._last_sequence


def checked(timeout: float | None) -> float | None:
    """Return a timeout.

    Raises:
        UsageError: It is no number above 0.
    """
    is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if timeout is not None and not (is_number and timeout > 0):
        raise UsageError(f"a timeout is a number of seconds above 0, or None, not {timeout!r}")
    return timeout


def _salt(salt: object) -> bytes:
    if not isinstance(salt, bytes) or len(salt) > MAX_SALT:
        raise UsageError(f"a salt is at most {MAX_SALT} bytes, not {salt!r}")
    return salt
