/* Bulk data over UDP, each packet sealed with libsodium's ChaCha20-Poly1305: what plain C does with GSO.
 *
 *   udp_sodium LIBSODIUM PACKET receive BLOCKS WARM_UP
 *   udp_sodium LIBSODIUM PACKET send BLOCKS WARM_UP PORT
 *
 * The receiver writes its port as a line of JSON, and takes what is sent; both write what they measured as another.
 * A packet, of PACKET bytes, is a number of 8 bytes, big-endian, and sealed bytes; as many as 64 KiB hold leave with one
 * call (UDP_SEGMENT), and come with one (UDP_GRO). The receiver tells after every 64 KiB what it has; at most WINDOW are on their way. Nothing is
 * ever sent again: loopback loses nothing that fits the receiver's buffer, and a gap ends the program. LIBSODIUM is the
 * path of a shared library; it may be the module of PyNaCl, which has one inside.
 */

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum {
    BLOCK = 65536,
    TAG = 16,
    HEAD = 8,
    LEAST_PACKET = 1200,
    MOST_PACKET = 9000,
    MOST_BYTES = 65000,
    MOST_BATCH = 50,
    SUPPLY = 16 * BLOCK,
    WINDOW = 512 * 1024,
    REPORT = 65536,
    BUFFER = 4 << 20
};

typedef int (*seal_function)(
    uint8_t *, unsigned long long *, const uint8_t *, unsigned long long, const uint8_t *, unsigned long long,
    const uint8_t *, const uint8_t *, const uint8_t *);
typedef int (*open_function)(
    uint8_t *, unsigned long long *, uint8_t *, const uint8_t *, unsigned long long, const uint8_t *,
    unsigned long long, const uint8_t *, const uint8_t *);

/* The only datum that PyNaCl's module wants of the interpreter to be loaded; the functions are never called. */
char _Py_NoneStruct[256];

