/* Bulk data over TCP, sealed with libsodium's ChaCha20-Poly1305 in records of 64 KiB: what plain C does.
 *
 *   tcp_sodium LIBSODIUM receive BLOCKS WARM_UP
 *   tcp_sodium LIBSODIUM send BLOCKS WARM_UP PORT
 *
 * The receiver writes its port as a line of JSON, and takes what is sent; both write what they measured as another.
 * A record is a length of 4 bytes, big-endian, and a sealed block. LIBSODIUM is the path of a shared library; it may
 * be the module of PyNaCl, which has one inside.
 */

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 65536, TAG = 16, HEAD = 4, RECORD = HEAD + BLOCK + TAG, BUFFER = 8 * RECORD, DISTINCT = 16 };

typedef int (*seal_function)(
    uint8_t *, unsigned long long *, const uint8_t *, unsigned long long, const uint8_t *, unsigned long long,
    const uint8_t *, const uint8_t *, const uint8_t *);
typedef int (*open_function)(
    uint8_t *, unsigned long long *, uint8_t *, const uint8_t *, unsigned long long, const uint8_t *,
    unsigned long long, const uint8_t *, const uint8_t *);

/* The only datum that PyNaCl's module wants of the interpreter to be loaded; the functions are never called. */
char _Py_NoneStruct[256];

static seal_function seal_block;
static open_function open_block;
static uint8_t key[32];
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
    seal_block = (seal_function)dlsym(library, "crypto_aead_chacha20poly1305_ietf_encrypt");
    open_block = (open_function)dlsym(library, "crypto_aead_chacha20poly1305_ietf_decrypt");
    if (init == NULL || seal_block == NULL || open_block == NULL || init() < 0) {
        fprintf(stderr, "not a libsodium: %s\n", path);
        exit(1);
    }
}

static void nonce_of(uint8_t nonce[12], uint64_t counter) {
    memset(nonce, 0, 4);
    memcpy(nonce + 4, &counter, 8);
}

static void put(int connection, const uint8_t *data, size_t size) {
    while (size > 0) {
        ssize_t sent = write(connection, data, size);
        if (sent <= 0) {
            fail("write");
        }
        data += sent;
        size -= (size_t)sent;
    }
}

static void wait_for_word(int connection) {
    char word;
    if (read(connection, &word, 1) != 1) {
        fail("the other end is gone");
    }
}

static void receive(long blocks, long warm_up) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) || listen(listener, 1)
        || getsockname(listener, (struct sockaddr *)&address, &size)) {
        fail("listen");
    }
    printf("{\"port\": %d}\n", ntohs(address.sin_port));
    fflush(stdout);
    int connection = accept(listener, NULL, NULL);
    if (connection < 0) {
        fail("accept");
    }
    setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    uint8_t *buffer = malloc(BUFFER), *plain = malloc(BLOCK), nonce[12];
    size_t filled = 0;
    unsigned long long length, sum = 0;
    for (long taken = 0; taken < blocks + warm_up;) {
        ssize_t got = read(connection, buffer + filled, BUFFER - filled);
        if (got <= 0) {
            fail("read");
        }
        filled += (size_t)got;
        size_t at = 0;
        while (filled - at >= HEAD) {
            uint32_t sealed;
            memcpy(&sealed, buffer + at, HEAD);
            sealed = ntohl(sealed);
            if (sealed > BLOCK + TAG) {
                fail("a record that is too long");
            }
            if (filled - at < HEAD + sealed) {
                break;
            }
            nonce_of(nonce, (uint64_t)taken);
            if (open_block(plain, &length, NULL, buffer + at + HEAD, sealed, NULL, 0, nonce, key)) {
                fail("forged");
            }
            sum += length;
            at += HEAD + sealed;
            if (++taken == warm_up) {
                start();
                put(connection, (const uint8_t *)"g", 1);
            }
        }
        memmove(buffer, buffer + at, filled - at);
        filled -= at;
    }
    if (sum != (unsigned long long)(blocks + warm_up) * BLOCK) {
        fail("not everything came");
    }
    put(connection, (const uint8_t *)"d", 1);
    tell();
}

static void send_blocks(long blocks, long warm_up, int port) {
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
    int connection = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (connection < 0 || connect(connection, (struct sockaddr *)&address, sizeof address)) {
        fail("connect");
    }
    setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    uint8_t *data = malloc((size_t)DISTINCT * BLOCK), *record = malloc(RECORD), nonce[12];
    for (size_t i = 0; i < (size_t)DISTINCT * BLOCK; i++) {
        data[i] = (uint8_t)(i * 2654435761u >> 13);
    }
    uint32_t length = htonl(BLOCK + TAG);
    memcpy(record, &length, HEAD);
    for (long number = 0; number < blocks + warm_up; number++) {
        if (number == warm_up) {
            wait_for_word(connection);
            start();
        }
        nonce_of(nonce, (uint64_t)number);
        seal_block(
            record + HEAD, NULL, data + (size_t)(number % DISTINCT) * BLOCK, BLOCK, NULL, 0, NULL, nonce, key);
        put(connection, record, RECORD);
    }
    wait_for_word(connection);
    tell();
}

int main(int count, char **arguments) {
    if (count < 5) {
        fprintf(stderr, "tcp_sodium LIBSODIUM receive|send BLOCKS WARM_UP [PORT]\n");
        return 2;
    }
    load(arguments[1]);
    if (strcmp(arguments[2], "send") == 0 && count > 5) {
        send_blocks(atol(arguments[3]), atol(arguments[4]), atoi(arguments[5]));
    } else {
        receive(atol(arguments[3]), atol(arguments[4]));
    }
    return 0;
}
