/* The sockets of the relay's data plane, and waiting for them. */
#ifndef LIBRATS_RELAY_POLL_H
#define LIBRATS_RELAY_POLL_H

#include "relay_net.h"

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

enum { NET_EVENTS = 64 };

#if NET_BATCHES
static int net_tell_epoll(net_poller *p, int operation, int fd, uint64_t tag, int once) {
    struct epoll_event e;
    memset(&e, 0, sizeof e);
    e.events = EPOLLIN | (once ? EPOLLET : 0), e.data.u64 = tag;
    return epoll_ctl(p->epoll, operation, fd, &e);
}
#endif

/* once: tell of what came and not, again and again, of what is still there. Whoever leaves some calls net_leave. */
static int net_watch(net_poller *p, int fd, uint64_t tag, int once) {
#if NET_BATCHES
    if (!p->portable) return net_tell_epoll(p, EPOLL_CTL_ADD, fd, tag, once);
#endif
    (void)once;
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

/* Something is left to read on a socket that is told of once: it is told of again. */
static void net_leave(net_poller *p, int fd, uint64_t tag) {
#if NET_BATCHES
    if (!p->portable) net_tell_epoll(p, EPOLL_CTL_MOD, fd, tag, 1);
#else
    (void)p, (void)fd, (void)tag;
#endif
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
    return net_watch(p, p->wake_read, NET_WAKE_TAG, 0);
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

#endif
