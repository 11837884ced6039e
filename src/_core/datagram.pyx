"""Datagrams in batches on sockets that somebody else opened: recvmmsg, sendmmsg, UDP_GRO and UDP_SEGMENT.

One call returns what has come, one call sends a list. Nothing here calls Python for a datagram but to make the address
of somebody who was not heard of lately.

An object belongs to one thread at a time.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from libc cimport errno
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from librats._core.batches cimport (
    LIBRATS_HAS_LOCAL,
    LIBRATS_MAX_MESSAGES,
    librats_arrival,
    librats_arrivals,
    librats_batches_work,
    librats_flow,
    librats_inbox,
    librats_inbox_free,
    librats_inbox_new,
    librats_interface,
    librats_message,
    librats_mixed,
    librats_read_host,
    librats_receive,
    librats_send,
    librats_write_host,
)

from librats.errors import UsageError

cdef enum:
    WANTED = 256  # datagrams that one call of `receive` is meant to return
    FEWEST = 4  # messages
    MOST_PARTS = 512  # datagrams in one call of the system
    MOST_SEGMENTS = 64  # the kernel takes no more in one message: UDP_MAX_SEGMENTS
    MOST_BYTES = 65487  # payload of the longest IPv6 packet without jumbograms
    KNOWN = 4096  # addresses remembered, each way; a power of 2
    HOST_SIZE = 64


def batches_work(fd: int) -> bool:
    """Whether the system has the calls, and allows them on this socket."""
    return librats_batches_work(<int>fd) != 0


@cython.final
cdef class Inbox:
    """Memory that datagrams are received into; all sockets of one thread may share one."""

    def __cinit__(self):
        self._memory = librats_inbox_new()
        if self._memory == NULL:
            raise MemoryError()

    def __dealloc__(self):
        librats_inbox_free(self._memory)


@cython.final
cdef class BatchSocket:
    """A UDP socket of each family, or of one, non-blocking and not connected; -1 where there is none."""

    def __cinit__(self, *args, **kwargs):
        self._known = NULL
        self._outbox = NULL

    def __init__(
        self, fd4: int, fd6: int, inbox: Inbox, origin_type: type, make_origin, *, segments: bool = True,
        choose_local: bool = False, max_size: int = 65535
    ):
        self._fd4 = fd4
        self._fd6 = fd6
        self._inbox = inbox
        self._origin_type = origin_type
        self._make_origin = make_origin
        self._segments = segments
        self._choose_local = choose_local
        self._max_size = max_size
        self._most = 2 * FEWEST
        self._targets = {}
        self.drained = True
        if self._known == NULL:
            self._known = <Known*>calloc(KNOWN, sizeof(Known))
        if self._outbox == NULL:
            self._outbox = <Outbox*>calloc(1, sizeof(Outbox))
        if self._known == NULL or self._outbox == NULL:
            raise MemoryError()

    def __dealloc__(self):
        cdef int i
        if self._known != NULL:
            for i in range(KNOWN):
                Py_XDECREF(self._known[i].origin)
            free(self._known)
        free(self._outbox)

    @property
    def segments(self):
        """Whether runs of equal size to one address go out as one message."""
        return self._segments

    @property
    def reported_drops(self):
        """Datagrams that the kernel says it dropped for want of room, where SO_RXQ_OVFL is on."""
        return self._dropped4 + self._dropped6

    # Receiving

    def receive(self, int family):
        """Return what has come on the socket of a family, 4 or 6, as pairs of data and origin; never waits."""
        cdef int fd = self._fd4 if family == 4 else self._fd6
        cdef uint32_t* dropped = &self._dropped4 if family == 4 else &self._dropped6
        cdef librats_inbox* memory = self._inbox._memory
        cdef librats_arrival* arrivals = librats_arrivals(memory)
        cdef int most = self._most
        cdef int count
        cdef int i
        cdef list batch = []
        if self._inbox._busy:
            raise UsageError("an inbox belongs to one thread at a time")
        self._inbox._busy = True
        with nogil:
            count = librats_receive(fd, memory, most, dropped)
        try:
            if count < 0:
                self._failed(count)
                return batch
            self.drained = count < most
            for i in range(count):
                self._take(&arrivals[i], batch)
        finally:
            self._inbox._busy = False
        # With UDP_GRO a message may hold many: ask for fewer messages then, so that one call stays short.
        if len(batch) > WANTED:
            self._most = max(<int>FEWEST, <int>(WANTED * count / len(batch)))
        elif not self.drained and len(batch) <= WANTED // 2:
            self._most = min(<int>LIBRATS_MAX_MESSAGES, most * 2)
        return batch

    cdef void _failed(self, int error) noexcept:
        # What an earlier datagram met (RFC 1122, 4.1.3.3) is told once, and says nothing of the next.
        self.drained = error == -errno.EAGAIN or error == -errno.EBADF
        if not self.drained and error != -errno.EINTR:
            self.errors += 1

    cdef int _take(self, librats_arrival* arrival, list batch) except -1:
        cdef object origin
        cdef uint32_t at = 0
        cdef uint32_t size = arrival.segment if 0 < arrival.segment < arrival.size else arrival.size
        if arrival.truncated:
            self.truncated += 1
            return 0
        origin = self._origin(&arrival.flow)
        while True:
            size = min(size, arrival.size - at)
            if size <= self._max_size:
                batch.append((PyBytes_FromStringAndSize(<char*>arrival.data + at, size), origin))
                self.received += 1
            else:
                self.truncated += 1
            at += size
            if at >= arrival.size:
                return 0

    cdef object _origin(self, librats_flow* flow):
        cdef object origin
        cdef Known* known = &self._known[librats_mixed(flow) & (KNOWN - 1)]
        if known.origin != NULL and memcmp(&known.flow, flow, sizeof(librats_flow)) == 0:
            return <object>known.origin
        origin = self._new_origin(flow)
        Py_INCREF(origin)
        Py_XDECREF(known.origin)
        known.flow = flow[0]
        known.origin = <PyObject*>origin
        return origin

    cdef object _new_origin(self, librats_flow* flow):
        cdef char text[HOST_SIZE]
        cdef librats_flow target = flow[0]
        cdef str host
        cdef object local = None
        if not librats_write_host(flow.family, flow.remote, text, HOST_SIZE):
            raise UsageError("the socket is not one of the internet")
        host = text.decode("ascii")
        if flow.scope:
            host = f"{host}%{flow.scope}"
        if flow.marks & LIBRATS_HAS_LOCAL and librats_write_host(flow.family, flow.local, text, HOST_SIZE):
            local = text.decode("ascii")
        target.marks &= LIBRATS_HAS_LOCAL
        return self._make_origin(
            host, flow.port, local, flow.marks & 3, PyBytes_FromStringAndSize(<char*>&target, sizeof(librats_flow))
        )

    # Sending

    def send(self, data, address):
        """Send one datagram. False where the kernel has no room; what the network refuses is counted."""
        return self.send_many(((data, address),)) == 1

    def send_many(self, items):
        """Send pairs of data and address, in order; return how many were dealt with before the kernel had no room."""
        cdef tuple sequence = tuple(items)
        cdef Py_ssize_t total = len(sequence)
        cdef Py_ssize_t done = 0
        cdef int parts
        cdef int count
        cdef int gone
        if self._sending:
            raise UsageError("a socket belongs to one thread at a time")
        self._sending = True
        try:
            while done < total:
                parts = 0
                try:
                    count = self._gather(sequence, done, total, &parts)
                    gone = self._flush(count)
                finally:
                    self._release(parts)
                done += gone
                if gone < parts:
                    self.no_room += 1
                    break
        finally:
            self._sending = False
        return done

    cdef int _gather(self, tuple sequence, Py_ssize_t start, Py_ssize_t total, int* parts) except -1:
        """Fill the outbox with messages of one family, and return how many."""
        cdef Outbox* box = self._outbox
        cdef librats_message* message = NULL
        cdef librats_flow flow
        cdef object before = None
        cdef bint closed = True
        cdef size_t bytes_in_run = 0
        cdef int count = 0
        cdef int n
        cdef size_t size
        cdef object item, data, address
        while start < total and parts[0] < MOST_PARTS:
            item = sequence[start]
            data, address = item
            if address is not before:
                self._target(address, &flow)
                if message != NULL and flow.family != message.flow.family:
                    break
                closed = message == NULL or memcmp(&flow, &message.flow, sizeof(librats_flow)) != 0 or closed
                before = address
            n = parts[0]
            self._hold(data, n)
            parts[0] = n + 1
            size = box.parts[n].size
            if (
                not closed and size and size <= message.segment and message.parts < MOST_SEGMENTS
                and bytes_in_run + size <= MOST_BYTES
            ):
                message.parts += 1
                bytes_in_run += size
                closed = size < message.segment
            else:
                if count == LIBRATS_MAX_MESSAGES:
                    parts[0] = n
                    self._let_go(n)
                    break
                message = &box.messages[count]
                count += 1
                message.flow = flow
                message.first = <uint32_t>n
                message.parts = 1
                message.segment = <uint32_t>min(size, <size_t>0xFFFFFFFF)
                bytes_in_run = size
                closed = not self._segments or size == 0 or size > MOST_BYTES // 2
            start += 1
        return count

    cdef int _hold(self, object data, int n) except -1:
        cdef Outbox* box = self._outbox
        cdef Py_buffer* view
        if PyBytes_CheckExact(data):
            box.parts[n].data = <uint8_t*>PyBytes_AS_STRING(data)
            box.parts[n].size = PyBytes_GET_SIZE(data)
            Py_INCREF(data)
            box.held[n] = <PyObject*>data
            return 0
        view = &box.views[n]
        PyObject_GetBuffer(data, view, PyBUF_SIMPLE)
        box.held[n] = NULL
        box.parts[n].data = <uint8_t*>view.buf
        box.parts[n].size = view.len
        return 0

    cdef void _let_go(self, int n) noexcept:
        if self._outbox.held[n] != NULL:
            Py_DECREF(<object>self._outbox.held[n])
        else:
            PyBuffer_Release(&self._outbox.views[n])

    cdef void _release(self, int parts) noexcept:
        cdef int i
        for i in range(parts):
            self._let_go(i)

    cdef int _target(self, object address, librats_flow* out) except -1:
        cdef bytes packed = None
        if type(address) is self._origin_type and self._choose_local:
            packed = address.flow
        if packed is None or PyBytes_GET_SIZE(packed) != sizeof(librats_flow):
            packed = self._targets.get(address)
            if packed is None:
                packed = self._read_address(address)
                if len(self._targets) >= KNOWN:
                    self._targets.clear()
                self._targets[address] = packed
        memcpy(out, PyBytes_AS_STRING(packed), sizeof(librats_flow))
        return 0

    cdef bytes _read_address(self, object address):
        cdef librats_flow flow
        host, port = address
        name, _, zone = host.partition("%")
        memset(&flow, 0, sizeof(flow))
        if not (host.isascii() and "\0" not in host and librats_read_host(name.encode(), &flow) and 0 < port < 65536):
            raise UsageError(f"not an address that datagrams can be sent to: {address!r}")
        flow.port = port
        if zone and flow.family == 6:
            flow.scope = int(zone) if zone.isdecimal() and len(zone) < 10 else librats_interface(zone.encode())
            if not flow.scope:
                raise UsageError(f"not an address that datagrams can be sent to: {address!r} names no interface")
        return PyBytes_FromStringAndSize(<char*>&flow, sizeof(librats_flow))

    cdef int _flush(self, int count) except -1:
        """Send the messages of the outbox; return how many datagrams were dealt with."""
        cdef Outbox* box = self._outbox
        cdef librats_message* message
        cdef int fd
        cdef int at = 0
        cdef int i
        cdef int result
        cdef int gone = 0
        cdef int alone
        if not count:
            return 0
        fd = self._fd4 if box.messages[0].flow.family == 4 else self._fd6
        while at < count:
            with nogil:
                result = librats_send(fd, &box.messages[at], box.parts, count - at)
            if result > 0:
                for i in range(at, at + result):
                    gone += box.messages[i].parts
                    self.sent += box.messages[i].parts
                at += result
                continue
            message = &box.messages[at]
            if result == -errno.EINTR:
                continue
            if _no_room(result):
                break
            if result == -errno.ECONNREFUSED:
                self.errors += 1  # what ICMP told about an earlier one, once: this one goes out now
            if message.parts > 1 and result in (-errno.EIO, -errno.ENOPROTOOPT, -errno.EOPNOTSUPP):
                self._segments = False  # a device cannot do it
            alone = self._send_apart(fd, message)
            gone += alone
            if alone < <int>message.parts:
                break
            at += 1
        return gone

    cdef int _send_apart(self, int fd, librats_message* message) except -1:
        """Send the datagrams of a message that the system did not take one by one; return how many were dealt with."""
        cdef librats_message single = message[0]
        cdef uint32_t i
        cdef int _attempt
        cdef int result
        single.parts = 1
        for i in range(message.parts):
            single.first = message.first + i
            for _attempt in range(3):
                with nogil:
                    result = librats_send(fd, &single, self._outbox.parts, 1)
                if result == -errno.ECONNREFUSED:
                    self.errors += 1
                elif result < 0 and not _no_room(result) and single.flow.marks & LIBRATS_HAS_LOCAL:
                    # The address that the peer knows is gone from this host: any other is better than none.
                    single.flow.marks &= <uint8_t>~LIBRATS_HAS_LOCAL
                else:
                    break
            if result > 0:
                self.sent += 1
            elif _no_room(result):
                return <int>i
            else:
                self.refused += 1
        return <int>message.parts


cdef inline bint _no_room(int result) noexcept nogil:
    return result == -errno.EAGAIN or result == -errno.ENOBUFS
