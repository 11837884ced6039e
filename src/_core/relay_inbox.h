/* Datagrams in, many in one system call where the system can. */
#ifndef LIBRATS_RELAY_INBOX_H
#define LIBRATS_RELAY_INBOX_H

#include "relay_poll.h"

enum {
    NET_HEADROOM = 64,          /* bytes before each datagram that its reader may write to */
    NET_ROOM = 65536,           /* no UDP datagram over IPv4 or IPv6 is longer, joined or not */
    NET_STRIDE = NET_ROOM + 320 /* an odd number of cache lines, so that neighbours do not share a cache set */
};

typedef struct {
    uint8_t *data;          /* NET_HEADROOM bytes before it may be written to */
    uint32_t size, segment; /* segment: bytes of each of the datagrams joined in it, but the last, which may be shorter */
    net_address source, local;
} net_datagram;

typedef struct {
    int room, portable;
    int left; /* whether the last socket may have more to read */
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
        in->left = got < 0 ? !net_would_block() : got == count;
        if (got < 0) {
            if (in->left) in->refused++;
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

#endif