static seal_function seal_packet;
static open_function open_packet;
static uint8_t key[32];
static size_t packet_size, payload_size, batch_size;
static double began, cpu_began;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double cpu(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
        + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

static void start(void) {
    began = now();
    cpu_began = cpu();
}

static void tell(void) {
    printf("{\"seconds\": %.9f, \"cpu_seconds\": %.9f}\n", now() - began, cpu() - cpu_began);
    fflush(stdout);
}

static void load(const char *path) {
    void *library = dlopen(path, RTLD_LAZY);
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    int (*init)(void) = (int (*)(void))dlsym(library, "sodium_init");
    seal_packet = (seal_function)dlsym(library, "crypto_aead_chacha20poly1305_ietf_encrypt");
    open_packet = (open_function)dlsym(library, "crypto_aead_chacha20poly1305_ietf_decrypt");
    if (init == NULL || seal_packet == NULL || open_packet == NULL || init() < 0) {
        fprintf(stderr, "not a libsodium: %s\n", path);
        exit(1);
    }
}

static void nonce_of(uint8_t nonce[12], uint64_t counter) {
    memset(nonce, 0, 4);
    memcpy(nonce + 4, &counter, 8);
}

static void store(uint8_t *to, uint64_t value) {
    for (int i = 0; i < 8; i++) {
        to[i] = (uint8_t)(value >> (56 - 8 * i));
    }
}

static uint64_t load_number(const uint8_t *from) {
    uint64_t value = 0;
    for (int i = 0; i < 8; i++) {
        value = value << 8 | from[i];
    }
    return value;
}

static int new_socket(int port) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
    int size = BUFFER, made = socket(AF_INET, SOCK_DGRAM, 0);
    struct timeval patience = {.tv_sec = 10};
    if (made < 0) {
        fail("socket");
    }
    setsockopt(made, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(made, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    setsockopt(made, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (port == 0 ? bind(made, (struct sockaddr *)&address, sizeof address)
                  : connect(made, (struct sockaddr *)&address, sizeof address)) {
        fail("bind or connect");
    }
    return made;
}

static uint64_t packets_of(long blocks) {
    return ((uint64_t)blocks * BLOCK + payload_size - 1) / payload_size;
}

static void report(int made, uint64_t taken) {
    uint8_t word[8];
    store(word, taken);
    if (send(made, word, sizeof word, 0) != sizeof word) {
        fail("send");
    }
}

static void receive(long blocks, long warm_up) {
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    int made = new_socket(0), one = 1;
    if (setsockopt(made, IPPROTO_UDP, UDP_GRO, &one, sizeof one) || getsockname(made, (struct sockaddr *)&address, &size)) {
        fail("UDP_GRO");
    }
    printf("{\"port\": %d}\n", ntohs(address.sin_port));
    fflush(stdout);
    uint8_t *buffer = malloc(1 << 16), plain[MOST_PACKET], nonce[12];
    uint64_t taken = 0, told = 0, first = packets_of(warm_up), all = first + packets_of(blocks);
    unsigned long long length;
    int connected = 0;
    while (taken < all) {
        ssize_t got = recvfrom(made, buffer, 1 << 16, 0, (struct sockaddr *)&address, &size);
        if (got <= 0 || (size_t)got % packet_size) {
            fail("receive");
        }
        if (!connected) {
            connected = 1;
            if (connect(made, (struct sockaddr *)&address, size)) {
                fail("connect");
            }
        }
        for (ssize_t at = 0; at < got; at += (ssize_t)packet_size) {
            uint64_t number = load_number(buffer + at);
            nonce_of(nonce, number);
            if (number != taken || open_packet(plain, &length, NULL, buffer + at + HEAD, payload_size + TAG, NULL, 0, nonce, key)) {
                fail("lost or forged");
            }
            if (++taken == first) {
                start();
            }
            if ((taken - told) * payload_size >= REPORT || taken == first || taken == all) {
                told = taken;
                report(made, taken);
            }
        }
    }
    tell();
}

static void send_batch(int made, uint8_t *packets, size_t size) {
    union {
        char room[CMSG_SPACE(sizeof(uint16_t))];
        struct cmsghdr aligned;
    } control = {{0}};
    struct iovec piece = {.iov_base = packets, .iov_len = size};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    uint16_t segment = (uint16_t)packet_size;
    head->cmsg_level = IPPROTO_UDP;
    head->cmsg_type = UDP_SEGMENT;
    head->cmsg_len = CMSG_LEN(sizeof segment);
    memcpy(CMSG_DATA(head), &segment, sizeof segment);
    if (sendmsg(made, &message, 0) != (ssize_t)size) {
        fail("sendmsg");
    }
}

static uint64_t hear(int made) {
    uint8_t word[8];
    if (recv(made, word, sizeof word, 0) != sizeof word) {
        fail("the other end is gone");
    }
    return load_number(word);
}

static void send_packets(long blocks, long warm_up, int port) {
    int made = new_socket(port);
    uint8_t *data = malloc(SUPPLY), *packets = malloc(batch_size * packet_size), nonce[12];
    uint64_t supplied = SUPPLY / payload_size;
    uint64_t sent = 0, arrived = 0, first = packets_of(warm_up), all = first + packets_of(blocks), target = first;
    for (size_t i = 0; i < SUPPLY; i++) {
        data[i] = (uint8_t)(i * 2654435761u >> 13);
    }
    for (;;) {
        while (sent < target && (sent - arrived + batch_size) * payload_size <= WINDOW) {
            size_t count = 0;
            for (; count < batch_size && sent < target; count++, sent++) {
                uint8_t *packet = packets + count * packet_size;
                store(packet, sent);
                nonce_of(nonce, sent);
                seal_packet(
                    packet + HEAD, NULL, data + sent % supplied * payload_size, payload_size, NULL, 0, NULL, nonce, key);
            }
            send_batch(made, packets, count * packet_size);
        }
        arrived = hear(made);
        if (arrived == first && target == first) {
            target = all;
            start();
        } else if (arrived == all) {
            break;
        }
    }
    tell();
}

int main(int count, char **arguments) {
    packet_size = count > 2 ? (size_t)atol(arguments[2]) : 0;
    if (count < 6 || packet_size < LEAST_PACKET || packet_size > MOST_PACKET) {
        fprintf(stderr, "udp_sodium LIBSODIUM PACKET receive|send BLOCKS WARM_UP [PORT]\n");
        return 2;
    }
    payload_size = packet_size - HEAD - TAG;
    batch_size = MOST_BYTES / packet_size < MOST_BATCH ? MOST_BYTES / packet_size : MOST_BATCH;
    load(arguments[1]);
    if (strcmp(arguments[3], "send") == 0 && count > 6) {
        send_packets(atol(arguments[4]), atol(arguments[5]), atoi(arguments[6]));
    } else {
        receive(atol(arguments[4]), atol(arguments[5]));
    }
    return 0;
}
