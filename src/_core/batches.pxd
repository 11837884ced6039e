"""Many datagrams in one system call: recvmmsg and sendmmsg with UDP_GRO and UDP_SEGMENT. Header only.

Where the system has no such calls, both functions return ``-ENOSYS``.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef extern from *:
    """
    #ifndef LIBRATS_BATCHES
    #define LIBRATS_BATCHES
    #include <errno.h>
    #include <stdint.h>
    #include <stdlib.h>
    #include <string.h>

    #define LIBRATS_MAX_MESSAGES 64
    #define LIBRATS_SLOT 65792  /* the longest datagram, and a step between slots that no cache maps onto one line */

    /* Both ends of a datagram, without padding, so that two are compared and hashed as bytes. */
    typedef struct {
        uint8_t remote[16];
        uint8_t local[16];
        uint32_t scope;      /* interface of a link-local remote address */
        uint16_t port;       /* of the remote end, in host order */
        uint8_t family;      /* 4 or 6 */
        uint8_t marks;       /* bits 0 and 1: ECN; bit 7: local is known */
    } librats_flow;
    #define LIBRATS_HAS_LOCAL 0x80

    typedef struct {
        uint8_t *data;
        uint32_t size;
        uint32_t segment;    /* size of each datagram in it, but the last; 0: it is a single one */
        int truncated;
        librats_flow flow;
    } librats_arrival;

    typedef struct {
        librats_flow flow;
        uint32_t first;      /* index of its first part */
        uint32_t parts;      /* parts, one datagram each */
        uint32_t segment;    /* size of each part, but the last */
    } librats_message;

    typedef struct { uint8_t *data; size_t size; } librats_part;

    static inline uint32_t librats_mixed(const librats_flow *flow) {
        uint64_t words[5], mixed;
        memcpy(words, flow, sizeof words);
        mixed = words[0] ^ (words[1] * 0x9E3779B97F4A7C15u) ^ words[2] ^ (words[3] << 7);
        mixed ^= words[4] * 0xC2B2AE3D27D4EB4Fu;
        return (uint32_t)((mixed * 0x9E3779B97F4A7C15u) >> 32);
    }

    #ifdef __linux__
    #include <arpa/inet.h>
    #include <net/if.h>
    #include <netinet/in.h>
    #include <sys/socket.h>
    #include <sys/uio.h>

    #define LIBRATS_SOL_UDP 17
    #define LIBRATS_UDP_SEGMENT 103
    #define LIBRATS_UDP_GRO 104
    #define LIBRATS_SO_RXQ_OVFL 40
    #define LIBRATS_IPV6_TCLASS 67
    #define LIBRATS_CONTROL 192

    typedef struct {
        struct mmsghdr heads[LIBRATS_MAX_MESSAGES];
        struct iovec parts[LIBRATS_MAX_MESSAGES];
        struct sockaddr_in6 names[LIBRATS_MAX_MESSAGES];
        union { struct cmsghdr align; uint8_t bytes[LIBRATS_CONTROL]; } control[LIBRATS_MAX_MESSAGES];
        librats_arrival arrivals[LIBRATS_MAX_MESSAGES];
        uint8_t *slots;
    } librats_inbox;

    static inline librats_inbox *librats_inbox_new(void) {
        librats_inbox *inbox = (librats_inbox *)calloc(1, sizeof(librats_inbox));
        if (inbox == NULL) return NULL;
        inbox->slots = (uint8_t *)malloc((size_t)LIBRATS_MAX_MESSAGES * LIBRATS_SLOT);
        if (inbox->slots == NULL) { free(inbox); return NULL; }
        for (int i = 0; i < LIBRATS_MAX_MESSAGES; i++) {
            inbox->parts[i].iov_base = inbox->slots + (size_t)i * LIBRATS_SLOT;
            inbox->parts[i].iov_len = LIBRATS_SLOT;
            inbox->heads[i].msg_hdr.msg_iov = &inbox->parts[i];
            inbox->heads[i].msg_hdr.msg_iovlen = 1;
            inbox->heads[i].msg_hdr.msg_name = &inbox->names[i];
            inbox->heads[i].msg_hdr.msg_control = &inbox->control[i];
        }
        return inbox;
    }

    static inline void librats_inbox_free(librats_inbox *inbox) {
        if (inbox != NULL) { free(inbox->slots); free(inbox); }
    }

    static inline librats_arrival *librats_arrivals(librats_inbox *inbox) { return inbox->arrivals; }

    static inline void librats_read_control(struct msghdr *head, librats_arrival *out, uint32_t *dropped) {
        struct cmsghdr *c;
        for (c = CMSG_FIRSTHDR(head); c != NULL; c = CMSG_NXTHDR(head, c)) {
            const uint8_t *value = CMSG_DATA(c);
            if (c->cmsg_level == LIBRATS_SOL_UDP && c->cmsg_type == LIBRATS_UDP_GRO) {
                int segment;
                memcpy(&segment, value, sizeof segment);
                out->segment = segment > 0 ? (uint32_t)segment : 0;
            } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
                struct in_pktinfo info;
                memcpy(&info, value, sizeof info);
                memcpy(out->flow.local, &info.ipi_spec_dst, 4);
                out->flow.marks |= LIBRATS_HAS_LOCAL;
            } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
                struct in6_pktinfo info;
                memcpy(&info, value, sizeof info);
                if (!IN6_IS_ADDR_MULTICAST(&info.ipi6_addr)) {
                    memcpy(out->flow.local, &info.ipi6_addr, 16);
                    out->flow.marks |= LIBRATS_HAS_LOCAL;
                }
            } else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS) {
                out->flow.marks |= *value & 3;
            } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == LIBRATS_IPV6_TCLASS) {
                int marks;
                memcpy(&marks, value, sizeof marks);
                out->flow.marks |= (uint8_t)(marks & 3);
            } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == LIBRATS_SO_RXQ_OVFL) {
                memcpy(dropped, value, sizeof *dropped);
            }
        }
    }

    /* How many messages came, 0 to `most`; else the error, negative. Never waits. */
    static inline int librats_receive(int fd, librats_inbox *inbox, int most, uint32_t *dropped) {
        int count;
        for (int i = 0; i < most; i++) {
            inbox->heads[i].msg_hdr.msg_namelen = sizeof(struct sockaddr_in6);
            inbox->heads[i].msg_hdr.msg_controllen = LIBRATS_CONTROL;
            inbox->heads[i].msg_hdr.msg_flags = 0;
        }
        count = recvmmsg(fd, inbox->heads, (unsigned)most, MSG_DONTWAIT, NULL);
        if (count < 0) return -errno;
        for (int i = 0; i < count; i++) {
            struct msghdr *head = &inbox->heads[i].msg_hdr;
            librats_arrival *out = &inbox->arrivals[i];
            memset(&out->flow, 0, sizeof out->flow);
            out->data = (uint8_t *)inbox->parts[i].iov_base;
            out->size = inbox->heads[i].msg_len;
            out->segment = 0;
            out->truncated = (head->msg_flags & MSG_TRUNC) != 0;
            if (head->msg_namelen >= sizeof(struct sockaddr_in6) && inbox->names[i].sin6_family == AF_INET6) {
                memcpy(out->flow.remote, &inbox->names[i].sin6_addr, 16);
                out->flow.port = ntohs(inbox->names[i].sin6_port);
                out->flow.scope = inbox->names[i].sin6_scope_id;
                out->flow.family = 6;
            } else {
                struct sockaddr_in name;
                memcpy(&name, &inbox->names[i], sizeof name);
                memcpy(out->flow.remote, &name.sin_addr, 4);
                out->flow.port = ntohs(name.sin_port);
                out->flow.family = 4;
            }
            if (head->msg_controllen) librats_read_control(head, out, dropped);
        }
        return count;
    }

    static inline size_t librats_write_control(uint8_t *to, const librats_message *message) {
        const librats_flow *flow = &message->flow;
        struct cmsghdr *c = (struct cmsghdr *)to;
        size_t size = 0;
        if (message->parts > 1) {
            uint16_t segment = (uint16_t)message->segment;
            c->cmsg_level = LIBRATS_SOL_UDP;
            c->cmsg_type = LIBRATS_UDP_SEGMENT;
            c->cmsg_len = CMSG_LEN(sizeof segment);
            memcpy(CMSG_DATA(c), &segment, sizeof segment);
            size += CMSG_SPACE(sizeof segment);
        }
        if (flow->marks & LIBRATS_HAS_LOCAL) {
            c = (struct cmsghdr *)(to + size);
            if (flow->family == 4) {
                struct in_pktinfo info;
                memset(&info, 0, sizeof info);
                memcpy(&info.ipi_spec_dst, flow->local, 4);
                c->cmsg_level = IPPROTO_IP;
                c->cmsg_type = IP_PKTINFO;
                c->cmsg_len = CMSG_LEN(sizeof info);
                memcpy(CMSG_DATA(c), &info, sizeof info);
                size += CMSG_SPACE(sizeof info);
            } else {
                struct in6_pktinfo info;
                memset(&info, 0, sizeof info);
                memcpy(&info.ipi6_addr, flow->local, 16);
                c->cmsg_level = IPPROTO_IPV6;
                c->cmsg_type = IPV6_PKTINFO;
                c->cmsg_len = CMSG_LEN(sizeof info);
                memcpy(CMSG_DATA(c), &info, sizeof info);
                size += CMSG_SPACE(sizeof info);
            }
        }
        return size;
    }

    /* How many messages went out, at least 1; else the error of the first, negative. Never waits. */
    static inline int librats_send(int fd, const librats_message *messages, const librats_part *parts, int count) {
        struct mmsghdr heads[LIBRATS_MAX_MESSAGES];
        struct sockaddr_in6 names[LIBRATS_MAX_MESSAGES];
        union { struct cmsghdr align; uint8_t bytes[96]; } control[LIBRATS_MAX_MESSAGES];
        int sent;
        if (count > LIBRATS_MAX_MESSAGES) count = LIBRATS_MAX_MESSAGES;
        for (int i = 0; i < count; i++) {
            const librats_flow *flow = &messages[i].flow;
            struct msghdr *head = &heads[i].msg_hdr;
            if (flow->family == 4) {
                struct sockaddr_in name;
                memset(&name, 0, sizeof name);
                name.sin_family = AF_INET;
                name.sin_port = htons(flow->port);
                memcpy(&name.sin_addr, flow->remote, 4);
                memcpy(&names[i], &name, sizeof name);
                head->msg_namelen = sizeof name;
            } else {
                memset(&names[i], 0, sizeof names[i]);
                names[i].sin6_family = AF_INET6;
                names[i].sin6_port = htons(flow->port);
                names[i].sin6_scope_id = flow->scope;
                memcpy(&names[i].sin6_addr, flow->remote, 16);
                head->msg_namelen = sizeof names[i];
            }
            head->msg_name = &names[i];
            head->msg_iov = (struct iovec *)(uintptr_t)(parts + messages[i].first);
            head->msg_iovlen = messages[i].parts;
            head->msg_flags = 0;
            head->msg_controllen = librats_write_control(control[i].bytes, &messages[i]);
            head->msg_control = head->msg_controllen ? control[i].bytes : NULL;
        }
        sent = count == 1 ? (sendmsg(fd, &heads[0].msg_hdr, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -1 : 1)
                          : sendmmsg(fd, heads, (unsigned)count, MSG_DONTWAIT | MSG_NOSIGNAL);
        return sent < 0 ? -errno : sent;
    }

    /* Whether the system lets us make both calls. */
    static inline int librats_batches_work(int fd) {
        return recvmmsg(fd, NULL, 0, MSG_DONTWAIT, NULL) == 0 && sendmmsg(fd, NULL, 0, MSG_DONTWAIT) == 0;
    }

    /* An IP address in words; 0 where it is none. `host` has no zone. */
    static inline int librats_read_host(const char *host, librats_flow *out) {
        if (inet_pton(AF_INET, host, out->remote) == 1) { out->family = 4; return 1; }
        if (inet_pton(AF_INET6, host, out->remote) == 1) { out->family = 6; return 1; }
        return 0;
    }

    static inline int librats_write_host(int family, const uint8_t *from, char *to, int size) {
        return inet_ntop(family == 4 ? AF_INET : AF_INET6, from, to, (socklen_t)size) != NULL;
    }

    static inline uint32_t librats_interface(const char *name) { return if_nametoindex(name); }

    #else
    typedef struct { librats_arrival arrivals[1]; } librats_inbox;
    static inline librats_inbox *librats_inbox_new(void) { return (librats_inbox *)calloc(1, sizeof(librats_inbox)); }
    static inline void librats_inbox_free(librats_inbox *inbox) { free(inbox); }
    static inline librats_arrival *librats_arrivals(librats_inbox *inbox) { return inbox->arrivals; }
    static inline int librats_receive(int fd, librats_inbox *inbox, int most, uint32_t *dropped) {
        (void)fd; (void)inbox; (void)most; (void)dropped;
        return -ENOSYS;
    }
    static inline int librats_send(int fd, const librats_message *messages, const librats_part *parts, int count) {
        (void)fd; (void)messages; (void)parts; (void)count;
        return -ENOSYS;
    }
    static inline int librats_batches_work(int fd) { (void)fd; return 0; }
    static inline int librats_read_host(const char *host, librats_flow *out) { (void)host; (void)out; return 0; }
    static inline int librats_write_host(int family, const uint8_t *from, char *to, int size) {
        (void)family; (void)from; (void)to; (void)size;
        return 0;
    }
    static inline uint32_t librats_interface(const char *name) { (void)name; return 0; }
    #endif
    #endif
    """
    enum:
        LIBRATS_MAX_MESSAGES
        LIBRATS_HAS_LOCAL

    ctypedef struct librats_flow:
        uint8_t remote[16]
        uint8_t local[16]
        uint32_t scope
        uint16_t port
        uint8_t family
        uint8_t marks

    ctypedef struct librats_arrival:
        uint8_t* data
        uint32_t size
        uint32_t segment
        int truncated
        librats_flow flow

    ctypedef struct librats_message:
        librats_flow flow
        uint32_t first
        uint32_t parts
        uint32_t segment

    ctypedef struct librats_part:
        uint8_t* data
        size_t size

    ctypedef struct librats_inbox:
        pass

    uint32_t librats_mixed(const librats_flow* flow) noexcept nogil
    librats_inbox* librats_inbox_new() noexcept nogil
    void librats_inbox_free(librats_inbox* inbox) noexcept nogil
    librats_arrival* librats_arrivals(librats_inbox* inbox) noexcept nogil
    int librats_receive(int fd, librats_inbox* inbox, int most, uint32_t* dropped) noexcept nogil
    int librats_send(int fd, const librats_message* messages, const librats_part* parts, int count) noexcept nogil
    int librats_batches_work(int fd) noexcept nogil
    int librats_read_host(const char* host, librats_flow* out) noexcept nogil
    int librats_write_host(int family, const uint8_t* start, char* to, int size) noexcept nogil
    uint32_t librats_interface(const char* name) noexcept nogil
