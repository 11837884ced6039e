"""The allocations of one worker, with their permissions and channels, in as few bytes as they need.

One of a client with a permission and a channel takes some 400 bytes, where Python objects would take two thousand.
Nothing here knows a socket: :class:`librats._core.relay.Plane` is what forwards for the allocations that it holds.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_INCREF, Py_XDECREF, PyObject
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from librats._core.relay_net cimport net_address, net_now, net_set_host6
from librats._core.relay_items cimport (
    Allocation, Bucket, Channel, Host6, Permission, address_of, allocation_at, channel_at, keep_peer,
    permission_at, pool_take,
)
from librats._core.relay_tables cimport (
    CHANGED, NO_MEMORY, Change, bind, drop_allocation, drop_expired, find_client, find_number, free_tables, permit,
    table_put, tables_size,
)
from librats._core.turn_layout cimport FIRST_CHANNEL, LAST_CHANNEL

import hashlib

from librats.errors import UsageError

cdef enum:
    UDP = 17
    ANSWER_KEPT = 40  # seconds; RFC 8489, 6.3.1


cdef int read_address(net_address* a, bytes address) except -1:
    if PyBytes_GET_SIZE(address) != ADDRESS_SIZE:
        raise UsageError("a packed address is 24 bytes")
    memcpy(a, PyBytes_AS_STRING(address), ADDRESS_SIZE)
    if a.family != 4 and a.family != 6:
        raise UsageError("a packed address begins with its family")
    return 0


cdef int read_optional(net_address* a, bytes address) except -1:
    """A packed address, or zeros for one that is not known."""
    if PyBytes_GET_SIZE(address):
        return read_address(a, address)
    memset(a, 0, sizeof(net_address))
    return 0


cdef int read_peer(net_address* a, bytes peer) except -1:
    """A peer as 4 or 16 bytes of a host, or as a packed address."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(peer)
    if size != 4 and size != 16:
        return read_address(a, peer)
    memset(a, 0, sizeof(net_address))
    if size == 4:
        a.family = 4
        memcpy(a.host, PyBytes_AS_STRING(peer), 4)
    else:
        net_set_host6(a, <const uint8_t*>PyBytes_AS_STRING(peer), 0)
    return 0


cdef bytes packed(const net_address* a):
    return PyBytes_FromStringAndSize(<const char*>a, ADDRESS_SIZE) if a.family else b""


cdef bytes packed_peer(const net_address* a):
    """A permission's peer: its host where the port is not said."""
    if a.port:
        return PyBytes_FromStringAndSize(<const char*>a, ADDRESS_SIZE)
    return PyBytes_FromStringAndSize(<const char*>a.host, 4 if a.family == 4 else 16)


cdef int set_bucket(Bucket* bucket, double rate) except -1:
    if not 0 <= rate < 1e15:
        raise UsageError("a rate is a number of bytes a second, 0 or more")
    bucket.rate = rate
    bucket.tokens = rate if rate > 65536 else 65536
    bucket.filled = net_now()
    return 0


cdef bytes table_keys(bytes seed):
    """Secret bytes for the keys of the hash tables, and some more."""
    if seed is None:
        seed = b"".join((hash(b"librats relay %d" % i) & (2**64 - 1)).to_bytes(8, "little") for i in range(8))
    if len(seed) < 16:
        raise UsageError("a seed is at least 16 bytes")
    return b"".join(hashlib.blake2b(seed, digest_size=64, person=b"relay tables %d" % i).digest() for i in range(3))


cdef object answer_of(Change change):
    if change == NO_MEMORY:
        raise MemoryError
    return change == CHANGED


cdef inline void keep(void** place, object value):
    """Keep a reference to an object in the place of the one that is there."""
    cdef void* before = place[0]
    Py_INCREF(value)
    place[0] = <void*>value
    Py_XDECREF(<PyObject*>before)


cdef inline void let_go(void** place) noexcept:
    cdef void* before = place[0]
    place[0] = NULL
    Py_XDECREF(<PyObject*>before)


cdef inline void let_go_all(Allocation* a) noexcept:
    let_go(&a.username)
    let_go(&a.owner)
    let_go(&a.answer)


cdef Allocation new_allocation(number, int listener, int relay_fd, double expires, bint forwards) except *:
    """What an allocation begins with."""
    cdef Allocation made
    memset(&made, 0, sizeof(Allocation))
    made.number = number
    made.listener = listener
    made.fd = relay_fd
    made.shared = -1
    made.expires = expires
    made.forwards = forwards
    made.transport = UDP
    return made


