"""uTP (BEP 29): the reliable streams of BitTorrent over datagrams, many on one socket, as a pure machine.

It is a second codec of :mod:`librats._core.rudp`, not an engine of its own: a connection of librats 2 and one of uTP
are alike, each packet has a number, and acknowledgements name the last one in order and those behind the gap by a mask.
So the streams, what is known of packets on their way, losses, round trips, timers, pacing, the search for the longest
packet and the congestion controls are the same code. What is uTP's own stands in ``utp_wire``, ``utp_input``,
``utp_output`` and ``utp_delay``: headers and extensions, numbers of 16 bits, ids that belong to the peer's address,
windows in bytes, what the clocks tell of queues. The control that is made for that stands beside the others.

It needs a socket of its own, or one that it shares with the DHT of BitTorrent: its first bytes are those of STUN and of
librats 2.
"""

cimport cython

from librats._core.rudp cimport RudpTable
from librats._core.rudp_control cimport CUBIC, LEDBAT, MODEL, YIELDING
from librats._core.rudp_state cimport BASE_DATAGRAM

from librats.errors import UsageError

cdef enum:
    ETHERNET = 1472  # bytes of the longest datagram over IPv4 in a frame of 1,500; nobody takes more

CONTROLS = {"ledbat": LEDBAT, "model": MODEL, "cubic": CUBIC, "yielding": YIELDING}


@cython.final
cdef class UtpTable(RudpTable):
    """The uTP connections of a socket; their streams are :class:`~librats._core.rudp_stream.RudpStream`.

    Who dials speaks first: a connection that came in sends nothing before the first bytes of the other side, which show
    that the other side is where it says.

    Args:
        entropy: Source of secrets.
        control: How the sending rate is found: ``ledbat`` after BEP 29, which keeps out of the way of everything else;
            ``model``, ``cubic`` and ``yielding`` as for sessions.
        max_streams: Connections at a time; more are refused.
        max_half_open: Connections of others that have not shown that they are where they say; for a new one the oldest
            of them goes.
        send_buffer: Most bytes of a stream that wait to be acknowledged.
        receive_buffer: Most bytes of a stream that wait to be read.
        receive_window: Bytes that may wait to be read at first; the window grows as the application reads.
        max_datagram: Longest datagram to be tried, UDP payload in bytes, 1220 to 1472; the socket must not fragment.
        accepts: Whether connections may come in.
        idle_timeout: Seconds without a packet after which a connection is gone; libtorrent sends none by itself.
        keep_alive: Seconds of silence after which one is sent, for the sake of NATs.
        linger: Seconds that a finished stream nobody holds any more has to hand over its last bytes.

    Raises:
        UsageError: A value makes no sense.
    """

    def __init__(
        self, entropy, *, control: str = "ledbat", max_streams: int = 8192, max_half_open: int = 512,
        send_buffer: int = 1 << 24, receive_buffer: int = 1 << 22, receive_window: int = 1 << 20,
        max_datagram: int = ETHERNET, accepts: bool = True, idle_timeout: float = 300.0, keep_alive: float = 25.0,
        linger: float = 5.0
    ):
        if control not in CONTROLS:
            raise UsageError(f"no such congestion control: {control!r}")
        if not BASE_DATAGRAM <= max_datagram <= ETHERNET:
            raise UsageError(f"the longest datagram has {BASE_DATAGRAM} to {ETHERNET} bytes")
        if max_half_open < 1:
            raise UsageError("at least one connection may be half open")
        super().__init__(
            entropy, control="cubic", max_streams=max_streams, send_buffer=send_buffer, receive_buffer=receive_buffer,
            receive_window=receive_window, max_datagram=max_datagram, extended=False, accepts=accepts,
            idle_timeout=idle_timeout, keep_alive=keep_alive, linger=linger
        )
        self._mux.settings.utp = True
        self._mux.settings.control = CONTROLS[control]
        self._mux.settings.half_open_most = min(max_half_open, max_streams)
        self._mux.shrunk_at = -1

    def __repr__(self):
        return f"<UtpTable {self._mux.count} streams>"

    @property
    def shrunk_at(self):
        """When a path seemed to carry less than it did before, in seconds; below 0 if never.

        What has a number cannot be sent in smaller pieces: let the socket fragment for a while.
        """
        return self._mux.shrunk_at
