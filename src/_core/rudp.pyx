"""Reliable streams over datagrams, many on one socket, as a pure machine: no socket, no clock, no randomness.

The packets are those of librats 2. Between two of ours, which find out by a flag in the Syn, they carry more: a number
for each transmission, ranges of acknowledgement, larger windows, larger packets, unreliable datagrams, a keyed tag.

A :class:`RudpTable` holds the connections of a socket, a :class:`RudpStream` is one of them. A round of a driver is:
``receive`` what has come, ``events``, read and write, ``transmit``, then wait for ``next_timer``. Times are seconds of
any clock that does not go back. A table and its streams belong to one thread at a time.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from librats._core.batches cimport (
    LIBRATS_MAX_MESSAGES, librats_arrival, librats_arrivals, librats_flow, librats_inbox, librats_receive
)
from librats._core.datagram cimport BatchSocket
from librats._core.flows cimport FlowTable
from librats._core.rudp_batches cimport NONE_FOREIGN, SOME_FOREIGN, Out, gather, same_bytes, take_arrival
from librats._core.rudp_begin cimport dialled
from librats._core.rudp_control cimport CUBIC, MODEL, YIELDING
from librats._core.rudp_input cimport arrived
from librats._core.rudp_output cimport next_packet
from librats._core.rudp_receive cimport window_read
from librats._core.rudp_state cimport (
    BASE_DATAGRAM, MOST_DATAGRAM, NEVER, OPEN, OPENING, TOLD_INCOMING, Conn
)
from librats._core.rudp_stream cimport RudpStream
from librats._core.rudp_table cimport SECRET_LIFE, Mux, free_conn, next_told, next_touched, sweep, touch
from librats._core.rudp_timers cimport after_round, give_up, quiet_at_most, rearm, times_come
from librats._core.rudp_wire cimport is_ours
from librats._core.utp_wire cimport is_utp

from librats.errors import UsageError

cdef enum:
    VISIT = 64  # packets of one connection before the next one has its turn
    AT_ONCE = 262144  # bytes that are received with one call of the system
    FEWEST = 2  # messages of one call
    MOST_CALLS = 4  # of the system, in one call of ``receive_from``
    MOST_ROUND = 4194304  # bytes that one call of `transmit` returns

CONTROLS = {"model": MODEL, "cubic": CUBIC, "yielding": YIELDING}


cdef class RudpTable:
    """The streams of a socket.

    Args:
        entropy: Source of secrets.
        control: How the sending rate is found: ``model``, ``cubic`` or ``yielding``.
        max_streams: Streams at a time; more are refused.
        cookie_after: Streams from which on a Syn has to prove its address.
        send_buffer: Most bytes of a stream that wait to be acknowledged.
        receive_buffer: Most bytes of a stream that wait to be read.
        receive_window: Bytes that may wait to be read at first; the window grows as the application reads.
        max_datagram: Longest datagram to be tried, UDP payload in bytes; the socket must not fragment. Up to 1220
            there is no probing.
        extended: Whether to offer, and to take, what librats 2 has not.
        accepts: Whether streams may come in.
        idle_timeout: Seconds without a packet after which a stream is gone.
        keep_alive: Seconds of silence after which one is sent.
        linger: Seconds that a finished stream nobody holds any more has to hand over its last bytes.

    Raises:
        UsageError: A value makes no sense.
    """

    def __cinit__(self, *args, **kwargs):
        memset(&self._mux, 0, sizeof(Mux))
        self._arena = NULL
        self._out = NULL

    def __init__(
        self, entropy, *, control: str = "model", max_streams: int = 8192, cookie_after: int = 1024,
        send_buffer: int = 1 << 26, receive_buffer: int = 1 << 26, receive_window: int = 1 << 20,
        max_datagram: int = MOST_DATAGRAM, extended: bool = True, accepts: bool = True, idle_timeout: float = 45.0,
        keep_alive: float = 10.0, linger: float = 5.0
    ):
        if self._arena != NULL:
            raise UsageError("a table is made once")
        if control not in CONTROLS:
            raise UsageError(f"no such congestion control: {control!r}")
        if not BASE_DATAGRAM <= max_datagram <= MOST_DATAGRAM:
            raise UsageError(f"the longest datagram has {BASE_DATAGRAM} to {MOST_DATAGRAM} bytes")
        if not (0 < max_streams < 1 << 24 and cookie_after >= 0 and send_buffer > 0 and receive_window > 0):
            raise UsageError("streams and buffers are positive numbers")
        if not (receive_window <= receive_buffer <= 1 << 30 and send_buffer <= 1 << 30):
            raise UsageError("a buffer has at most 1 GiB, and the first window fits the buffer")
        if not (idle_timeout > 0 and keep_alive > 0 and linger >= 0):
            raise UsageError("times are positive")
        self._entropy = entropy
        self._flows = FlowTable()
        self._most = LIBRATS_MAX_MESSAGES
        self._mux.settings.control = CONTROLS[control]
        self._mux.settings.streams_most = max_streams
        self._mux.settings.cookie_after = min(cookie_after, max_streams)
        self._mux.settings.send_buffer = send_buffer
        self._mux.settings.receive_first = receive_window
        self._mux.settings.receive_most = receive_buffer
        self._mux.settings.datagram_most = max_datagram
        self._mux.settings.extended = extended
        self._mux.settings.accepts = accepts
        self._mux.settings.idle_timeout = idle_timeout
        self._mux.settings.keep_alive = self._mux.settings.quiet_most = keep_alive
        self._mux.settings.linger = linger
        self._mux.replies_since = -1
        self._mux.secret_at = -NEVER
        cdef bytes secret = entropy.token_bytes(72)
        memcpy(&self._mux.mixer, PyBytes_AS_STRING(secret), 8)
        self._mux.mixer |= 1
        memcpy(self._mux.noise_key, PyBytes_AS_STRING(secret) + 8, 16)
        memcpy(self._mux.secrets, PyBytes_AS_STRING(secret) + 24, 32)
        self._arena = <uint8_t*>malloc(ARENA)
        self._out = <Out*>malloc(MOST_OUT * sizeof(Out))
        if self._arena == NULL or self._out == NULL:
            raise MemoryError()

    def __dealloc__(self):
        cdef Mux* m = &self._mux
        cdef Conn* c
        cdef uint32_t i
        if m.slots != NULL:
            # No stream is left that is held by anybody: each of those holds its table.
            for i in range(m.mask + 1):
                if m.slots[i] != NULL:
                    free_conn(m.slots[i])
            free(m.slots)
        while m.dead != NULL:
            c = m.dead
            m.dead = c.next_dead
            free_conn(c)
        free(m.heap)
        free(self._arena)
        free(self._out)

    def __len__(self):
        return self._mux.count

    def __repr__(self):
        return f"<RudpTable {self._mux.count} streams>"

    @property
    def counters(self):
        """What the table has seen, by name, in packets unless it says otherwise."""
        return dict(self._mux.counts)

    def speak_within(self, double seconds):
        """Send a packet after that much silence from now on; to peers with librats 2 not later than ``keep_alive``."""
        if not seconds > 0:
            raise UsageError("times are positive")
        quiet_at_most(&self._mux, seconds)

    cdef int _begin(self, double now) except -1:
        cdef bytes secret
        if self._arena == NULL:
            raise UsageError("the table was not made")
        if now - self._mux.secret_at >= SECRET_LIFE:
            # A cookie is good for one life of a secret to two.
            secret = self._entropy.token_bytes(32)
            memcpy(self._mux.secrets + 16, self._mux.secrets, 16)
            memcpy(self._mux.secrets, PyBytes_AS_STRING(secret), 16)
            if now - self._mux.secret_at >= 2 * SECRET_LIFE:
                memcpy(self._mux.secrets + 16, PyBytes_AS_STRING(secret) + 16, 16)
            self._mux.secret_at = now
        return 0

    # Opening

    def dial(self, address, now: float, *, tries: int = 3, wait: float = 0.5, doubling: bool = True):
        """Begin to open a stream; the Syn goes out with the next round.

        Args:
            address: Where the peer listens: an IP address and a port.
            now: Seconds.
            tries: How many Syns are sent; 8 for a punch.
            wait: Seconds between the first two; 0.2 for a punch.
            doubling: Whether the wait doubles each time; not for a punch.

        Raises:
            UsageError: That is no address, or the table is full.
        """
        cdef Conn* c
        cdef const librats_flow* flow
        self._begin(now)
        flow = self._flows.of_address(address)
        if not (0 < tries < 100 and wait > 0):
            raise UsageError("a dial is tried at least once, and waits")
        if self._mux.count >= self._mux.settings.streams_most:
            raise UsageError("the table is full")
        c = dialled(&self._mux, flow, now)
        if c == NULL:
            raise MemoryError()
        c.state = OPENING
        c.dialer = True
        c.offered = self._mux.settings.extended
        c.syns_left = tries
        c.syn_wait = wait
        c.syn_doubles = doubling
        c.syn_due = now
        touch(&self._mux, c)
        return self._introduce(c)

    cdef RudpStream _introduce(self, Conn* conn):
        cdef RudpStream stream = RudpStream.__new__(RudpStream)
        stream._table = self
        stream._mux = &self._mux
        stream._conn = conn
        conn.stream = <void*>stream
        conn.introduced = True
        return stream

    # Coming in

    def receive(self, items, now: float):
        """Take datagrams, as pairs of ``bytes`` and address.

        Returns:
            Those that are not of this protocol, in order.
        """
        cdef const librats_flow* flow = NULL
        cdef object before = None
        cdef object data, address
        cdef list others = []
        cdef double time = now
        self._begin(time)
        for data, address in items:
            if not PyBytes_CheckExact(data):
                raise TypeError("a datagram is bytes")
            if address is not before or flow == NULL:
                before = address
                flow = self._flows.of_address(address)
            if not arrived(
                &self._mux, <const uint8_t*>PyBytes_AS_STRING(data), <uint32_t>PyBytes_GET_SIZE(data), flow, time
            ):
                others.append((data, address))
        return others

    def receive_from(self, BatchSocket socket not None, family: int, now: float):
        """Take what has come on a socket, making no object for what is of this protocol.

        Returns:
            What is not of this protocol, as pairs of data and origin; ``socket.drained`` tells whether there is more.
        """
        cdef librats_inbox* memory = socket._inbox._memory
        cdef librats_arrival* arrivals = librats_arrivals(memory)
        cdef uint32_t* dropped = &socket._dropped4 if family == 4 else &socket._dropped6
        cdef int fd = socket._fd4 if family == 4 else socket._fd6
        cdef double time = now
        cdef list others = []
        cdef int most = self._most
        cdef int count, i, calls = 0
        cdef bint only_ours = True
        cdef uint64_t size = 0, taken = 0
        cdef int foreign[64]
        self._begin(time)
        if socket._inbox._busy:
            raise UsageError("an inbox belongs to one thread at a time")
        socket._inbox._busy = True
        try:
            with nogil:
                while only_ours and calls < MOST_CALLS:
                    count = librats_receive(fd, memory, most, dropped)
                    calls += 1
                    size = 0
                    for i in range(count):
                        foreign[i] = take_arrival(&self._mux, &arrivals[i], time, &taken)
                        only_ours = only_ours and foreign[i] == NONE_FOREIGN
                        size += arrivals[i].size
                    if count < most or size < AT_ONCE // 2:
                        break
            socket.received += taken
            if count < 0:
                socket._failed(count)
                return others
            socket.drained = count < most
            # What one call of the system brings is to stay in the cache until it has been taken.
            if size > AT_ONCE:
                self._most = max(<int>(most * AT_ONCE // size), <int>FEWEST)
            elif count == most:
                self._most = min(most * 2, <int>LIBRATS_MAX_MESSAGES)
            for i in range(count):
                if foreign[i]:
                    socket._take(&arrivals[i], others)
                    if foreign[i] == SOME_FOREIGN:
                        others = [item for item in others if not self._is_mine(item[0])]
        finally:
            socket._inbox._busy = False
        return others

    cdef bint _is_mine(self, bytes data):
        cdef const uint8_t* text = <const uint8_t*>PyBytes_AS_STRING(data)
        cdef uint32_t size = <uint32_t>PyBytes_GET_SIZE(data)
        return is_utp(text, size) if self._mux.settings.utp else is_ours(text, size)

    # Going out

    cdef void _fill(self, double now) noexcept nogil:
        """Write packets until nobody has one, or there is no room."""
        cdef Mux* m = &self._mux
        cdef uint32_t at = 0
        cdef uint32_t size
        cdef int i
        cdef int visit
        cdef Conn* c
        cdef Out* out
        self._out_count = 0
        self._out_at = 0
        for i in range(m.replies_wanted):
            out = &self._out[self._out_count]
            out.flow = m.replies[i].flow
            out.start = at
            out.size = m.replies[i].size
            memcpy(self._arena + at, m.replies[i].data, out.size)
            at += out.size
            self._out_count += 1
        m.replies_wanted = 0
        while m.dirty != NULL and self._out_count < MOST_OUT and at + 65536 <= ARENA:
            c = next_touched(m)
            if c.removed:
                continue
            if c.state == OPEN:
                window_read(c, now)
            visit = 0
            while visit < VISIT and self._out_count < MOST_OUT and at + 65536 <= ARENA:
                out = &self._out[self._out_count]
                size = next_packet(m, c, now, self._arena + at, &out.flow)
                if size == 0:
                    break
                out.start = at
                out.size = size
                at += size
                self._out_count += 1
                visit += 1
            else:
                touch(m, c)
                rearm(m, c)
                continue
            after_round(m, c, now)
        sweep(m)

    def transmit(self, now: float):
        """Return what is to be sent, as pairs of ``bytes`` and address, in order; at most 4 MiB at a time."""
        cdef double time = now
        cdef list items = []
        cdef object address = None
        cdef const librats_flow* flow = NULL
        cdef uint64_t total = 0
        cdef Out* out
        self._begin(time)
        while total < MOST_ROUND:
            if self._out_at == self._out_count:
                with nogil:
                    self._fill(time)
                if self._out_count == 0:
                    break
            flow = NULL
            while self._out_at < self._out_count:
                out = &self._out[self._out_at]
                if flow == NULL or not same_bytes(flow, &out.flow):
                    flow = &out.flow
                    address = self._flows.address(flow)
                items.append((PyBytes_FromStringAndSize(<char*>self._arena + out.start, out.size), address))
                total += out.size
                self._out_at += 1
        self._mux.counts.sent += len(items)
        return items

    def transmit_through(self, BatchSocket socket not None, now: float):
        """Send what is to be sent through a socket, in as few calls of the system as it allows.

        Returns:
            False where the system has no room; what is left goes first the next time.
        """
        cdef double time = now
        cdef int parts, gone, rounds = 0
        self._begin(time)
        if socket._sending:
            raise UsageError("a socket belongs to one thread at a time")
        socket._sending = True
        try:
            while rounds < 64:
                if self._out_at == self._out_count:
                    with nogil:
                        self._fill(time)
                    if self._out_count == 0:
                        return True
                    rounds += 1
                parts = gather(
                    socket._outbox, socket._segments, self._arena, self._out + self._out_at,
                    self._out_count - self._out_at
                )
                gone = socket._flush(parts >> 16)
                self._out_at += gone
                self._mux.counts.sent += gone
                if gone < parts & 0xFFFF:
                    socket.no_room += 1
                    return False
        finally:
            socket._sending = False
        return True

    # Time

    def next_timer(self):
        """When another round is wanted, though nothing comes: 0 for at once, None for never."""
        cdef double due = self.due
        return due if due < NEVER else None

    @property
    def due(self):
        """The same as a number, with 1e300 for never."""
        cdef Mux* m = &self._mux
        if m.dirty != NULL or m.told != NULL or m.replies_wanted or self._out_at < self._out_count:
            return 0.0
        return m.heap[0].due if m.heap_count else NEVER

    def handle_timer(self, now: float):
        """Do what is due; what is to be sent goes out with the next round."""
        cdef double time = now
        self._begin(time)
        with nogil:
            times_come(&self._mux, time)

    def events(self):
        """Return what has happened since the last call, as pairs of stream and bits; one for each stream."""
        cdef list found = []
        cdef uint32_t bits
        cdef RudpStream stream = self._next_event(&bits)
        while stream is not None:
            found.append((stream, bits))
            stream = self._next_event(&bits)
        return found

    cdef RudpStream _next_event(self, uint32_t* bits):
        cdef Conn* c = next_told(&self._mux)
        while c != NULL:
            bits[0] = c.events
            c.events = 0
            if c.stream == NULL and bits[0] & TOLD_INCOMING and not c.buried:
                return self._introduce(c)
            if c.stream != NULL:
                return <RudpStream>c.stream
            c = next_told(&self._mux)
        return None

    def tell(self, others, failed):
        """Tell the listener of each stream what has happened: instead of :meth:`events`, with a call for each of them.

        Args:
            others: Called with a stream and its bits where nobody listens.
            failed: Called with a listener and its exception.
        """
        cdef uint32_t bits
        cdef object listener
        cdef RudpStream stream = self._next_event(&bits)
        while stream is not None:
            listener = stream.listener
            if listener is None:
                others(stream, bits)
            else:
                try:
                    listener(bits)
                except Exception as error:
                    failed(listener, error)
            stream = self._next_event(&bits)

    def reset_all(self):
        """Give up every stream; a Reset for each goes out with the next round."""
        cdef uint32_t i
        if self._mux.slots == NULL:
            return
        for i in range(self._mux.mask + 1):
            if self._mux.slots[i] != NULL:
                give_up(&self._mux, self._mux.slots[i])

    # Addresses

    def flow_of_address(self, address) -> bytes:
        """Return an address as the batches of datagrams have it.

        Raises:
            UsageError: It is no IP address and port.
        """
        return (<const char*>self._flows.of_address(address))[:sizeof(librats_flow)]

    def address_of_flow(self, flow: bytes):
        """Return the address that :meth:`flow_of_address` took, or one equal to it."""
        if len(flow) != sizeof(librats_flow):
            raise UsageError("not a flow")
        return self._flows.address(<const librats_flow*>PyBytes_AS_STRING(<bytes>flow))