cdef class Allocations:
    """Holds allocations; each is called by a number that is the caller's, or found by its client.

    A client is a listener's number, negative for a connection of its own, and the packed addresses
    (:func:`librats._core.relay.pack_address`) that it sends from and to, either empty where it is not known.

    Args:
        max_allocations: Most allocations at a time.
        seed: Secret random bytes for the hash tables. None: drawn from the secret of Python's own string hash.
        more: What derived classes take.

    Example:
        >>> held = Allocations(seed=bytes(16))
        >>> held.add_allocation(7, -1, b"", 3, 600.0)
        >>> held.describe(7, "bob", "bob", [(3, "192.0.2.1", 50000, 1, "10.0.0.1")], 600)
        >>> held.find(-1, b"", b"")[2:6]
        ('bob', 'bob', [(3, '192.0.2.1', 50000, 1, '10.0.0.1')], 17)
    """

    def __cinit__(self, *args, **more):
        max_allocations = more.get("max_allocations", 100_000)
        cdef bytes keys = table_keys(more.get("seed"))
        if not 1 <= max_allocations < 2**28:
            raise UsageError("max_allocations is 1 to 2**28 - 1")
        self.max_allocations = max_allocations
        self._places = []
        memcpy(self.tables.keys, PyBytes_AS_STRING(keys), sizeof(self.tables.keys))
        self.tables.allocations.size = sizeof(Allocation)
        self.tables.permissions.size = sizeof(Permission)
        self.tables.channels.size = sizeof(Channel)
        self.tables.hosts.size = sizeof(Host6)

    def __dealloc__(self):
        cdef uint32_t index
        for index in range(1, self.tables.allocations.used + 1):
            let_go_all(allocation_at(&self.tables, index))
        free_tables(&self.tables)

    cdef int _at_rest(self) except -1:
        """Raise where another thread works on the tables."""
        return 0

    cdef uint32_t _find(self, number) except 0:
        cdef uint32_t index
        self._at_rest()
        index = find_number(&self.tables, number)
        if not index:
            raise UsageError(f"there is no allocation {number}")
        return index

    def __len__(self):
        return self.tables.allocations.live

    def __sizeof__(self):
        """The bytes that the tables take, without the names and answers that they refer to."""
        return object.__sizeof__(self) + <object>tables_size(&self.tables)

    # What comes and goes.

    cdef uint32_t _add(self, const Allocation* made, const net_address* client, const net_address* local) except 0:
        """Take an allocation in."""
        cdef Allocation* a
        cdef uint32_t index
        if made.listener >= 0 and find_client(&self.tables, client, made.listener, local):
            raise UsageError("the client has an allocation")
        if find_number(&self.tables, made.number):
            raise UsageError(f"there is an allocation {made.number} already")
        if self.tables.allocations.live >= self.max_allocations:
            raise UsageError(f"there are max_allocations={self.max_allocations} already")
        index = pool_take(&self.tables.allocations)
        if not index:
            raise MemoryError
        self.generation += 1
        a = allocation_at(&self.tables, index)
        a[0] = made[0]
        a.generation = self.generation
        a.live = 1
        if (
            not keep_peer(&self.tables, &a.client, client) or not keep_peer(&self.tables, &a.local, local)
            or not table_put(&self.tables, &self.tables.by_number, index)
            or not table_put(&self.tables, &self.tables.by_client, index)
        ):
            self._forget(index)
            raise MemoryError
        return index

    cdef void _forget(self, uint32_t index) noexcept:
        """Take an allocation out of the tables."""
        let_go_all(allocation_at(&self.tables, index))
        drop_allocation(&self.tables, index)

    cdef void _drop(self, uint32_t index) noexcept:
        """End an allocation."""
        self._forget(index)

    def add_allocation(
        self, number, int listener, bytes client not None, int relay_fd, double expires, bytes local not None=b"", *,
        bint forwards=True
    ):
        """Hold an allocation from now on.

        Args:
            number: What the caller calls it; free again once it is removed or over.
            listener: The listener its client sends to; negative where the client is on a stream.
            client: Packed address of the client.
            relay_fd: Its relay socket.
            expires: When it is over, in monotonic seconds.
            local: The packed address its client sends to.
            forwards: Whether its relay socket is read for it.
        """
        cdef Allocation made = new_allocation(number, listener, relay_fd, expires, forwards)
        cdef net_address source, target
        self._at_rest()
        read_optional(&source, client)
        read_optional(&target, local)
        self._add(&made, &source, &target)

    def add_relay(self, number, int relay_fd):
        """Let an allocation relay through a second socket, of the other address family."""
        allocation_at(&self.tables, self._find(number)).other_fd = relay_fd

    def describe(
        self, number, str username not None, str owner not None, relays, uint32_t lifetime, *, int transport=UDP,
        uint32_t ticket=0
    ):
        """Note what only those ask for who answer the client's requests.

        Args:
            number: The allocation.
            username: Who made it.
            owner: Whose quota it is counted in.
            relays: One or two sockets, the first of them ``relay_fd``: descriptor, host as it is told, port, family
                and the host that it is bound to.
            lifetime: Seconds, as its client was told.
            transport: 17 for UDP, 6 for TCP.
            ticket: How many mobility tickets were issued.
        """
        cdef Allocation* a = allocation_at(&self.tables, self._find(number))
        cdef uint32_t i = 0
        if not 1 <= len(relays) <= 2:
            raise UsageError("an allocation has one relay socket or two")
        for fd, host, port, family, bound_host in relays:
            place = host, family, bound_host
            if place not in self._places:
                self._places.append(place)
            a.places[i] = self._places.index(place)
            a.ports[i] = port
            if i:
                a.other_fd = fd
            else:
                a.fd = fd
            i += 1
        a.relay_count = <uint8_t>i
        a.transport = <uint8_t>transport
        a.lifetime = lifetime
        a.ticket = ticket
        keep(&a.username, username)
        keep(&a.owner, owner)

    def remove(self, number):
        """Forget an allocation, with its permissions and channels. Its relay socket may be closed after that."""
        self._drop(self._find(number))

    def refresh(self, number, double expires, uint32_t lifetime=0):
        """Let an allocation last until ``expires``, as its client was told by that ``lifetime`` in seconds."""
        cdef Allocation* a = allocation_at(&self.tables, self._find(number))
        a.expires = expires
        a.lifetime = lifetime

    def set_permission(self, number, bytes peer not None, double expires, *, bint exact=False, now=None):
        """Let an allocation exchange datagrams with a peer until ``expires``.

        Args:
            number: The allocation.
            peer: 4 or 16 bytes of the peer's address, or a packed address, of which the port counts only on a shared
                relay socket.
            expires: Monotonic seconds.
            exact: Whether the permission is for the packed address's port only.
            now: Monotonic seconds; None: as the clock says.

        Returns:
            False where, on a shared relay socket, the peer belongs to another allocation.
        """
        cdef uint32_t index = self._find(number)
        cdef net_address key
        read_peer(&key, peer)
        if allocation_at(&self.tables, index).shared < 0:
            if not exact:
                key.port = 0
            elif not key.port:
                raise UsageError("an exact permission needs the peer's port: a packed address")
            else:
                allocation_at(&self.tables, index).exact = 1
        elif PyBytes_GET_SIZE(peer) != ADDRESS_SIZE:
            raise UsageError("on a shared relay socket a permission needs the peer's port: a packed address")
        return answer_of(permit(&self.tables, index, &key, expires, net_now() if now is None else now))

    def bind_channel(self, number, int channel, bytes peer not None, double expires, *, now=None):
        """Bind a channel to a peer until ``expires``, or let a binding last. It makes no permission.

        Returns:
            False where the channel is bound to another peer, or the peer to another channel, and that is not over.
        """
        cdef uint32_t index = self._find(number)
        cdef net_address key
        if not FIRST_CHANNEL <= channel <= LAST_CHANNEL:
            raise UsageError(f"{channel:#x} is no channel number")
        read_address(&key, peer)
        return answer_of(bind(&self.tables, index, channel, &key, expires, net_now() if now is None else now))

    def limit(self, number, double bytes_per_second):
        """Let an allocation relay so many bytes a second, both directions together; 0: any number."""
        cdef Allocation* a = allocation_at(&self.tables, self._find(number))
        cdef Bucket bucket
        set_bucket(&bucket, bytes_per_second)
        if not bytes_per_second:
            free(a.bucket)
            a.bucket = NULL
            return
        if a.bucket == NULL:
            a.bucket = <Bucket*>calloc(1, sizeof(Bucket))
            if a.bucket == NULL:
                raise MemoryError
        a.bucket[0] = bucket

    def expire(self, double now):
        """Drop what is over at ``now``: permissions, channels, allocations, and answers given long before.

        Nothing that is over is forwarded, whether or not this was called.

        Returns:
            The numbers of the allocations that are gone; their relay sockets may be closed now.
        """
        cdef list gone = []
        cdef Allocation* a
        cdef uint32_t index
        self._at_rest()
        for index in range(1, self.tables.allocations.used + 1):
            a = allocation_at(&self.tables, index)
            if not a.live:
                continue
            if a.expires <= now:
                gone.append(a.number)
                self._drop(index)
                continue
            drop_expired(&self.tables, a, now)
            if a.answer != NULL and now - a.answered > ANSWER_KEPT:
                let_go(&a.answer)
        return gone

    def next_ticket(self, number):
        """Count a mobility ticket, and return its number, which begins with 1."""
        cdef Allocation* a = allocation_at(&self.tables, self._find(number))
        a.ticket += 1
        return a.ticket

    def keep_answer(self, int listener, bytes client not None, bytes local not None, bytes answer not None, double now):
        """Keep the last answer to a client for 40 seconds, as it may be lost.

        Returns:
            False where the client has no allocation.
        """
        cdef uint32_t index = self._find_client(listener, client, local)
        cdef Allocation* a
        if not index:
            return False
        a = allocation_at(&self.tables, index)
        keep(&a.answer, answer)
        a.answered = <uint32_t>now
        return True

    # What there is.

    cdef uint32_t _find_client(self, int listener, bytes client, bytes local) except? 0:
        cdef net_address source, target
        read_optional(&source, client)
        read_optional(&target, local)
        return find_client(&self.tables, &source, listener, &target)

    def find(self, int listener, bytes client not None, bytes local not None):
        """The allocation of a client, as :meth:`get` tells it; None where it has none."""
        cdef uint32_t index = self._find_client(listener, client, local)
        return self._tell(index) if index else None

    def get(self, number):
        """An allocation as it is now; None where there is none of that number.

        Returns:
            Number; listener, client and local; user name; owner; relays; transport; lifetime; expiry; how many tickets
            were issued.
        """
        cdef uint32_t index = find_number(&self.tables, number)
        return self._tell(index) if index else None

    cdef tuple _tell(self, uint32_t index):
        cdef Allocation* a = allocation_at(&self.tables, index)
        cdef list relays = []
        cdef net_address client = address_of(&self.tables, &a.client)
        cdef net_address local = address_of(&self.tables, &a.local)
        cdef uint32_t i
        for i in range(a.relay_count):
            host, family, bound_host = self._places[a.places[i]]
            relays.append((a.other_fd if i else a.fd, host, a.ports[i], family, bound_host))
        return (
            a.number, (a.listener, packed(&client), packed(&local)),
            "" if a.username == NULL else <object>a.username, "" if a.owner == NULL else <object>a.owner,
            relays, a.transport, a.lifetime, a.expires, a.ticket,
        )

    def has_client(self, int listener, bytes client not None, bytes local not None):
        """Whether a client has an allocation."""
        return self._find_client(listener, client, local) != 0

    def answer(self, int listener, bytes client not None, bytes local not None):
        """The answer kept for a client; empty where there is none, None where the client has no allocation."""
        cdef uint32_t index = self._find_client(listener, client, local)
        cdef Allocation* a
        if not index:
            return None
        a = allocation_at(&self.tables, index)
        return b"" if a.answer == NULL else <object>a.answer

    def numbers(self, double until=float("inf")):
        """The numbers of the allocations that are over at ``until``; of all, where that is left out."""
        cdef list found = []
        cdef Allocation* a
        cdef uint32_t index
        for index in range(1, self.tables.allocations.used + 1):
            a = allocation_at(&self.tables, index)
            if a.live and a.expires <= until:
                found.append(a.number)
        return found

    def rate(self, number):
        """The bytes a second that an allocation may relay; 0 for any number."""
        cdef Allocation* a = allocation_at(&self.tables, self._find(number))
        return 0.0 if a.bucket == NULL else a.bucket.rate

    def permissions(self, number):
        """When permissions are over, by 4 or 16 bytes of a host, or by the packed address where one is for a port."""
        cdef uint32_t at = allocation_at(&self.tables, self._find(number)).permissions
        cdef Permission* p
        cdef net_address peer
        cdef dict found = {}
        while at:
            p = permission_at(&self.tables, at)
            peer = address_of(&self.tables, &p.peer)
            found[packed_peer(&peer)] = p.expires
            at = p.next
        return found

    def channels(self, number):
        """The packed peer and the expiry of channels, by their numbers."""
        cdef uint32_t at = allocation_at(&self.tables, self._find(number)).channels
        cdef Channel* c
        cdef net_address peer
        cdef dict found = {}
        while at:
            c = channel_at(&self.tables, at)
            peer = address_of(&self.tables, &c.peer)
            found[c.number] = packed(&peer), c.expires
            at = c.next
        return found

    def traffic(self, number):
        """What an allocation relayed: packets and bytes to peers, packets and bytes to its client."""
        cdef Allocation* a = allocation_at(&self.tables, self._find(number))
        return a.to_peer, a.to_peer_bytes, a.to_client, a.to_client_bytes
