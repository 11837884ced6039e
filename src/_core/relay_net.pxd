"""What ``relay_net.h``, ``relay_poll.h``, ``relay_inbox.h`` and ``relay_outbox.h`` offer. Header only."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "relay_net.h" nogil:
    enum:
        NET_CAN_KEEP_WHOLE

    ctypedef struct net_address:
        uint16_t family
        uint16_t port
        uint32_t scope
        uint8_t host[16]

    ctypedef struct net_piece:
        pass

    bint net_same(const net_address* a, const net_address* b) noexcept
    void net_set_host6(net_address* a, const uint8_t* host, uint32_t scope) noexcept
    bint net_is_unspecified(const net_address* a) noexcept
    uint32_t net_hash(const uint64_t* keys, const net_address* a, uint32_t owner, uint32_t more) noexcept
    double net_now() noexcept
    void net_nap(int microseconds) noexcept
    void net_be_punctual() noexcept
    int net_read_host(net_address* a, const char* text) noexcept
    void net_write_host(const net_address* a, char* text, size_t room) noexcept

cdef extern from "relay_poll.h" nogil:
    enum:
        NET_EVENTS

    ctypedef struct net_socket:
        int fd
        int family
        int wildcard
        net_address bound

    ctypedef struct net_poller:
        int portable
        int epoll
        int woken

    int net_prepare(net_socket* s, int fd, int gro, int tell_local) noexcept
    int net_can_join(int fd) noexcept
    int net_open_poller(net_poller* p, int portable) noexcept
    void net_close_poller(net_poller* p) noexcept
    int net_watch(net_poller* p, int fd, uint64_t tag, bint once) noexcept
    void net_leave(net_poller* p, int fd, uint64_t tag) noexcept
    void net_unwatch(net_poller* p, int fd, uint64_t tag) noexcept
    void net_wake(net_poller* p) noexcept
    int net_wait(net_poller* p, uint64_t* tags, int milliseconds) noexcept

cdef extern from "relay_inbox.h" nogil:
    ctypedef struct net_datagram:
        uint8_t* data
        uint32_t size
        uint32_t segment
        net_address source
        net_address local

    ctypedef struct net_inbox:
        int room
        int left
        net_datagram* datagrams
        uint64_t refused

    int net_open_inbox(net_inbox* inbox, int room, int portable) noexcept
    void net_close_inbox(net_inbox* inbox) noexcept
    int net_receive(net_inbox* inbox, const net_socket* s, int first, int count) noexcept

cdef extern from "relay_outbox.h" nogil:
    ctypedef struct net_target:
        pass

    ctypedef struct net_sent:
        uint64_t sent
        uint64_t no_room
        uint64_t failed
        uint64_t refused
        uint64_t joined
        uint64_t split

    ctypedef struct net_outbox:
        pass

    void net_set_piece(net_piece* piece, const void* at, size_t length) noexcept
    bint net_aim(net_target* t, int fd, int family, const net_address* to, const net_address* source) noexcept
    net_outbox* net_open_outbox(int portable, int joins, net_sent* counters) noexcept
    void net_put(net_outbox* o, const net_target* t, net_piece* pieces, int count, uint32_t size) noexcept
    void net_put_whole(net_outbox* o, const net_target* t, net_piece* pieces, int count) noexcept
    void net_flush(net_outbox* o) noexcept
