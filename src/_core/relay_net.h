/* Datagrams in batches, on sockets that others opened, for the relay's data plane.
 *
 * On Linux: epoll, recvmmsg, sendmmsg, UDP_GRO and UDP_SEGMENT. Elsewhere, and where asked for, the portable path:
 * poll and one system call a datagram. Nothing here touches Python. All sizes are bytes.
 */
#ifndef LIBRATS_RELAY_NET_H
#define LIBRATS_RELAY_NET_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include <winsock2.h>
#include <ws2tcpip.h>
#include <mswsock.h>
#include <windows.h>
#include <iphlpapi.h>
#ifndef SIO_UDP_CONNRESET
#define SIO_UDP_CONNRESET _WSAIOW(IOC_VENDOR, 12)
#endif
typedef WSABUF net_piece;
typedef WSAPOLLFD net_pollfd;
#define net_poll WSAPoll
#else
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
typedef struct iovec net_piece;
typedef struct pollfd net_pollfd;
#define net_poll poll
#endif

#ifdef __linux__
#define NET_BATCHES 1
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#define NET_SOL_UDP 17
#define NET_UDP_SEGMENT 103
#define NET_UDP_GRO 104
#else
#define NET_BATCHES 0
#endif

/* The options that keep datagrams in one piece, whatever the system believes of the path, and their value. */
#ifdef _WIN32
#define NET_WHOLE4 IP_DONTFRAGMENT
#define NET_WHOLE6 IPV6_DONTFRAG
#define NET_WHOLE_VALUE 1
#elif defined(IP_MTU_DISCOVER) && defined(IP_PMTUDISC_PROBE) && defined(IPV6_MTU_DISCOVER)
#define NET_WHOLE4 IP_MTU_DISCOVER
#define NET_WHOLE6 IPV6_MTU_DISCOVER
#define NET_WHOLE_VALUE IP_PMTUDISC_PROBE
#elif defined(IP_DONTFRAG) && defined(IPV6_DONTFRAG)
#define NET_WHOLE4 IP_DONTFRAG
#define NET_WHOLE6 IPV6_DONTFRAG
#define NET_WHOLE_VALUE 1
#endif
#ifdef NET_WHOLE4
#define NET_CAN_KEEP_WHOLE 1
#else
#define NET_CAN_KEEP_WHOLE 0
#endif

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif
#ifndef MSG_DONTWAIT
#define MSG_DONTWAIT 0
#endif

enum {
    NET_HEADROOM = 64,             /* bytes before each datagram that its reader may write to */
    NET_ROOM = 65536,              /* no UDP datagram over IPv4 or IPv6 is longer, joined or not */
    NET_STRIDE = NET_ROOM + 320,   /* an odd number of cache lines, so that neighbours do not share a cache set */
    NET_MESSAGES = 256,            /* messages in one sendmmsg */
    NET_SEGMENTS = 64,             /* packets joined into one message: what every kernel with UDP_SEGMENT takes */
    NET_JOINED = 65000,            /* bytes joined into one message */
    NET_PIECES = 3072,
    NET_CAUTION = 4096,
    NET_EVENTS = 64
};

/* The fixed form of an address. Port in network order; an IPv4 address is followed by zeros. */
typedef struct {
    uint16_t family, port; /* 4 or 6 */
    uint32_t scope;
    uint8_t host[16];
} net_address;

static inline int net_same(const net_address *a, const net_address *b) {
    uint64_t x[3], y[3];
    memcpy(x, a, 24), memcpy(y, b, 24);
    return ((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2])) == 0;
}

static inline int net_same_host(const net_address *a, const net_address *b) {
    uint64_t x[2], y[2];
    memcpy(x, a->host, 16), memcpy(y, b->host, 16);
    return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0 && a->family == b->family && a->scope == b->scope;
}

/* An IPv6 address that stands for an IPv4 one becomes that. */
static inline void net_set_host6(net_address *a, const uint8_t *host, uint32_t scope) {
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    if (memcmp(host, mapped, 12) == 0) {
        a->family = 4, a->scope = 0;
        memset(a->host, 0, 16), memcpy(a->host, host + 12, 4);
    } else {
        a->family = 6, a->scope = scope;
        memcpy(a->host, host, 16);
    }
}

static inline void net_from_name(net_address *a, const struct sockaddr_storage *name) {
    if (name->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)name;
        memset(a, 0, sizeof *a);
        a->family = 4, a->port = v4->sin_port;
        memcpy(a->host, &v4->sin_addr, 4);
    } else if (name->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)name;
        a->port = v6->sin6_port;
        net_set_host6(a, (const uint8_t *)&v6->sin6_addr, v6->sin6_scope_id);
    } else {
        memset(a, 0, sizeof *a);
    }
}

