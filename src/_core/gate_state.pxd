"""What a gate keeps: the answers each source got, the secret of its nonces, the users it knows. Header only."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy, memset

from librats._core.integrity cimport SHA1_SIZE, HmacKey, equal_bytes, hmac_sha1_with
from librats._core.octets cimport store_be32
from librats._core.stun_layout cimport FAMILY_IPV4, IpAddress, StunAttribute

cdef enum:
    NONCE_KEY_SIZE = 32
    TOKEN = 16  # characters of a nonce behind the features
    FEATURES_SIZE = 13
    TAG_SIZE = 8
    SOURCES = 65536
    MOST_USERS = 4096
    SLOTS = 16384

cdef enum:
    GATE_METHODS = 16
    GATE_CODES = 7


cdef struct KnownUser:
    uint64_t hashed
    uint8_t* name
    uint32_t name_size
    uint32_t sole  # whether no other key is good for the name
    HmacKey key


cdef struct GateState:
    uint8_t realm[764]
    uint32_t realm_size
    bint asks  # whether credentials are asked for
    bint binding  # whether Binding requests are answered here
    bint knows_names  # whether every user name can be told from its hash
    double amplification
    HmacKey nonce_key
    uint32_t nonce_lifetime
    # How many answers each source got in this second.
    uint16_t* sources
    uint32_t source_answers
    double sources_until
    uint64_t seeds[4]
    # Users whose key is known; a slot of the table is the number of one, 0 is a free slot.
    KnownUser* users
    uint32_t* slots
    uint32_t user_count
    uint64_t malformed
    uint64_t unanswered
    uint64_t answers[GATE_METHODS][GATE_CODES]


# Sources.

cdef inline bint admits(GateState* g, const uint8_t* source, size_t size, double now) noexcept nogil:
    """Count an answer to a source network of up to 8 bytes; False where it has had enough."""
    cdef uint32_t words[2]
    cdef uint64_t cell
    if not g.source_answers:
        return True
    if now >= g.sources_until:
        memset(g.sources, 0, SOURCES * sizeof(uint16_t))
        g.sources_until = now + 1.0
    memset(words, 0, 8)
    memcpy(words, source, min(size, 8))
    cell = (g.seeds[0] * words[0] + g.seeds[1] * words[1] + g.seeds[2] * (size + 1) + g.seeds[3]) >> 48
    if g.sources[cell] >= g.source_answers:
        return False
    g.sources[cell] += 1
    return True


cdef inline bint answers_to(GateState* g, const IpAddress* client, double now) noexcept nogil:
    """Whether a stranger is answered: the loopback always is."""
    cdef size_t i
    if client.family == FAMILY_IPV4:
        if client.host[0] == 127 or admits(g, client.host, 4, now):
            return True
    else:
        i = 0
        while i < 15 and client.host[i] == 0:
            i += 1
        if (i == 15 and client.host[15] == 1) or admits(g, client.host, 8, now):
            return True
    g.unanswered += 1
    return False


# Nonces.

cdef inline const char* features_text(bint names) noexcept nogil:
    """What a nonce begins with that tells of password algorithms, and of user name hashes perhaps (RFC 8489, 9.2)."""
    return b"obMatJos2wAAA" if names else b"obMatJos2gAAA"


cdef inline void write_token(
    GateState* g, const IpAddress* client, uint32_t time, const void* features, uint8_t* out
) noexcept nogil:
    """Write the 16 characters of a nonce that stand behind the features: the time, and a tag over all of it.

    ``features`` is NULL where the nonce tells none.
    """
    cdef const char* alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    cdef uint8_t raw[4 + SHA1_SIZE]
    cdef uint8_t head[FEATURES_SIZE + 4]
    cdef size_t used = 0, i
    cdef uint32_t three
    store_be32(raw, time)
    if features != NULL:
        memcpy(head, features, FEATURES_SIZE)
        used = FEATURES_SIZE
    memcpy(head + used, raw, 4)
    hmac_sha1_with(&g.nonce_key, head, used + 4, client.host, 4 if client.family == FAMILY_IPV4 else 16, raw + 4)
    for i in range(0, 4 + TAG_SIZE, 3):
        three = <uint32_t>raw[i] << 16 | <uint32_t>raw[i + 1] << 8 | raw[i + 2]
        out[0] = alphabet[three >> 18]
        out[1] = alphabet[three >> 12 & 63]
        out[2] = alphabet[three >> 6 & 63]
        out[3] = alphabet[three & 63]
        out += 4


cdef inline int digit_of(uint8_t character) noexcept nogil:
    if 65 <= character <= 90:
        return character - 65
    if 97 <= character <= 122:
        return character - 71
    if 48 <= character <= 57:
        return character + 4
    return 62 if character == 43 else 63 if character == 47 else -1


cdef inline bint is_fresh(
    GateState* g, const IpAddress* client, const StunAttribute* nonce, double now, bint* features
) noexcept nogil:
    """Whether a nonce was made here for the client's host, and not too long ago."""
    cdef uint8_t wanted[TOKEN]
    cdef const uint8_t* token = nonce.value
    cdef uint64_t bits = 0
    cdef int digit, i
    cdef uint32_t time
    features[0] = nonce.size == FEATURES_SIZE + TOKEN
    if features[0]:
        if (
            memcmp(token, features_text(True), FEATURES_SIZE) != 0
            and memcmp(token, features_text(False), FEATURES_SIZE) != 0
        ):
            return False
        token += FEATURES_SIZE
    elif nonce.size != TOKEN:
        return False
    for i in range(6):
        digit = digit_of(token[i])
        if digit < 0:
            return False
        bits = bits << 6 | <uint64_t>digit
    time = <uint32_t>(bits >> 4)
    write_token(g, client, time, nonce.value if features[0] else NULL, wanted)
    return equal_bytes(wanted, token, TOKEN) and <uint32_t>(<uint32_t><uint64_t>now - time) <= g.nonce_lifetime


# Users.

cdef inline uint64_t hash_name(GateState* g, const uint8_t* name, size_t size) noexcept nogil:
    cdef uint64_t hashed = g.seeds[0]
    cdef size_t i
    for i in range(size):
        hashed = (hashed + name[i]) * (g.seeds[1] | 1)
        hashed ^= hashed >> 29
    return hashed * (g.seeds[2] | 1)


cdef inline uint32_t find_user(GateState* g, const uint8_t* name, size_t size) noexcept nogil:
    """The number of a user; 0 where the name is not known here."""
    cdef uint64_t hashed = hash_name(g, name, size)
    cdef uint32_t at = <uint32_t>(hashed >> 40) % SLOTS
    cdef KnownUser* user
    while g.slots[at]:
        user = &g.users[g.slots[at]]
        if user.hashed == hashed and user.name_size == size and memcmp(user.name, name, size) == 0:
            return g.slots[at]
        at = (at + 1) % SLOTS
    return 0


cdef inline void forget_users(GateState* g) noexcept:
    cdef uint32_t i
    for i in range(1, g.user_count + 1):
        free(g.users[i].name)
    memset(g.users, 0, (MOST_USERS + 1) * sizeof(KnownUser))
    memset(g.slots, 0, SLOTS * sizeof(uint32_t))
    g.user_count = 0
