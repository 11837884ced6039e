"""The TURN data plane: datagrams of clients and peers forwarded in batches, without Python and without the GIL.

It works on file descriptors that its caller opened and owns. Where the system has them it uses epoll, recvmmsg,
sendmmsg, UDP_GRO and UDP_SEGMENT; elsewhere, and with ``LIBRATS_PORTABLE=1``, poll and one system call a datagram.

A :class:`Plane` belongs to one thread at a time; only :meth:`Plane.wake` may be called from others.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, getenv, malloc, realloc
from libc.string cimport memcpy, memset

from librats._core.allocations cimport (
    ADDRESS_SIZE, Allocations, new_allocation, read_address, read_optional, set_bucket, table_keys,
)
from librats._core.gate cimport Gate
from librats._core.ip_text cimport write_ipv4
from librats._core.octets cimport load_be16, store_be16
from librats._core.relay_net cimport (
    NET_CAN_KEEP_WHOLE, net_address, net_close_inbox, net_close_poller, net_now, net_open_inbox, net_open_outbox,
    net_open_poller, net_prepare, net_read_host, net_socket, net_unwatch, net_wake, net_watch, net_write_host,
)
from librats._core.relay_path cimport take_channel_data, take_send
from librats._core.relay_queue cimport (
    DROP_MALFORMED, DROP_NO_ALLOCATION, GROUPS, HEAD_ROOM, MOST_REQUEST, PACKETS, REPLIES_ROOM, Group, Packet, Path,
    send_queued,
)
from librats._core.relay_sieve cimport sieve_attach
from librats._core.relay_items cimport Allocation, allocation_at
from librats._core.relay_rounds cimport (
    ALLOCATION_TAG, ANSWERS_TOGETHER, LISTENER_TAG, OTHER_TAG, SHARED_TAG, Answer, Pace, go_round, queue_answers,
    read_statistics, tag_of, take_events,
)
from librats._core.turn_layout cimport CHANNEL_HEAD, TYPE_SEND, is_stun_sized

from librats.errors import UsageError

cdef list NOBODY = [None]


def pack_address(str host not None, int port):
    """The fixed form in which a :class:`Plane` takes and gives addresses: 24 bytes, only for use on this machine.

    An IPv4-mapped IPv6 address becomes the IPv4 one. Raises UsageError where ``host`` is no address (a name, for
    example) or ``port`` is out of range.

    >>> unpack_address(pack_address("::ffff:192.0.2.1", 3478))
    ('192.0.2.1', 3478)
    """
    cdef net_address a
    cdef bytes text = host.encode()
    if not 0 <= port <= 0xFFFF:
        raise UsageError(f"port {port} is out of range")
    if net_read_host(&a, PyBytes_AS_STRING(text)) != 0 or PyBytes_GET_SIZE(text) != len(host) or b"\0" in text:
        raise UsageError(f"{host!r} is no IP address")
    store_be16(<uint8_t*>&a.port, <uint16_t>port)
    return PyBytes_FromStringAndSize(<char*>&a, ADDRESS_SIZE)


def unpack_address(bytes address not None):
    """Host and port of what :func:`pack_address` made; a scope is told as its number, ``fe80::1%2``."""
    cdef net_address a
    cdef char text[80]
    read_address(&a, address)
    if a.family == 4:  # which the server's answers tell most of
        return PyUnicode_DecodeASCII(text, write_ipv4(text, a.host), NULL), load_be16(<uint8_t*>&a.port)
    net_write_host(&a, text, sizeof(text))
    return (<bytes>text).decode(), load_be16(<uint8_t*>&a.port)


@cython.final
cdef class Plane(Allocations):
    """Forwards the datagrams of one worker thread; what needs Python comes out of :meth:`run`.

    ::

        plane = Plane(max_allocations=1000)
        listener = plane.add_listener(sock.fileno())
        while running:
            for event in plane.run(1.0):
                answer(event)

    Args:
        batch: Datagrams taken from one socket at a time.
        gso: Join packets of one size to one receiver (UDP_SEGMENT) where the kernel can.
        gro: Take joined datagrams (UDP_GRO) where the kernel can.
        nap_us: Microseconds from one round that brings little to the next, so that packets gather: fewer rounds, more
            latency. 0: none, but in a flood of which next to nothing is forwarded.
        max_allocations: Most allocations at a time.
        portable: Use nothing but poll, recvfrom and sendto. None: as ``LIBRATS_PORTABLE`` says.
        seed: Secret random bytes for the hash tables. None: drawn from the secret of Python's own string hash.
        gate: Answers strangers. None: all their requests come out of :meth:`run`.
        sieve: Have the kernel drop, before it is queued, what comes to a listener and cannot be a client's: no
            request, Send indication or ChannelData of its length, nor a packet of a session. Where the system cannot,
            it is dropped later.
        sessions: Bytes a second of packets of sessions over UDP that come out of :meth:`run`, each counted 256 bytes
            longer than it is. 0: none do.
    """

    cdef Path _path
    cdef Pace _pace
    cdef bint _gro
    cdef bint _sieve
    cdef bint _running
    cdef bint _open
    cdef readonly bint portable
    cdef bytearray _answers
    cdef uint32_t _answer_count
    cdef Gate _gate

    def __cinit__(
        self, *, int batch=64, bint gso=True, bint gro=True, int nap_us=0, max_allocations=100_000, portable=None,
        bytes seed=None, Gate gate=None, bint sieve=False, double sessions=0.0,
    ):
        cdef const char* switch = getenv("LIBRATS_PORTABLE")
        cdef Path* s = &self._path
        if not 1 <= batch <= 256 or not 0 <= nap_us <= 100_000:
            raise UsageError("batch is 1 to 256 and nap_us 0 to 100,000")
        self.portable = (switch != NULL and switch[0] == b"1") if portable is None else portable
        self._pace.batch = batch
        self._pace.nap = nap_us
        self._gro = gro
        self._sieve = sieve and not self.portable
        self._answers = bytearray()
        self._gate = gate
        if gate is not None:
            s.gate = &gate.state
        set_bucket(&s.sessions, sessions)
        s.tables = &self.tables
        memcpy(&s.transaction, PyBytes_AS_STRING(table_keys(seed)) + sizeof(s.tables.keys), 8)
        s.packets = <Packet*>calloc(PACKETS, sizeof(Packet))
        s.groups = <Group*>calloc(GROUPS, sizeof(Group))
        s.heads = <uint8_t*>calloc(PACKETS, HEAD_ROOM)
        s.replies = <uint8_t*>malloc(REPLIES_ROOM)
        s.outbox = net_open_outbox(self.portable, gso, &s.sent)
        if s.replies == NULL or s.packets == NULL or s.groups == NULL or s.heads == NULL or s.outbox == NULL:
            raise MemoryError
        if net_open_inbox(&s.inbox, batch, self.portable) != 0:
            raise MemoryError
        if net_open_poller(&s.poller, self.portable) != 0:
            net_close_poller(&s.poller)
            raise OSError("the system gives no more descriptors")
        self._open = True
        self.portable = s.poller.portable

    @property
    def can_keep_whole(self):
        """Whether the system sends single datagrams so that they are not fragmented, as DONT-FRAGMENT asks for."""
        return bool(NET_CAN_KEEP_WHOLE)

    def close(self):
        """Give the plane's own descriptors back; the sockets are the caller's. Other calls are errors after that."""
        if not self._open:
            return
        self._at_rest()
        self._open = False
        net_close_poller(&self._path.poller)

    def __dealloc__(self):
        cdef Path* s = &self._path
        if self._open:
            net_close_poller(&s.poller)
        net_close_inbox(&s.inbox)
        free(s.packets)
        free(s.groups)
        free(s.heads)
        free(s.replies)
        free(s.outbox)
        free(s.events)
        free(s.listeners)
        free(s.shared)

    cdef int _at_rest(self) except -1:
        if self._running:
            raise UsageError("the plane is running in another thread")
        if not self._open:
            raise UsageError("the plane is closed")
        return 0

    # Sockets.

    def add_listener(self, int fd):
        """Take clients' datagrams from a bound UDP socket, which stays the caller's; its listener number.

        Bound to all addresses, it answers from the one it was asked on (not on Windows).
        """
        cdef Path* s = &self._path
        cdef net_socket* listeners
        self._at_rest()
        listeners = <net_socket*>realloc(s.listeners, (s.listener_count + 1) * sizeof(net_socket))
        if listeners == NULL:
            raise MemoryError
        s.listeners = listeners
        self._prepare(&listeners[s.listener_count], fd, True)
        if net_watch(&s.poller, fd, tag_of(LISTENER_TAG, 0, s.listener_count), False) != 0:
            raise UsageError("the socket cannot be watched, or is watched already")
        if self._sieve:
            sieve_attach(fd, MOST_REQUEST, self._path.sessions.rate > 0)
        s.listener_count += 1
        return s.listener_count - 1

    def remove_listener(self, int listener):
        """Stop reading from a listener, before its socket is closed. Its number is not used again."""
        cdef Path* s = &self._path
        self._at_rest()
        if not 0 <= listener < s.listener_count:
            raise UsageError(f"there is no listener {listener}")
        net_unwatch(&s.poller, s.listeners[listener].fd, tag_of(LISTENER_TAG, 0, listener))
        s.listeners[listener].fd = -1

    def share_relay(self, int fd):
        """Let a UDP socket be the relay socket of many allocations, each found by its peers' addresses and ports.

        Allocations added with this ``fd`` share it. Their permissions name a peer's port as well, and a peer belongs to
        one of them at a time.
        """
        cdef Path* s = &self._path
        cdef net_socket* shared
        self._at_rest()
        shared = <net_socket*>realloc(s.shared, (s.shared_count + 1) * sizeof(net_socket))
        if shared == NULL:
            raise MemoryError
        s.shared = shared
        self._prepare(&shared[s.shared_count], fd, False)
        if net_watch(&s.poller, fd, tag_of(SHARED_TAG, 0, s.shared_count), False) != 0:
            raise UsageError("the socket cannot be watched, or is watched already")
        s.shared_count += 1

    cdef int _prepare(self, net_socket* s, int fd, bint tell_local) except -1:
        if net_prepare(s, fd, self._gro and not self.portable, tell_local) != 0:
            raise UsageError("a bound UDP socket is needed")
        return 0

    def fileno(self):
        """A descriptor that can be read when :meth:`run` has something to do; -1 on the portable path."""
        return self._path.poller.epoll

    def wake(self):
        """Let :meth:`run` return soon. From any thread."""
        net_wake(&self._path.poller)

    # Forwarding.

    def run(self, double timeout):
        """Forward until something for Python came, :meth:`wake` was called or ``timeout`` seconds passed.

        Returns:
            Events, oldest first: ``("control", listener, client, local, data, user)``, a request that came to a
            listener, with the packed addresses it came from and to, and who sent it where the gate knows that;
            ``("session", listener, client, local, data)``, a packet of a session over UDP;
            ``("stream", allocation, data)``, bytes to write to the stream of an allocation's client.
        """
        cdef bint more = True
        cdef double deadline
        cdef Path* s = &self._path
        self._at_rest()
        self._running = True
        try:
            self._send_answers()
            with nogil:
                deadline = net_now() + timeout
                s.last_listener = -1
                while more:
                    more = go_round(s, &self._pace, deadline)
        finally:
            self._running = False
        return take_events(&self._path, NOBODY if self._gate is None else self._gate.known)

    def send(self, int listener, bytes client not None, bytes local not None, bytes data not None):
        """Queue an answer, which leaves with others, at the latest when :meth:`run` begins.

        It is sent from the address ``local`` that was asked.
        """
        cdef Answer answer
        self._at_rest()
        if not 0 <= listener < self._path.listener_count:
            raise UsageError(f"there is no listener {listener}")
        memset(&answer, 0, sizeof(Answer))
        answer.listener = listener
        answer.size = PyBytes_GET_SIZE(data)
        read_address(&answer.client, client)
        if local:
            read_address(&answer.local, local)
        self._answers += (<char*>&answer)[:sizeof(Answer)]
        self._answers += data
        self._answer_count += 1
        if self._answer_count == ANSWERS_TOGETHER:  # those that wait for them go on meanwhile
            self._send_answers()

    cdef int _send_answers(self) except -1:
        self._answer_count = 0
        return queue_answers(&self._path, self._answers)

    def forward(self, number, bytes data not None):
        """Forward what an allocation's client sent over its stream: one ChannelData, padded, or Send indication.

        Returns:
            How many packets left for a peer: 1 or 0.
        """
        cdef Path* s = &self._path
        cdef uint32_t index = self._find(number)
        cdef Allocation* a = allocation_at(s.tables, index)
        cdef uint8_t* p = <uint8_t*>PyBytes_AS_STRING(data)
        cdef uint32_t size = PyBytes_GET_SIZE(data)
        cdef uint64_t before = s.to_peer
        s.now = net_now()
        s.received += 1
        if a.expires <= s.now:
            s.dropped[<int>DROP_NO_ALLOCATION] += 1
        elif size >= CHANNEL_HEAD and 0x40 <= p[0] < 0x80:
            take_channel_data(s, index, a, p, size, 3)
        elif size <= 0xFFFF + 20 and is_stun_sized(p, size) and load_be16(p) == TYPE_SEND:
            take_send(s, index, a, p, size)
        else:
            s.dropped[<int>DROP_MALFORMED] += 1
        with nogil:
            send_queued(s)
        return s.to_peer - before

    # Allocations.

    def add_allocation(
        self, number, int listener, bytes client not None, int relay_fd, double expires, bytes local not None=b"", *,
        bint forwards=True
    ):
        """Relay for a client from now on.

        Args:
            number: What the caller calls the allocation; free again once it is removed or over.
            listener: The listener its client sends to; negative where the client is on a stream.
            client: Packed address of the client; may be empty where it is on a stream.
            relay_fd: Its relay socket, or one given to :meth:`share_relay`. It stays the caller's.
            expires: When it is over, in seconds of ``time.monotonic()``.
            local: The packed address its client sends to; empty: any of the listener's.
            forwards: Whether datagrams are forwarded; else the allocation is only held.
        """
        cdef Path* s = &self._path
        cdef Allocation made = new_allocation(number, listener, relay_fd, expires, forwards)
        cdef net_address source, target
        cdef net_socket relay
        cdef uint32_t index
        cdef int i
        self._at_rest()
        read_optional(&source, client)
        read_optional(&target, local)
        if listener >= s.listener_count:
            raise UsageError(f"there is no listener {listener}")
        if listener >= 0:
            if not source.family:
                raise UsageError("a client of a listener has an address")
            if not s.listeners[listener].wildcard:
                target = s.listeners[listener].bound
        for i in range(s.shared_count if forwards else 0):
            if s.shared[i].fd == relay_fd:
                made.shared = i
                made.family = <uint8_t>s.shared[i].family
        if forwards and made.shared < 0:
            self._prepare(&relay, relay_fd, False)
            made.family = <uint8_t>relay.family
        index = self._add(&made, &source, &target)
        if forwards and made.shared < 0 and net_watch(&s.poller, relay_fd, self._tag(ALLOCATION_TAG, index), True) != 0:
            self._forget(index)
            raise UsageError("the relay socket cannot be watched, or is watched already")

    cdef uint64_t _tag(self, int kind, uint32_t index) noexcept:
        return tag_of(kind, allocation_at(&self.tables, index).generation, index)

    def add_relay(self, number, int relay_fd):
        """Let an allocation relay through a second socket, of the other address family.

        Args:
            number: The allocation, whose first socket is its own.
            relay_fd: The socket, which stays the caller's.
        """
        cdef uint32_t index = self._find(number)
        cdef Allocation* a = allocation_at(&self.tables, index)
        cdef net_socket relay
        self._prepare(&relay, relay_fd, False)
        if a.shared >= 0 or a.other_family or relay.family == a.family:
            raise UsageError("a second relay socket goes with one of its own, of the other family")
        if net_watch(&self._path.poller, relay_fd, self._tag(OTHER_TAG, index), True) != 0:
            raise UsageError("the relay socket cannot be watched, or is watched already")
        a.other_fd = relay_fd
        a.other_family = <uint8_t>relay.family

    cdef void _drop(self, uint32_t index) noexcept:
        cdef Allocation* a = allocation_at(&self.tables, index)
        if a.forwards and a.shared < 0:
            net_unwatch(&self._path.poller, a.fd, self._tag(ALLOCATION_TAG, index))
        if a.other_family:
            net_unwatch(&self._path.poller, a.other_fd, self._tag(OTHER_TAG, index))
        self._forget(index)

    # Limits and numbers.

    def limit_total(self, double bytes_per_second):
        """Let all allocations together relay so many bytes a second; 0: any number."""
        self._at_rest()
        set_bucket(&self._path.bucket, bytes_per_second)

    def statistics(self):
        """Counters since the start, and how many allocations, permissions and channels there are.

        ``received`` counts packets, ``received_messages`` what the kernel handed over: several joined packets are one.
        ``dropped_…`` are packets not relayed, by reason; ``refused`` are ICMP errors.
        """
        return read_statistics(&self._path)
