/* What the listener of a TURN server need not see: a program that the kernel runs on each datagram before it queues it.
 *
 * What cannot be a request, a Send indication, ChannelData of its length or, where they are wanted, a packet of a
 * session takes no room in the queue then, wakes nobody and is not copied. Only Linux has this; elsewhere, and where it is forbidden, all of it is looked at later.
 */
#ifndef LIBRATS_RELAY_SIEVE_H
#define LIBRATS_RELAY_SIEVE_H

#include <stdint.h>

#ifdef __linux__
#include <sys/socket.h>
#ifdef __has_include
#if __has_include(<linux/filter.h>)
#include <linux/filter.h>
#define SIEVE_WORKS 1
#endif
#endif
#endif

enum {
    SIEVE_UDP = 8, /* the program sees the UDP header, too */
    SIEVE_COOKIE = 0x2112A442,
    SIEVE_SESSION = 0x10, /* a session's packets begin with that */
    SIEVE_AFTER_SESSION = 0x17,
    SIEVE_SEND = 0x0016,
    SIEVE_CLASS = 0x0110,
    SIEVE_DROPS = 8 /* the place of that number among what SO_MEMINFO tells */
};

#ifdef SIEVE_WORKS
/* Datagrams that the kernel has joined (UDP_GRO) are judged by the first, which is no longer than all together. 0, or -1
 * where the kernel does not take the program. */
static int sieve_attach(int fd, uint32_t longest_request, int sessions) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, SIEVE_UDP + 4, 0, 21),
        BPF_STMT(BPF_MISC | BPF_TAX, 0),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, SIEVE_UDP),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x80, 18, 0),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40, 13, 0),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, sessions ? SIEVE_AFTER_SESSION : 0, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, SIEVE_SESSION, 14, 0),
        /* STUN: its length, its cookie, and requests or Send indications only */
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, SIEVE_UDP + 2),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 3, 13, 0),
        BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, SIEVE_UDP + 20),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_X, 0, 11, 0),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SIEVE_UDP + 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SIEVE_COOKIE, 0, 9),
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, SIEVE_UDP),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SIEVE_SEND, 6, 0),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, SIEVE_CLASS, 6, 0),
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, SIEVE_UDP + 2),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, longest_request - 20, 4, 3),
        /* ChannelData: its length */
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, SIEVE_UDP + 2),
        BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, SIEVE_UDP + 4),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_X, 0, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX), /* keep it */
        BPF_STMT(BPF_RET | BPF_K, 0),          /* drop it */
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}
#else
static int sieve_attach(int fd, uint32_t longest_request, int sessions) {
    (void)fd, (void)longest_request, (void)sessions;
    return -1;
}
#endif

/* How many datagrams the kernel dropped before they were received: by the program, or because the queue was full. */
static uint32_t sieve_dropped(int fd) {
    uint32_t told[SIEVE_DROPS + 1] = {0};
#ifdef SO_MEMINFO
    socklen_t size = sizeof told;
    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, told, &size) != 0) return 0;
#else
    (void)fd;
#endif
    return told[SIEVE_DROPS];
}

#endif
