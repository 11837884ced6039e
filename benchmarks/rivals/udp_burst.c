/* Datagrams for each second of CPU time that sendmmsg gets rid of: the least that sending them singly takes.
 *
 *   udp_burst SIZE AMOUNT
 *
 * BURST datagrams at a time, BATCH in each call, to a socket on the loopback that takes merged ones as they are and is
 * emptied in between, which is not counted. Everything that the calls need is made before.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { BURST = 512, BATCH = 64, BUFFER = 4 << 20, SOL_UDP_ = 17, UDP_GRO_ = 104, ROOM = 65536 };

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int bound(struct sockaddr_in *name) {
    socklen_t size = sizeof *name;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), room = BUFFER;
    memset(name, 0, sizeof *name);
    name->sin_family = AF_INET, name->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || bind(fd, (struct sockaddr *)name, size) || getsockname(fd, (struct sockaddr *)name, &size)) exit(1);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room), setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    return fd;
}

int main(int count, char **given) {
    static char data[ROOM], sunk[ROOM];
    static struct mmsghdr heads[BATCH];
    static struct iovec pieces[BATCH];
    struct sockaddr_in from, to;
    int source = bound(&from), sink = bound(&to), one = 1;
    size_t size = count == 3 ? (size_t)atol(given[1]) : 0;
    long amount = count == 3 ? atol(given[2]) : 0, sent = 0;
    double seconds = 0;
    if (!size || size > ROOM || amount <= 0) return 2;
    setsockopt(sink, SOL_UDP_, UDP_GRO_, &one, sizeof one);
    for (int i = 0; i < BATCH; i++) {
        pieces[i].iov_base = data, pieces[i].iov_len = size;
        heads[i].msg_hdr.msg_iov = &pieces[i], heads[i].msg_hdr.msg_iovlen = 1;
        heads[i].msg_hdr.msg_name = &to, heads[i].msg_hdr.msg_namelen = sizeof to;
    }
    while (sent < amount) {
        double began = cpu_seconds();
        for (int i = 0; i < BURST / BATCH; i++) {
            int gone = sendmmsg(source, heads, BATCH, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (gone < 0) return 1;
            sent += gone;
        }
        seconds += cpu_seconds() - began;
        while (recv(sink, sunk, sizeof sunk, 0) >= 0) {}
    }
    printf("%f\n", (double)sent / seconds);
    return 0;
}