/* The name for a socket of a family; 0 where that socket cannot reach the address. */
static inline socklen_t net_to_name(struct sockaddr_in6 *name, const net_address *a, int family) {
    memset(name, 0, sizeof *name);
    if (family == 4) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)name;
        if (a->family != 4) return 0;
        v4->sin_family = AF_INET, v4->sin_port = a->port;
        memcpy(&v4->sin_addr, a->host, 4);
        return sizeof *v4;
    }
    name->sin6_family = AF_INET6, name->sin6_port = a->port, name->sin6_scope_id = a->scope;
    if (a->family == 4) {
        uint8_t *host = (uint8_t *)&name->sin6_addr;
        host[10] = host[11] = 0xff;
        memcpy(host + 12, a->host, 4);
    } else {
        memcpy(&name->sin6_addr, a->host, 16);
    }
    return sizeof *name;
}

/* Multilinear hashing of 8 words with 9 random keys: whatever the addresses are, two of them share a value with a chance
 * of 2^-32 (Lemire and Kaser, "Strongly universal string hashing is fast"), so nobody can choose ones that collide. */
static inline uint32_t net_hash(const uint64_t *k, const net_address *a, uint32_t owner, uint32_t more) {
    uint32_t x[6];
    memcpy(x, a, 24);
    return (uint32_t)((k[8] + (k[0] + x[0]) * (k[1] + x[1]) + (k[2] + x[2]) * (k[3] + x[3]) + (k[4] + x[4]) * (k[5] + x[5])
                       + (k[6] + owner) * (k[7] + more)) >> 32);
}

static inline int net_is_unspecified(const net_address *a) {
    static const uint8_t zeros[16];
    return memcmp(a->host, zeros, 16) == 0;
}

/* ---- clock: the one behind Python's time.monotonic() */

static inline double net_now(void) {
#ifdef _WIN32
#if PY_VERSION_HEX >= 0x030D0000
    LARGE_INTEGER ticks, rate;
    QueryPerformanceCounter(&ticks), QueryPerformanceFrequency(&rate);
    return (double)ticks.QuadPart / (double)rate.QuadPart;
#else
    return (double)GetTickCount64() * 1e-3;
#endif
#elif defined(__APPLE__)
    return (double)clock_gettime_nsec_np(CLOCK_UPTIME_RAW) * 1e-9;
#else
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
#endif
}

static inline void net_nap(int microseconds) {
#ifdef _WIN32
    Sleep((DWORD)(microseconds + 999) / 1000);
#else
    struct timespec t = {microseconds / 1000000, (microseconds % 1000000) * 1000L};
    nanosleep(&t, NULL);
#endif
}

/* Has the calling thread's naps end when they are over: Linux takes up to 50 microseconds more for them. */
static inline void net_be_punctual(void) {
#ifdef __linux__
    prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
#endif
}

/* ---- sockets */

typedef struct {
    int fd, family, wildcard;
    net_address bound;
} net_socket;

static inline int net_would_block(void) {
#ifdef _WIN32
    int e = WSAGetLastError();
    return e == WSAEWOULDBLOCK;
#else
    return errno == EAGAIN || errno == EWOULDBLOCK;
#endif
}

/* Learns what a socket is, and prepares it: it never blocks, tells joined datagrams (gro) and, where it is bound to
 * all addresses, the one a datagram came to. 0, or -1 where it is no UDP socket. */
static int net_prepare(net_socket *s, int fd, int gro, int tell_local) {
    struct sockaddr_storage name;
    socklen_t size = sizeof name;
    int kind = 0, is_udp = 0;
    socklen_t kind_size = sizeof kind;
    int one = 1;
    memset(&name, 0, sizeof name);
    s->fd = fd;
    if (getsockname(fd, (struct sockaddr *)&name, &size) != 0) return -1;
#if NET_BATCHES
    is_udp = gro && setsockopt(fd, NET_SOL_UDP, NET_UDP_GRO, &one, sizeof one) == 0; /* no other socket takes it */
#endif
    if (!is_udp && (getsockopt(fd, SOL_SOCKET, SO_TYPE, (char *)&kind, &kind_size) != 0 || kind != SOCK_DGRAM)) return -1;
    if (name.ss_family != AF_INET && name.ss_family != AF_INET6) return -1;
    s->family = name.ss_family == AF_INET ? 4 : 6;
    net_from_name(&s->bound, &name);
    s->wildcard = tell_local && net_is_unspecified(&s->bound);
#ifdef _WIN32
    {
        u_long yes = 1;
        BOOL no = FALSE;
        DWORD told = 0;
        ioctlsocket(fd, FIONBIO, &yes);
        WSAIoctl(fd, SIO_UDP_CONNRESET, &no, sizeof no, NULL, 0, &told, NULL, NULL);
    }
    s->wildcard = 0;
    (void)gro, (void)one;
#else
#if !NET_BATCHES
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL, 0) | O_NONBLOCK); /* elsewhere, each call says so */
#endif
    if (s->wildcard) {
        int told = -1;
#ifdef IP_PKTINFO
        if (s->family == 4) told = setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof one);
