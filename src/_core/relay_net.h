/* What the relay's data plane has of the system: addresses and time. Sockets and datagrams are in relay_poll.h,
 * relay_inbox.h and relay_outbox.h.
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
