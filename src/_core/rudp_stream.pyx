"""One reliable stream over datagrams; see :mod:`librats._core.rudp`, which makes them."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from librats._core.batches cimport librats_flow
from librats._core.rudp_control cimport CUBIC, LEDBAT, MODEL, YIELDING, control_begin, model_rate
from librats._core.rudp_input cimport ask_way, take_early
from librats._core.rudp_output cimport CHALLENGE_TRIES
from librats._core.rudp_send cimport out_room
from librats._core.rudp_state cimport (
    CLOSED, OPEN, OPENING, Conn, ring_get, ring_hold, ring_put, scrap_add, scrap_drop
)
from librats._core.rudp_table cimport bury, noise, tell, touch
from librats._core.rudp_timers cimport give_up
from librats._core.rudp_wire cimport EXTENDED_HEADER, TAG

from librats.errors import UsageError

cdef enum:
    KEY_SIZE = 32
    MOST_SCRAPS_OUT = 65536

CONTROL_NAMES = {MODEL: "model", CUBIC: "cubic", YIELDING: "yielding", LEDBAT: "ledbat"}


@cython.final
@cython.no_gc_clear
cdef class RudpStream:
    """One stream of a table; comes from ``dial``, or from ``events`` where a peer opened it.

    One that nobody holds any more is given up; after :meth:`finish`, when its last bytes are handed over.
    :attr:`listener` is called with the bits of what has happened to it by :meth:`RudpTable.tell`, where it is not None.
    """

    def __init__(self):
        raise UsageError("a table makes its streams")

    def __dealloc__(self):
        if self._conn == NULL:
            return
        self._conn.stream = NULL
        if self._conn.removed:
            bury(self._mux, self._conn)
        else:
            touch(self._mux, self._conn)

    def __repr__(self):
        state = "opening" if self._conn.state == OPENING else "closed" if self.is_closed else "open"
        return f"<RudpStream {self._conn.receive_id:08x} {state}>"

    # What it is

    @property
    def number(self):
        """The number under which the peer sends, unique in its table."""
        return self._conn.receive_id

    @property
    def address(self):
        """Where the peer is."""
        return self._table.address_of_flow((<const char*>&self._conn.flow)[:sizeof(self._conn.flow)])

    @property
    def is_dialer(self):
        """Whether it was opened here."""
        return bool(self._conn.dialer)

    @property
    def is_open(self):
        """Whether the peer has answered, and neither side has given up."""
        return self._conn.state == OPEN and not self._conn.was_told

    @property
    def is_closed(self):
        """Whether it is over, for whatever reason."""
        return self._conn.state == CLOSED or bool(self._conn.was_told)

    @property
    def is_extended(self):
        """Whether the peer is one of ours."""
        return bool(self._conn.extended)

    @property
    def is_agreed(self):
        """Whether the peer's packets carry tags; what has none is dropped from then on."""
        return bool(self._conn.agreed)

    @property
    def cause(self):
        """Why it is closed, as a number; 0 while it is not."""
        return self._conn.cause if self._conn.was_told else 0

    @property
    def rtt(self):
        """Smoothed round trip in seconds; None before the first."""
        return self._conn.srtt if self._conn.has_rtt else None

    @property
    def control(self):
        """How the sending rate is found: ``model``, ``cubic``, ``yielding``, in uTP ``ledbat``. Set, it begins anew."""
        return CONTROL_NAMES[self._conn.control.kind]

    @control.setter
    def control(self, name: str):
        kinds = {text: kind for kind, text in CONTROL_NAMES.items()}
        if name not in kinds or (kinds[name] == LEDBAT and not self._conn.utp):
            raise UsageError(f"no such congestion control: {name!r}")
        control_begin(
            &self._conn.control, kinds[name], self._conn.control.segment, self._conn.control.most,
            <uint32_t>noise(self._mux)
        )

    def statistics(self):
        """Return what it has seen and believes of the path, by name; sizes in bytes, times in seconds."""
        cdef Conn* c = self._conn
        return {
            "bytes_sent": c.out_start,
            "bytes_received": c.in_next,
            "packets_sent": c.packets_out,
            "packets_received": c.packets_in,
            "packets_lost": c.losses,
            "packets_late": c.late,
            "packets_repeated": c.retransmitted,
            "packets_forged": c.forged,
            "rtt": c.srtt,
            "least_rtt": c.least_rtt,
            "window": c.control.window,
            "in_flight": c.flight,
            "rate": c.control.rate,
            "delivery_rate": model_rate(&c.control),
            "datagram": c.datagram,
            "timeouts": c.timeouts,
            "memory": self.memory(),
        }

    cdef uint64_t memory(self) noexcept nogil:
        cdef Conn* c = self._conn
        return (
            sizeof(Conn) + c.out.size + c.in_.size + c.sent_room * 80 + c.ahead_room * 16
            + (c.held_room * 16 if c.held else 0) + c.held_bytes + (1536 if c.numbers else 0)
            + c.scraps_in.size + c.scraps_out.size
        )

    # Writing

    @property
    def writable(self):
        """Bytes that :meth:`write` takes now."""
        cdef Conn* c = self._conn
        if c.removed or c.fin_wanted or c.reset_wanted:
            return 0
        return max(<long long>out_room(c) - <long long>(c.out_end - c.out_start), 0)

    cdef uint64_t put(self, const uint8_t* data, uint64_t size) noexcept nogil:
        cdef Conn* c = self._conn
        cdef uint64_t held = c.out_end - c.out_start
        cdef uint64_t room = out_room(c)
        if c.removed or c.fin_wanted or c.reset_wanted:
            return 0
        room = room - held if room > held else 0
        if room < size:
            c.wants_room = True
            size = room
        if size == 0 or not ring_hold(&c.out, c.out_start, c.out_end, c.out_end + size):
            return 0
        ring_put(&c.out, c.out_end, data, size)
        c.out_end += size
        touch(self._mux, c)
        return size

    def write(self, data) -> int:
        """Take bytes to be sent, as many as there is room for; they go out with the next round.

        Returns:
            How many were taken. When they were fewer than given, an event tells when there is room again.
        """
        cdef Py_buffer view
        cdef uint64_t taken
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        taken = self.put(<const uint8_t*>view.buf, view.len)
        PyBuffer_Release(&view)
        return taken

    def finish(self):
        """End the stream behind what was written. What the peer sends is still read."""
        if not self._conn.removed and not self._conn.fin_wanted:
            self._conn.fin_wanted = True
            touch(self._mux, self._conn)

    def reset(self):
        """Give the stream up at once, both ways; nothing that was not acknowledged arrives for certain."""
        give_up(self._mux, self._conn)

    # Reading

    @property
    def readable(self):
        """Bytes that can be read now."""
        return self._conn.in_next - self._conn.in_start

    @property
    def has_ended(self):
        """Whether the peer has finished, and all that it wrote was read."""
        return bool(self._conn.has_end) and self._conn.in_start == self._conn.in_end

    cdef const uint8_t* peek(self, uint64_t* size) noexcept nogil:
        cdef Conn* c = self._conn
        cdef uint64_t at = c.in_start & (c.in_.size - 1)
        size[0] = min(c.in_next - c.in_start, c.in_.size - at) if c.in_.size else 0
        return c.in_.data + at if size[0] else NULL

    cdef void consume(self, uint64_t size) noexcept nogil:
        self._conn.in_start += size
        if not self._conn.removed:
            touch(self._mux, self._conn)

    def take(self, limit: int = -1) -> bytes:
        """Read and return what has come, at most ``limit`` bytes of it; empty where nothing has."""
        cdef Conn* c = self._conn
        cdef uint64_t size = c.in_next - c.in_start
        cdef bytes found
        if limit >= 0:
            size = min(size, <uint64_t>limit)
        if size == 0:
            return b""
        found = PyBytes_FromStringAndSize(NULL, size)
        ring_get(&c.in_, c.in_start, <uint8_t*>PyBytes_AS_STRING(found), size)
        self.consume(size)
        return found

    def read_into(self, buffer) -> int:
        """Read into a writable buffer; return how many bytes."""
        cdef Conn* c = self._conn
        cdef Py_buffer view
        cdef uint64_t size
        PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
        size = min(c.in_next - c.in_start, <uint64_t>view.len)
        if size:
            ring_get(&c.in_, c.in_start, <uint8_t*>view.buf, size)
            self.consume(size)
        PyBuffer_Release(&view)
        return size

    # Datagrams

    @property
    def max_datagram(self):
        """Longest unreliable datagram in bytes, as far as the path is known; 0 where the peer takes none."""
        return self._conn.datagram - EXTENDED_HEADER - TAG if self._conn.extended else 0

    def send_datagram(self, data) -> bool:
        """Send an unreliable datagram with the next round.

        Returns:
            False where it is too long, too many wait, or the peer takes none.
        """
        cdef Conn* c = self._conn
        cdef Py_buffer view
        cdef bint taken = False
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        if (
            c.extended and not c.removed and view.len + EXTENDED_HEADER + TAG <= c.datagram
            and c.scraps_out.size + view.len <= MOST_SCRAPS_OUT
        ):
            taken = scrap_add(&c.scraps_out, <const uint8_t*>view.buf, <uint32_t>view.len)
            touch(self._mux, c)
        PyBuffer_Release(&view)
        return taken

    def take_datagrams(self) -> list:
        """Return the unreliable datagrams that have come."""
        cdef Conn* c = self._conn
        cdef list found = []
        while c.scraps_in.first != NULL:
            found.append(PyBytes_FromStringAndSize(<const char*>(c.scraps_in.first + 1), c.scraps_in.first.size))
            scrap_drop(&c.scraps_in)
        return found

    # Keys and ways

    def set_key(self, sending: bytes, receiving: bytes):
        """Let packets carry a tag under these keys from now on; only where the peer is one of ours.

        Both sides call it when the handshake above is done, with the keys exchanged: the one that ends it right after
        it wrote its last message, the other right after it read that, and before either writes anything more.

        Args:
            sending: 32 bytes.
            receiving: 32 bytes.

        Raises:
            UsageError: A key has another length, there is one already, or the peer is not one of ours.
        """
        cdef Conn* c = self._conn
        if len(sending) != KEY_SIZE or len(receiving) != KEY_SIZE:
            raise UsageError("a key has 32 bytes")
        if c.has_key or not c.extended:
            raise UsageError("the stream has a key" if c.has_key else "the peer takes no tags")
        if c.removed:
            return
        memcpy(c.key_out, PyBytes_AS_STRING(sending), KEY_SIZE)
        memcpy(c.key_in, PyBytes_AS_STRING(receiving), KEY_SIZE)
        c.mark = c.out_end
        c.has_key = True
        take_early(self._mux, c)
        if not c.removed:
            # The first packet with a tag tells the peer that we have the key.
            c.pings = 1
            touch(self._mux, c)
            tell(self._mux, c)

    def ask_way(self, address, now: float):
        """See whether the peer is heard at another address, and move there when it answers; an event tells.

        Raises:
            UsageError: There is no key yet, or that is no address.
        """
        if not self._conn.agreed:
            raise UsageError("without a key a stream stays where it is")
        cdef bytes packed = self._table.flow_of_address(address)
        if self._conn.removed:
            return
        ask_way(self._mux, self._conn, <const librats_flow*>PyBytes_AS_STRING(packed))
        self._conn.challenges_left = CHALLENGE_TRIES
        self._conn.asked = True

    def renumber(self, number: int, peer_number: int, offset: int = 0, peer_offset: int = 0):
        """Go on with other numbers and offsets, for tests of what happens when they pass 2**32; with nothing under way.

        Args:
            number: Of the next packet sent.
            peer_number: Of the next packet that the peer sends.
            offset: Of the next byte written.
            peer_offset: Of the next byte that the peer writes.
        """
        cdef Conn* c = self._conn
        c.first = number
        c.next = number
        c.expected = peer_number
        c.number_count = 0
        c.floor = 0
        c.largest = peer_number - 1
        c.has_largest = True
        if c.extended:
            c.out_limit = offset + (c.out_limit - c.out_end)
            c.told_limit = peer_offset + c.in_window
        c.out_start = offset
        c.out_next = offset
        c.out_end = offset
        c.in_start = peer_offset
        c.in_next = peer_offset
        c.in_far = peer_offset
        c.tuned_start = peer_offset