#endif
#ifdef IPV6_RECVPKTINFO
        if (s->family == 6) told = setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof one);
#endif
        s->wildcard = told == 0;
    }
    (void)gro;
#endif
    return 0;
}

static int net_can_join(int fd) {
#if NET_BATCHES
    int zero = 0;
    return setsockopt(fd, NET_SOL_UDP, NET_UDP_SEGMENT, &zero, sizeof zero) == 0;
#else
    (void)fd;
    return 0;
#endif
}

/* ---- waiting */

typedef struct {
    int portable, epoll, wake_read, wake_write, woken;
    net_pollfd *fds;
    uint64_t *tags;
    int count, room, next;
    int unheard, looked; /* sockets that poll told of and nobody has heard of yet, and how many it was looked at for them */
} net_poller;

#define NET_WAKE_TAG UINT64_MAX

static int net_watch(net_poller *p, int fd, uint64_t tag) {
#if NET_BATCHES
    if (!p->portable) {
        struct epoll_event e;
        memset(&e, 0, sizeof e);
        e.events = EPOLLIN, e.data.u64 = tag;
        return epoll_ctl(p->epoll, EPOLL_CTL_ADD, fd, &e);
    }
#endif
    if (p->count == p->room) {
        int room = p->room ? p->room * 2 : 16;
        net_pollfd *fds = (net_pollfd *)realloc(p->fds, (size_t)room * sizeof *fds);
        uint64_t *tags;
        if (!fds) return -1;
        p->fds = fds;
        tags = (uint64_t *)realloc(p->tags, (size_t)room * sizeof *tags);
        if (!tags) return -1;
        p->tags = tags, p->room = room;
    }
    p->fds[p->count].fd = fd, p->fds[p->count].events = POLLIN, p->fds[p->count].revents = 0;
    p->tags[p->count++] = tag;
    return 0;
}

static void net_unwatch(net_poller *p, int fd, uint64_t tag) {
#if NET_BATCHES
    if (!p->portable) {
        epoll_ctl(p->epoll, EPOLL_CTL_DEL, fd, NULL);
        return;
    }
#endif
    for (int i = p->count - 1; i >= 0; i--)
        if (p->tags[i] == tag) {
            p->count--;
            p->fds[i] = p->fds[p->count], p->tags[i] = p->tags[p->count];
            return;
        }
    (void)fd;
}

static int net_open_wake(net_poller *p) {
#if NET_BATCHES
    p->wake_read = p->wake_write = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return p->wake_read < 0 ? -1 : 0;
#elif defined(_WIN32)
    struct sockaddr_in name;
    int size = sizeof name;
    u_long yes = 1;
    SOCKET s = socket(AF_INET, SOCK_DGRAM, 0);
    if (s == INVALID_SOCKET) return -1;
    memset(&name, 0, sizeof name);
    name.sin_family = AF_INET, name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    p->wake_read = p->wake_write = (int)s;
    if (bind(s, (struct sockaddr *)&name, sizeof name) || getsockname(s, (struct sockaddr *)&name, &size)
        || connect(s, (struct sockaddr *)&name, sizeof name)) return -1;
    ioctlsocket(s, FIONBIO, &yes);
    return 0;
#else
    int ends[2];
    if (pipe(ends) != 0) return -1;
    for (int i = 0; i < 2; i++) fcntl(ends[i], F_SETFL, O_NONBLOCK), fcntl(ends[i], F_SETFD, FD_CLOEXEC);
    p->wake_read = ends[0], p->wake_write = ends[1];
    return 0;
#endif
}

static int net_open_poller(net_poller *p, int portable) {
    memset(p, 0, sizeof *p);
    p->portable = portable || !NET_BATCHES;
    p->epoll = p->wake_read = p->wake_write = -1;
#if NET_BATCHES
    if (!p->portable && (p->epoll = epoll_create1(EPOLL_CLOEXEC)) < 0) return -1;
#endif
    if (net_open_wake(p) != 0) return -1;
    return net_watch(p, p->wake_read, NET_WAKE_TAG);
}

static void net_close_fd(int fd) {
#ifdef _WIN32
    if (fd >= 0) closesocket(fd);
#else
    if (fd >= 0) close(fd);
#endif
}

