/* Datagrams out: many in one system call, and joined (UDP_SEGMENT), where the system can. */
#ifndef LIBRATS_RELAY_OUTBOX_H
#define LIBRATS_RELAY_OUTBOX_H

#include "relay_net.h"

enum {
    NET_MESSAGES = 256, /* messages in one sendmmsg */
    NET_SEGMENTS = 64,  /* packets joined into one message: what every kernel with UDP_SEGMENT takes */
    NET_JOINED = 65000, /* bytes joined into one message */
    NET_PIECES = 3072,
    NET_CAUTION = 4096
};

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

#endif
