/* What it takes the system to send datagrams with sendmmsg, and nothing else: for a benchmark in Python to call. */

#define _GNU_SOURCE
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

enum { BATCH = 64 };

/* Sends data to an IPv4 address of the loopback so many times, BATCH in each call; how many the system took. */
int udp_burst(int fd, uint16_t port, const void *data, size_t size, int amount) {
    struct mmsghdr heads[BATCH];
    struct iovec piece = {(void *)data, size};
    struct sockaddr_in name;
    int sent = 0;
    memset(&name, 0, sizeof name), memset(heads, 0, sizeof heads);
    name.sin_family = AF_INET, name.sin_port = htons(port), name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < BATCH; i++) {
        heads[i].msg_hdr.msg_name = &name, heads[i].msg_hdr.msg_namelen = sizeof name;
        heads[i].msg_hdr.msg_iov = &piece, heads[i].msg_hdr.msg_iovlen = 1;
    }
    while (sent < amount) {
        int left = amount - sent;
        int gone = sendmmsg(fd, heads, left < BATCH ? (unsigned)left : BATCH, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (gone <= 0) break;
        sent += gone;
    }
    return sent;
}