static void net_close_poller(net_poller *p) {
    net_close_fd(p->wake_read);
    if (p->wake_write != p->wake_read) net_close_fd(p->wake_write);
    net_close_fd(p->epoll);
    free(p->fds), free(p->tags);
    memset(p, 0, sizeof *p);
    p->epoll = p->wake_read = p->wake_write = -1;
}

static void net_wake(net_poller *p) {
#ifdef _WIN32
    send(p->wake_write, "w", 1, 0);
#else
    uint64_t one = 1;
    ssize_t told = write(p->wake_write, &one, sizeof one);
    (void)told;
#endif
}

static void net_hear_wake(net_poller *p) {
    char sink[256];
#ifdef _WIN32
    while (recv(p->wake_read, sink, sizeof sink, 0) > 0) {}
#else
    while (read(p->wake_read, sink, sizeof sink) > 0) {}
#endif
    p->woken = 1;
}

/* Fills tags with what can be read, NET_EVENTS at most, taking turns. -1: interrupted. */
static int net_wait(net_poller *p, uint64_t *tags, int milliseconds) {
    int found = 0;
#if NET_BATCHES
    if (!p->portable) {
        struct epoll_event events[NET_EVENTS];
        int n = epoll_wait(p->epoll, events, NET_EVENTS, milliseconds);
        if (n < 0) return -1;
        for (int i = 0; i < n; i++)
            if (events[i].data.u64 == NET_WAKE_TAG) net_hear_wake(p);
            else tags[found++] = events[i].data.u64;
        return found;
    }
#endif
    if (p->unheard <= 0) {
        if ((p->unheard = net_poll(p->fds, (unsigned)p->count, milliseconds)) < 0) return -1;
        p->looked = 0;
    }
    for (; p->unheard > 0 && p->looked < p->count && found < NET_EVENTS; p->looked++) {
        if (p->next >= p->count) p->next = 0;
        if (p->fds[p->next].revents) {
            p->fds[p->next].revents = 0, p->unheard--;
            if (p->tags[p->next] == NET_WAKE_TAG) net_hear_wake(p);
            else tags[found++] = p->tags[p->next];
        }
        p->next++;
    }
    if (p->looked >= p->count) p->unheard = 0;
    return found;
}

/* ---- in */

typedef struct {
    uint8_t *data;          /* NET_HEADROOM bytes before it may be written to */
    uint32_t size, segment; /* segment: bytes of each of the datagrams joined in it, but the last, which may be shorter */
    net_address source, local;
} net_datagram;

typedef struct {
    int room, portable;
    uint8_t *memory;
    net_datagram *datagrams;
    uint64_t refused;
#if NET_BATCHES
    struct mmsghdr *heads;
    struct iovec *pieces;
    struct sockaddr_storage *names;
    uint64_t (*controls)[16];
#endif
} net_inbox;

static int net_open_inbox(net_inbox *in, int room, int portable) {
    size_t size = (size_t)room * NET_STRIDE;
    memset(in, 0, sizeof *in);
    in->room = room, in->portable = portable || !NET_BATCHES;
#if NET_BATCHES
    size = (size + 0x1fffff) & ~(size_t)0x1fffff;
    in->memory = (uint8_t *)aligned_alloc(0x200000, size);
    if (in->memory) madvise(in->memory, size, MADV_HUGEPAGE);
#else
    in->memory = (uint8_t *)malloc(size);
#endif
    in->datagrams = (net_datagram *)calloc((size_t)room, sizeof *in->datagrams);
    if (!in->memory || !in->datagrams) return -1;
    memset(in->memory, 0, size); /* all of it now, so that big datagrams do not make the process grow later */
    for (int i = 0; i < room; i++) in->datagrams[i].data = in->memory + (size_t)i * NET_STRIDE + NET_HEADROOM;
#if NET_BATCHES
    in->heads = (struct mmsghdr *)calloc((size_t)room, sizeof *in->heads);
    in->pieces = (struct iovec *)calloc((size_t)room, sizeof *in->pieces);
    in->names = (struct sockaddr_storage *)calloc((size_t)room, sizeof *in->names);
    in->controls = (uint64_t (*)[16])calloc((size_t)room, 128);
    if (!in->heads || !in->pieces || !in->names || !in->controls) return -1;
    for (int i = 0; i < room; i++) {
        in->pieces[i].iov_base = in->datagrams[i].data, in->pieces[i].iov_len = NET_ROOM;
        in->heads[i].msg_hdr.msg_iov = &in->pieces[i], in->heads[i].msg_hdr.msg_iovlen = 1;
        in->heads[i].msg_hdr.msg_name = &in->names[i], in->heads[i].msg_hdr.msg_namelen = sizeof in->names[i];
        in->heads[i].msg_hdr.msg_control = in->controls[i], in->heads[i].msg_hdr.msg_controllen = 128;
    }
#endif
    return 0;
}

static void net_close_inbox(net_inbox *in) {
    free(in->memory), free(in->datagrams);
#if NET_BATCHES
    free(in->heads), free(in->pieces), free(in->names), free(in->controls);
#endif
    memset(in, 0, sizeof *in);
}

#ifndef _WIN32
static void net_read_control(net_datagram *d, struct msghdr *head, const net_socket *s) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(head); c; c = CMSG_NXTHDR(head, c)) {
#if NET_BATCHES
        if (c->cmsg_level == NET_SOL_UDP && c->cmsg_type == NET_UDP_GRO) {
            int segment;
            memcpy(&segment, CMSG_DATA(c), sizeof segment);
            if (segment > 0) d->segment = (uint32_t)segment;
        }
#endif
#ifdef IP_PKTINFO
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            memset(&d->local, 0, sizeof d->local);
            d->local.family = 4, d->local.port = s->bound.port;
            memcpy(d->local.host, &info.ipi_addr, 4);
        }
#endif
#ifdef IPV6_RECVPKTINFO
        if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_pktinfo info;
            const uint8_t *host = (const uint8_t *)&info.ipi6_addr;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            net_set_host6(&d->local, host, host[0] == 0xfe && (host[1] & 0xc0) == 0x80 ? (uint32_t)info.ipi6_ifindex : 0);
            d->local.port = s->bound.port;
        }
#endif
    }
}

/* A pending ICMP error makes one call fail and is gone with it; a queue of them (IP_RECVERR) is emptied. */
static void net_drain_errors(net_inbox *in, int fd) {
#ifdef MSG_ERRQUEUE
    char sink[64];
    for (int i = 0; i < 64 && recv(fd, sink, sizeof sink, MSG_ERRQUEUE | MSG_DONTWAIT) >= 0; i++) in->refused++;
#endif
    (void)in, (void)fd;
}
#endif

static int net_receive_one(net_inbox *in, const net_socket *s, int i) {
    net_datagram *d = &in->datagrams[i];
    struct sockaddr_storage name;
    int got;
#ifdef _WIN32
    int size = sizeof name;
    got = recvfrom(s->fd, (char *)d->data, NET_ROOM, 0, (struct sockaddr *)&name, &size);
#else
    if (s->wildcard) {
        struct iovec piece = {d->data, NET_ROOM};
        union { struct cmsghdr align; char bytes[128]; } control;
        struct msghdr head;
        memset(&head, 0, sizeof head);
        head.msg_name = &name, head.msg_namelen = sizeof name, head.msg_iov = &piece, head.msg_iovlen = 1;
        head.msg_control = control.bytes, head.msg_controllen = sizeof control.bytes;
        got = (int)recvmsg(s->fd, &head, MSG_DONTWAIT);
        if (got >= 0) {
            d->local = s->bound, d->segment = 0;
            net_read_control(d, &head, s);
        }
    } else {
        socklen_t size = sizeof name;
        got = (int)recvfrom(s->fd, d->data, NET_ROOM, MSG_DONTWAIT, (struct sockaddr *)&name, &size);
    }
#endif
    if (got < 0) return -1;
    if (!s->wildcard) d->local = s->bound;
    d->size = d->segment = (uint32_t)got;
    net_from_name(&d->source, &name);
    return 0;
}

/* Receives up to count datagrams into the places from first on; how many came. */
static int net_receive(net_inbox *in, const net_socket *s, int first, int count) {
    int got = 0;
#if NET_BATCHES
    if (!in->portable) {
        struct mmsghdr *heads = in->heads + first;
        if (count == 1) {
            ssize_t n = recvmsg(s->fd, &heads[0].msg_hdr, MSG_DONTWAIT);
            if (n >= 0) heads[0].msg_len = (unsigned)n;
            got = n < 0 ? -1 : 1;
        } else {
            got = recvmmsg(s->fd, heads, (unsigned)count, MSG_DONTWAIT, NULL);
        }
        if (got < 0) {
            if (!net_would_block()) in->refused++;
            net_drain_errors(in, s->fd);
            return 0;
        }
        for (int i = 0; i < got; i++) {
            net_datagram *d = &in->datagrams[first + i];
            d->size = d->segment = heads[i].msg_len;
            d->local = s->bound;
            net_from_name(&d->source, &in->names[first + i]);
            if (heads[i].msg_hdr.msg_controllen) net_read_control(d, &heads[i].msg_hdr, s);
            heads[i].msg_hdr.msg_namelen = sizeof in->names[0];
            heads[i].msg_hdr.msg_controllen = 128;
        }
        return got;
    }
#endif
    while (got < count && net_receive_one(in, s, first + got) == 0) got++;
    if (got == 0 && !net_would_block()) in->refused++;
#ifndef _WIN32
    if (got == 0) net_drain_errors(in, s->fd);
#endif
    return got;
}

/* ---- out */

/* Where a run of packets goes: socket, receiver and the address to send from. */
typedef struct {
    int fd, family;
    socklen_t name_size;
    uint32_t control_size;
    struct sockaddr_in6 name;
    uint64_t control[6];
} net_target;

typedef struct {
    uint64_t sent, no_room, failed, refused, joined, split;
} net_sent;

typedef struct {
    int portable, joins, fd, count, used;
    uint32_t segment, total;
    uint32_t join_limit; /* bytes of the longest packets that are joined */
    uint32_t cautious;   /* flushes until longer ones are tried again */
    int open; /* whether the last message may be joined by another packet */
    const net_target *target;
    net_sent *counters;
#if NET_BATCHES
    struct mmsghdr heads[NET_MESSAGES];
    uint16_t segments[NET_MESSAGES];
    uint16_t sizes[NET_MESSAGES];
    struct iovec pieces[NET_PIECES];
    uint64_t controls[NET_MESSAGES][9];
#endif
} net_outbox;

#ifdef _WIN32
#define NET_PIECE(piece, at, length) ((piece).buf = (char *)(at), (piece).len = (ULONG)(length))
#else
#define NET_PIECE(piece, at, length) ((piece).iov_base = (void *)(at), (piece).iov_len = (length))
#endif

static inline void net_set_piece(net_piece *piece, const void *at, size_t length) { NET_PIECE(*piece, at, length); }

/* 0 where the socket cannot reach the address. from may be NULL. */
static int net_aim(net_target *t, int fd, int family, const net_address *to, const net_address *from) {
    t->fd = fd, t->family = family, t->control_size = 0;
    t->name_size = net_to_name(&t->name, to, family);
#ifndef _WIN32
    if (from && t->name_size) {
        struct cmsghdr *c = (struct cmsghdr *)t->control;
        memset(t->control, 0, sizeof t->control);
#ifdef IP_PKTINFO
        if (family == 4 && from->family == 4) {
            struct in_pktinfo info;
            memset(&info, 0, sizeof info);
            memcpy(&info.ipi_spec_dst, from->host, 4);
            c->cmsg_level = IPPROTO_IP, c->cmsg_type = IP_PKTINFO, c->cmsg_len = CMSG_LEN(sizeof info);
            memcpy(CMSG_DATA(c), &info, sizeof info);
            t->control_size = CMSG_SPACE(sizeof info);
        }
#endif
#ifdef IPV6_PKTINFO
        if (family == 6) {
            struct in6_pktinfo info;
            struct sockaddr_in6 name;
            memset(&info, 0, sizeof info);
            net_to_name(&name, from, 6);
            info.ipi6_addr = name.sin6_addr, info.ipi6_ifindex = from->scope;
            c->cmsg_level = IPPROTO_IPV6, c->cmsg_type = IPV6_PKTINFO, c->cmsg_len = CMSG_LEN(sizeof info);
            memcpy(CMSG_DATA(c), &info, sizeof info);
            t->control_size = CMSG_SPACE(sizeof info);
        }
#endif
    }
#else
    (void)from;
#endif
    return t->name_size != 0;
}

static net_outbox *net_open_outbox(int portable, int joins, net_sent *counters) {
    net_outbox *o = (net_outbox *)calloc(1, sizeof *o);
    if (!o) return NULL;
    o->portable = portable || !NET_BATCHES;
    o->joins = joins && !o->portable, o->join_limit = NET_JOINED, o->counters = counters, o->fd = -1;
    return o;
}

/* One packet, one system call. 0: sent, 1: no room for more, -1: this one failed. */
static int net_send_one(net_outbox *o, const net_target *t, net_piece *pieces, int count) {
    for (int attempt = 0; attempt < 3; attempt++) {
#ifdef _WIN32
        DWORD sent = 0;
        if (WSASendTo(t->fd, pieces, (DWORD)count, &sent, 0, (struct sockaddr *)&t->name, t->name_size, NULL, NULL) == 0) return 0;
        {
            int e = WSAGetLastError();
            if (e == WSAEWOULDBLOCK || e == WSAENOBUFS) return 1;
            if (e != WSAECONNRESET) return -1;
            o->counters->refused++;
        }
#else
        ssize_t sent;
        if (count == 1 && !t->control_size) {
            sent = sendto(t->fd, pieces[0].iov_base, pieces[0].iov_len, MSG_DONTWAIT | MSG_NOSIGNAL,
                          (const struct sockaddr *)&t->name, t->name_size);
        } else {
            struct msghdr head;
            memset(&head, 0, sizeof head);
            head.msg_name = (void *)&t->name, head.msg_namelen = t->name_size;
            head.msg_iov = pieces, head.msg_iovlen = count;
            if (t->control_size) head.msg_control = (void *)t->control, head.msg_controllen = t->control_size;
            sent = sendmsg(t->fd, &head, MSG_DONTWAIT | MSG_NOSIGNAL);
        }
        if (sent >= 0) return 0;
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS || errno == ENOMEM) return 1;
        if (errno == ECONNREFUSED) o->counters->refused++;
        else if (errno != EINTR) return -1;
#endif
    }
    return -1;
}

static void net_count_one(net_outbox *o, int result) {
    if (result == 0) o->counters->sent++;
    else if (result > 0) o->counters->no_room++;
    else o->counters->failed++;
}

#if NET_BATCHES
/* What was joined and refused is sent packet by packet: the path may be narrower than the packets are long. */
static void net_send_apart(net_outbox *o, int i) {
    struct msghdr *head = &o->heads[i].msg_hdr;
    const net_target *t = (const net_target *)((char *)head->msg_name - offsetof(net_target, name));
    size_t k = 0;
    o->counters->split++;
    while (k < head->msg_iovlen) {
        size_t size = 0, n = 0;
        while (k + n < head->msg_iovlen && size < o->sizes[i]) size += head->msg_iov[k + n++].iov_len;
        net_count_one(o, net_send_one(o, t, head->msg_iov + k, (int)n));
        k += n;
    }
}

/* The first message not yet sent was refused: how many messages that settles. */
static int net_settle_refusal(net_outbox *o, int i, int *attempts) {
    int e = errno;
    if (e == EINTR) return 0;
    if (e == EAGAIN || e == EWOULDBLOCK || e == ENOBUFS || e == ENOMEM) {
        for (int k = i; k < o->count; k++) o->counters->no_room += o->segments[k];
        return o->count - i;
    }
    if (e == ECONNREFUSED && ++*attempts < 3) {
        o->counters->refused++;
        return 0;
    }
    *attempts = 0;
    if (o->segments[i] > 1) {
        /* Longer than the path takes, or a device that cannot: such packets go apart for a while. Every path takes 1280. */
        o->join_limit = (e == EMSGSIZE || e == EINVAL) && o->sizes[i] > 1280 ? o->sizes[i] - 1u : e == EMSGSIZE ? 1280 : 0;
        o->cautious = NET_CAUTION;
        net_send_apart(o, i);
    } else {
        o->counters->failed++;
    }
    return 1;
}

/* The kernel has least to copy where one piece goes to one receiver. */
static inline ssize_t net_send_message(int fd, const struct msghdr *head) {
    if (head->msg_iovlen == 1 && !head->msg_controllen)
        return sendto(fd, head->msg_iov[0].iov_base, head->msg_iov[0].iov_len, MSG_DONTWAIT | MSG_NOSIGNAL,
                      (const struct sockaddr *)head->msg_name, head->msg_namelen);
    return sendmsg(fd, head, MSG_DONTWAIT | MSG_NOSIGNAL);
}
#endif

static void net_flush(net_outbox *o) {
#if NET_BATCHES
    int i = 0, attempts = 0;
    if (o->count && o->cautious && --o->cautious == 0) o->join_limit = NET_JOINED;
    while (i < o->count) {
        int n;
        if (o->count - i == 1) n = net_send_message(o->fd, &o->heads[i].msg_hdr) < 0 ? -1 : 1;
        else n = sendmmsg(o->fd, o->heads + i, (unsigned)(o->count - i), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n <= 0) {
            i += net_settle_refusal(o, i, &attempts);
            continue;
        }
        for (int k = i; k < i + n; k++) o->counters->sent += o->segments[k];
        i += n;
    }
#endif
    o->count = o->used = o->open = 0, o->target = NULL;
}

/* Queues a packet; the pieces, and the target, must stay until the flush. Equal sizes to one target are joined. */
static inline void net_put(net_outbox *o, const net_target *t, net_piece *pieces, int count, uint32_t size) {
#if NET_BATCHES
    struct msghdr *head;
    if (o->portable) {
        net_count_one(o, net_send_one(o, t, pieces, count));
        return;
    }
    if (o->count && (t->fd != o->fd || o->used + count > NET_PIECES)) net_flush(o);
    if (o->open && t == o->target && size <= o->segment && size && o->total + size <= NET_JOINED
        && o->segments[o->count - 1] < NET_SEGMENTS) {
        int i = o->count - 1;
        head = &o->heads[i].msg_hdr;
        if (o->segments[i]++ == 1) {
            struct cmsghdr *c = (struct cmsghdr *)((char *)o->controls[i] + t->control_size);
            uint16_t segment = (uint16_t)o->segment;
            memset(c, 0, CMSG_SPACE(sizeof segment));
            memcpy(o->controls[i], t->control, t->control_size);
            c->cmsg_level = NET_SOL_UDP, c->cmsg_type = NET_UDP_SEGMENT, c->cmsg_len = CMSG_LEN(sizeof segment);
            memcpy(CMSG_DATA(c), &segment, sizeof segment);
            head->msg_control = o->controls[i], head->msg_controllen = t->control_size + CMSG_SPACE(sizeof segment);
        }
        o->counters->joined++;
        for (int k = 0; k < count; k++) o->pieces[o->used + k] = pieces[k];
        head->msg_iovlen += (size_t)count, o->used += count, o->total += size;
        o->open = size == o->segment;
        return;
    }
    if (o->count == NET_MESSAGES) net_flush(o);
    head = &o->heads[o->count].msg_hdr;
    o->segments[o->count] = 1, o->sizes[o->count] = (uint16_t)size, o->count++;
    head->msg_name = (void *)&t->name, head->msg_namelen = t->name_size;
    head->msg_iov = &o->pieces[o->used], head->msg_iovlen = (size_t)count;
    head->msg_control = t->control_size ? (void *)t->control : NULL, head->msg_controllen = t->control_size;
    head->msg_flags = 0;
    for (int k = 0; k < count; k++) o->pieces[o->used + k] = pieces[k];
    o->used += count;
    o->fd = t->fd, o->target = t, o->segment = size, o->total = size;
    o->open = o->joins && size && size <= o->join_limit;
#else
    (void)size;
    net_count_one(o, net_send_one(o, t, pieces, count));
#endif
}

/* Sends a packet at once, after those that wait, such that it arrives in one piece or not at all. */
static void net_put_whole(net_outbox *o, const net_target *t, net_piece *pieces, int count) {
#if NET_CAN_KEEP_WHOLE
    int level = t->family == 4 ? IPPROTO_IP : IPPROTO_IPV6, name = t->family == 4 ? NET_WHOLE4 : NET_WHOLE6;
    int whole = NET_WHOLE_VALUE, before = 0;
    socklen_t size = sizeof before;
    net_flush(o);
    if (getsockopt(t->fd, level, name, (char *)&before, &size) != 0
        || setsockopt(t->fd, level, name, (const char *)&whole, sizeof whole) != 0) {
        o->counters->failed++;
        return;
    }
    net_count_one(o, net_send_one(o, t, pieces, count));
    setsockopt(t->fd, level, name, (const char *)&before, sizeof before);
#else
    (void)t, (void)pieces, (void)count;
    o->counters->failed++;
#endif
}

/* ---- text */

/* -1 where the text is no address. */
static int net_read_host(net_address *a, const char *text) {
    char host[128];
    const char *percent = strchr(text, '%');
    struct in_addr v4;
    struct in6_addr v6;
    uint32_t scope = 0;
    size_t size = percent ? (size_t)(percent - text) : strlen(text);
    if (size >= sizeof host) return -1;
    memcpy(host, text, size), host[size] = 0;
    memset(a, 0, sizeof *a);
    if (!percent && inet_pton(AF_INET, host, &v4) == 1) {
        a->family = 4;
        memcpy(a->host, &v4, 4);
        return 0;
    }
    if (inet_pton(AF_INET6, host, &v6) != 1) return -1;
    if (percent) {
        char *end;
        scope = (uint32_t)strtoul(percent + 1, &end, 10);
        if (*end || end == percent + 1) scope = if_nametoindex(percent + 1);
        if (!scope) return -1;
    }
    net_set_host6(a, (const uint8_t *)&v6, scope);
    return 0;
}

static void net_write_host(const net_address *a, char *text, size_t room) {
    if (!inet_ntop(a->family == 4 ? AF_INET : AF_INET6, (void *)a->host, text, (socklen_t)room)) text[0] = 0;
    if (a->family == 6 && a->scope) {
        size_t used = strlen(text);
        char digits[12];
        int n = 0;
        uint32_t rest = a->scope;
        while (rest) digits[n++] = (char)('0' + rest % 10), rest /= 10;
        if (used + (size_t)n + 2 > room) return;
        text[used++] = '%';
        while (n) text[used++] = digits[--n];
        text[used] = 0;
    }
}

#endif
