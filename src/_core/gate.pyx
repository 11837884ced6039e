"""Answers to the requests of strangers, without Python and without the GIL.

Nothing here needs an allocation: Binding, the challenge to what comes without credentials, with an old nonce or with
a wrong password, unknown attributes and methods, and silence for what is no request. The rest is passed on, with the
sender where a password has proven who it is.

:class:`librats.turn.serving.machine.Machine` answers everything, and these with the same bytes.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from librats._core.integrity cimport SHA1_SIZE, crc32, equal_bytes, hmac_sha1
from librats._core.octets cimport load_be16, load_be32, store_be16, store_be32
from librats._core.stun_index cimport (
    FINGERPRINT_XOR, NOWHERE, REQUIRED_BELOW, StunIndex, fingerprint_fits, index_message, next_counted, sha1_fits,
)
from librats._core.stun_layout cimport (
    A_FINGERPRINT, A_MESSAGE_INTEGRITY, A_XOR_MAPPED_ADDRESS, ATTRIBUTE_HEADER, BINDING_REQUEST, COOKIE, FAMILY_IPV4,
    FAMILY_IPV6, STUN_HEADER, IpAddress, StunAttribute, padded_size, store_address, store_header, store_padding,
)
from librats._core.stun_values cimport UNKNOWN, form_of

from librats.errors import UsageError

cdef enum:
    CLASS_BITS = 0x0110
    SUCCESS = 0x0100
    ERROR = 0x0110
    A_USERNAME = 0x0006
    A_ERROR_CODE = 0x0009
    A_UNKNOWN_ATTRIBUTES = 0x000A
    A_REALM = 0x0014
    A_NONCE = 0x0015
    A_PASSWORD_ALGORITHM = 0x001D
    A_PASSWORD_ALGORITHMS = 0x8002
    KEY_SIZE = 16
    NONCE_KEY_SIZE = 32
    TOKEN = 16  # characters of a nonce behind the features
    FEATURES_SIZE = 13
    TAG_SIZE = 8
    MOST_TEXT = 763
    MOST_USERNAME = 512
    MOST_UNKNOWN = 64
    SOURCES = 65536
    MOST_USERS = 4096
    SLOTS = 16384
    CHALLENGE_SIZE = 80  # bytes of a challenge that offers everything, but for the realm

cdef const char* ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
cdef const char* FEATURES = b"obMatJos2wAAA"
cdef const char* OFFERED = b"\0\1\0\0\0\2\0\0"  # MD5 and SHA-256
cdef const char* UNKNOWN_REASON = b"Unknown Attribute"
cdef int CODES[GATE_CODES]
CODES[:] = [0, 400, 401, 420, 438]


cdef inline int index_of_code(int code) noexcept nogil:
    if code == 0:
        return 0
    if code == 400:
        return 1
    return 2 if code == 401 else 3 if code == 420 else 4


cdef inline int method_of(unsigned int kind) noexcept nogil:
    return (kind & 0xF) | (kind >> 1 & 0x70) | (kind >> 2 & 0xF80)


cdef inline bint is_turn_method(int method) noexcept nogil:
    """Whether a client may ask for it and has to say who it is; Binding is not among them."""
    return method == 3 or method == 4 or 8 <= method <= 11


# Sources.

cdef bint admits(GateState* g, const uint8_t* source, size_t size, double now) noexcept nogil:
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


cdef bint answers_to(GateState* g, const IpAddress* client, double now) noexcept nogil:
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

cdef void write_token(
    GateState* g, const IpAddress* client, uint32_t time, bint features, uint8_t* out
) noexcept nogil:
    """Write the 16 characters of a nonce that stand behind the features: the time, and a tag over all of it."""
    cdef uint8_t raw[4 + SHA1_SIZE]
    cdef uint8_t head[FEATURES_SIZE + 4]
    cdef size_t used = 0, i
    cdef uint32_t three
    store_be32(raw, time)
    if features:
        memcpy(head, FEATURES, FEATURES_SIZE)
        used = FEATURES_SIZE
    memcpy(head + used, raw, 4)
    hmac_sha1(
        g.nonce_key, NONCE_KEY_SIZE, head, used + 4, client.host, 4 if client.family == FAMILY_IPV4 else 16, raw + 4
    )
    for i in range(0, 4 + TAG_SIZE, 3):
        three = <uint32_t>raw[i] << 16 | <uint32_t>raw[i + 1] << 8 | raw[i + 2]
        out[0] = ALPHABET[three >> 18]
        out[1] = ALPHABET[three >> 12 & 63]
        out[2] = ALPHABET[three >> 6 & 63]
        out[3] = ALPHABET[three & 63]
        out += 4


cdef inline int digit_of(uint8_t character) noexcept nogil:
    if 65 <= character <= 90:
        return character - 65
    if 97 <= character <= 122:
        return character - 71
    if 48 <= character <= 57:
        return character + 4
    return 62 if character == 43 else 63 if character == 47 else -1


cdef bint is_fresh(
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
        if memcmp(token, FEATURES, FEATURES_SIZE) != 0:
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
    write_token(g, client, time, features[0], wanted)
    return equal_bytes(wanted, token, TOKEN) and <uint32_t>(<uint32_t><uint64_t>now - time) <= g.nonce_lifetime


# Users.

cdef uint64_t hash_name(GateState* g, const uint8_t* name, size_t size) noexcept nogil:
    cdef uint64_t hashed = g.seeds[0]
    cdef size_t i
    for i in range(size):
        hashed = (hashed + name[i]) * (g.seeds[1] | 1)
        hashed ^= hashed >> 29
    return hashed * (g.seeds[2] | 1)


cdef uint32_t find_user(GateState* g, const uint8_t* name, size_t size) noexcept nogil:
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


cdef void forget_users(GateState* g) noexcept:
    cdef uint32_t i
    for i in range(1, g.user_count + 1):
        free(g.users[i].name)
    memset(g.users, 0, (MOST_USERS + 1) * sizeof(KnownUser))
    memset(g.slots, 0, SLOTS * sizeof(uint32_t))
    g.user_count = 0


# Answers.

cdef inline uint8_t* add(uint8_t* out, uint32_t* size, uint16_t type, uint16_t length) noexcept nogil:
    """Add an attribute with its padding; return where its value goes."""
    cdef uint8_t* at = out + size[0]
    store_be16(at, type)
    store_be16(at + 2, length)
    store_padding(at + ATTRIBUTE_HEADER + length, length)
    size[0] += <uint32_t>(ATTRIBUTE_HEADER + padded_size(length))
    store_be16(out + 2, <uint16_t>(size[0] - STUN_HEADER))
    return at + ATTRIBUTE_HEADER


cdef inline void add_bytes(
    uint8_t* out, uint32_t* size, uint16_t type, const void* value, uint16_t length
) noexcept nogil:
    memcpy(add(out, size, type, length), value, length)


cdef inline void add_fingerprint(uint8_t* out, uint32_t* size) noexcept nogil:
    cdef uint32_t covered = size[0]
    cdef uint8_t* to = add(out, size, A_FINGERPRINT, 4)
    store_be32(to, crc32(0, out, covered) ^ <uint32_t>FINGERPRINT_XOR)


cdef void begin_error(
    GateState* g, const StunIndex* index, int code, const char* reason, uint8_t* out, uint32_t* size
) noexcept nogil:
    """Write header and ERROR-CODE, and count the answer."""
    cdef unsigned int kind = load_be16(index.data)
    cdef int method = method_of(kind)
    cdef uint16_t length = 0
    cdef uint8_t* to
    while reason[length]:
        length += 1
    store_header(out, <uint16_t>(kind | ERROR), 0, index.data + 8)
    size[0] = STUN_HEADER
    to = add(out, size, A_ERROR_CODE, 4 + length)
    store_be16(to, 0)
    to[2] = <uint8_t>(code // 100)
    to[3] = <uint8_t>(code % 100)
    memcpy(to + 4, reason, length)
    g.answers[method if method < GATE_METHODS else 0][index_of_code(code)] += 1


cdef Verdict refuse(
    GateState* g, const IpAddress* client, const StunIndex* index, int code, double now, uint8_t* out, uint32_t* size
) noexcept nogil:
    """Give a stranger an error and no more."""
    if not answers_to(g, client, now):
        return DROPPED
    begin_error(g, index, code, b"", out, size)
    if index.fingerprint != NOWHERE:
        add_fingerprint(out, size)
    return ANSWERED


cdef Verdict challenge(
    GateState* g, const IpAddress* client, const StunIndex* index, int code, double now, uint8_t* out, uint32_t* size
) noexcept nogil:
    """Ask for credentials, with all that the server knows where the answer stays short enough."""
    cdef bint features
    cdef uint8_t* to
    if not answers_to(g, client, now):
        return DROPPED
    features = g.amplification * <double>index.size >= <double>(CHALLENGE_SIZE + padded_size(g.realm_size))
    begin_error(g, index, code, b"", out, size)
    add_bytes(out, size, A_REALM, g.realm, <uint16_t>g.realm_size)
    to = add(out, size, A_NONCE, FEATURES_SIZE + TOKEN if features else TOKEN)
    if features:
        memcpy(to, FEATURES, FEATURES_SIZE)
        to += FEATURES_SIZE
    write_token(g, client, <uint32_t><uint64_t>now, features, to)
    if features:
        add_bytes(out, size, A_PASSWORD_ALGORITHMS, OFFERED, 8)
    return ANSWERED


cdef int unknown_types(const StunIndex* index, uint8_t* types) noexcept nogil:
    """Write the types that have to be understood and are not, each once; their number, -1 where they are too many."""
    cdef size_t at = STUN_HEADER
    cdef StunAttribute found
    cdef int count = 0, i
    while next_counted(index, &at, &found):
        if found.type >= REQUIRED_BELOW or form_of(found.type) != UNKNOWN:
            continue
        i = 0
        while i < count and load_be16(types + 2 * i) != found.type:
            i += 1
        if i < count:
            continue
        if count == MOST_UNKNOWN:
            return -1
        store_be16(types + 2 * count, found.type)
        count += 1
    return count


cdef Verdict bind(
    GateState* g, const IpAddress* client, const StunIndex* index, double now, uint8_t* out, uint32_t* size
) noexcept nogil:
    """Answer a Binding request (RFC 8489, 6.3)."""
    cdef uint8_t types[2 * MOST_UNKNOWN]
    cdef int unknown = unknown_types(index, types)
    if unknown < 0:
        return PASSED_ON
    if not answers_to(g, client, now):
        return DROPPED
    if unknown:
        begin_error(g, index, 420, b"", out, size)
        add_bytes(out, size, A_UNKNOWN_ATTRIBUTES, types, <uint16_t>(2 * unknown))
    else:
        store_header(out, BINDING_REQUEST | SUCCESS, 0, index.data + 8)
        size[0] = STUN_HEADER
        store_address(
            add(out, size, A_XOR_MAPPED_ADDRESS, 8 if client.family == FAMILY_IPV4 else 20), client, out + 4
        )
        g.answers[1][0] += 1
    if index.fingerprint != NOWHERE:
        add_fingerprint(out, size)
    return ANSWERED


cdef inline bint is_text(const StunAttribute* found, size_t most) noexcept nogil:
    """Whether a value is text for certain: ASCII, and no longer than the attribute may be."""
    cdef uint8_t all = 0
    cdef size_t i
    for i in range(found.size):
        all |= found.value[i]
    return found.size <= most and all < 0x80


cdef Verdict take_signed(
    GateState* g, const IpAddress* client, const StunIndex* index, double now, uint8_t* out, uint32_t* size,
    uint32_t* known
) noexcept nogil:
    """Check the credentials of a request (RFC 8489, 9.2.4)."""
    cdef uint8_t types[2 * MOST_UNKNOWN]
    cdef StunAttribute found, nonce, username
    cdef size_t at = STUN_HEADER
    cdef bint realm = False, algorithms = False, features
    cdef int unknown
    cdef uint32_t number
    cdef KnownUser* user
    cdef uint8_t* to
    nonce.value = username.value = NULL
    while next_counted(index, &at, &found):
        if found.type == A_NONCE:
            if nonce.value == NULL:
                nonce = found
        elif found.type == A_USERNAME:
            if username.value == NULL:
                username = found
        elif found.type == A_REALM:
            realm = True
        elif found.type == A_PASSWORD_ALGORITHM or found.type == A_PASSWORD_ALGORITHMS:
            algorithms = True
    if username.value == NULL or index.integrity_sha256 != NOWHERE:
        return PASSED_ON
    if nonce.value == NULL or not realm:
        return refuse(g, client, index, 400, now, out, size)
    if not is_text(&nonce, MOST_TEXT) or not is_text(&username, MOST_USERNAME):
        return PASSED_ON
    if not is_fresh(g, client, &nonce, now, &features):
        return challenge(g, client, index, 438, now, out, size)
    if algorithms and features:
        return PASSED_ON
    number = find_user(g, username.value, username.size)
    if not number:
        return PASSED_ON
    user = &g.users[number]
    if not sha1_fits(index, user.key, KEY_SIZE):
        return challenge(g, client, index, 401, now, out, size) if user.sole else PASSED_ON
    unknown = unknown_types(index, types)
    if unknown <= 0:
        known[0] = number
        return PASSED_ON
    begin_error(g, index, 420, UNKNOWN_REASON, out, size)
    add_bytes(out, size, A_UNKNOWN_ATTRIBUTES, types, <uint16_t>(2 * unknown))
    at = size[0]
    to = add(out, size, A_MESSAGE_INTEGRITY, SHA1_SIZE)
    hmac_sha1(user.key, KEY_SIZE, out, STUN_HEADER, out + STUN_HEADER, at - STUN_HEADER, to)
    if index.fingerprint != NOWHERE:
        add_fingerprint(out, size)
    return ANSWERED


cdef Verdict judge(
    GateState* g, const IpAddress* client, const uint8_t* data, size_t size, double now, uint8_t* out,
    uint32_t* out_size, uint32_t* known
) noexcept nogil:
    """Answer a datagram, or tell who has to.

    ``out`` has room for GATE_ROOM bytes. Where the datagram is passed on, ``known`` is the number of the user who sent
    it; 0 where that is to be found out.
    """
    cdef StunIndex index
    cdef unsigned int kind
    cdef int method
    known[0] = 0
    if (
        size < STUN_HEADER or data[0] & 0xC0 or data[3] & 3 or load_be32(data + 4) != COOKIE
        or STUN_HEADER + <size_t>load_be16(data + 2) != size or index_message(&index, data, size)
    ):
        g.malformed += 1
        return DROPPED
    kind = load_be16(data)
    if kind & CLASS_BITS:
        return DROPPED
    if index.fingerprint != NOWHERE and not fingerprint_fits(&index):
        g.malformed += 1
        return DROPPED
    method = method_of(kind)
    if method == 1:
        return bind(g, client, &index, now, out, out_size) if g.binding else PASSED_ON
    if not is_turn_method(method):
        return refuse(g, client, &index, 400, now, out, out_size)
    if not g.asks:
        return PASSED_ON
    if index.integrity == NOWHERE and index.integrity_sha256 == NOWHERE:
        return challenge(g, client, &index, 401, now, out, out_size)
    return take_signed(g, client, &index, now, out, out_size, known)


@cython.final
cdef class Gate:
    """Answers strangers.

    Args:
        realm: The realm of the users, at most 763 bytes of UTF-8; None where nobody is asked for credentials.
        nonce_key: 32 bytes, with which :class:`librats.turn.serving.nonces.Nonces` makes nonces.
        nonce_lifetime: Seconds for which a nonce is good.
        amplification: How many times the bytes of a request a challenge has at most that offers everything.
        source_answers: Answers a second to a source; 0 for any number.
        binding: Whether Binding requests are answered; else they are passed on.
        seed: 32 secret random bytes.

    Example:
        >>> gate = Gate(realm="rats", nonce_key=bytes(32), seed=bytes(32))
        >>> request = bytes.fromhex("000100002112a442") + bytes(12)
        >>> verdict, answer, user = gate.judge(bytes([192, 0, 2, 1]), 7000, request, now=0.0)
        >>> verdict, answer.hex()[:8]
        ('answered', '0101000c')
    """

    def __cinit__(
        self, *, str realm, bytes nonce_key not None, uint32_t nonce_lifetime=3600, double amplification=2.4,
        int source_answers=0, bint binding=True, bytes seed not None
    ):
        cdef GateState* g = &self.state
        cdef bytes text = b"" if realm is None else realm.encode()
        if len(text) > MOST_TEXT or len(nonce_key) != NONCE_KEY_SIZE or len(seed) != sizeof(g.seeds):
            raise UsageError("a realm has at most 763 bytes, a nonce's key and a seed 32")
        if source_answers < 0:
            raise UsageError("a source gets 0 answers a second or more")
        g.asks = realm is not None
        g.realm_size = <uint32_t>PyBytes_GET_SIZE(text)
        memcpy(g.realm, PyBytes_AS_STRING(text), g.realm_size)
        memcpy(g.nonce_key, PyBytes_AS_STRING(nonce_key), NONCE_KEY_SIZE)
        memcpy(g.seeds, PyBytes_AS_STRING(seed), sizeof(g.seeds))
        g.nonce_lifetime = nonce_lifetime
        g.amplification = amplification
        g.source_answers = min(source_answers, 0xFFFF)
        g.binding = binding
        g.sources = <uint16_t*>calloc(SOURCES, sizeof(uint16_t))
        g.users = <KnownUser*>calloc(MOST_USERS + 1, sizeof(KnownUser))
        g.slots = <uint32_t*>calloc(SLOTS, sizeof(uint32_t))
        if g.sources == NULL or g.users == NULL or g.slots == NULL:
            raise MemoryError
        self.known = [None]

    def __dealloc__(self):
        cdef GateState* g = &self.state
        if g.users != NULL and g.slots != NULL:
            forget_users(g)
        free(g.sources)
        free(g.users)
        free(g.slots)

    def remember(self, str username not None, bytes key not None, user, *, bint sole):
        """Know a user from now on, who has proven to have the key.

        Args:
            username: The name, at most 512 bytes of UTF-8; a longer one is not remembered.
            key: The 16 bytes of the long-term key.
            user: What is given back with the user's requests.
            sole: Whether no other key is good for the name.
        """
        cdef GateState* g = &self.state
        cdef bytes name = username.encode()
        cdef uint32_t at, size = <uint32_t>PyBytes_GET_SIZE(name)
        cdef KnownUser* made
        if len(key) != KEY_SIZE:
            raise UsageError("a long-term key has 16 bytes")
        if size > MOST_USERNAME or find_user(g, <const uint8_t*>PyBytes_AS_STRING(name), size):
            return
        if g.user_count == MOST_USERS:
            self.forget()
        made = &g.users[g.user_count + 1]
        made.name = <uint8_t*>malloc(size + 1)
        if made.name == NULL:
            raise MemoryError
        memcpy(made.name, PyBytes_AS_STRING(name), size)
        memcpy(made.key, PyBytes_AS_STRING(key), KEY_SIZE)
        made.name_size = size
        made.sole = sole
        made.hashed = hash_name(g, made.name, size)
        self.known.append(user)
        g.user_count += 1
        at = <uint32_t>(made.hashed >> 40) % SLOTS
        while g.slots[at]:
            at = (at + 1) % SLOTS
        g.slots[at] = g.user_count

    def forget(self):
        """Know no user any more: their passwords may have changed."""
        forget_users(&self.state)
        self.known = [None]

    def admits(self, bytes source not None, *, double now):
        """Count an answer to a source network, of whose bytes 8 count; False where it has had enough.

        Args:
            source: The network.
            now: Monotonic seconds.
        """
        return admits(&self.state, <const uint8_t*>PyBytes_AS_STRING(source), PyBytes_GET_SIZE(source), now)

    def judge(self, bytes host not None, int port, bytes data not None, *, double now):
        """Answer a datagram, or tell who has to.

        Args:
            host: 4 or 16 bytes of the address that it came from.
            port: The port.
            data: The datagram.
            now: Monotonic seconds.

        Returns:
            ``("answered", answer, None)``, ``("dropped", b"", None)``, or ``("passed on", b"", user)`` with what
            :meth:`remember` was told of the user who sent it.
        """
        cdef IpAddress client
        cdef uint8_t out[GATE_ROOM]
        cdef uint32_t size = 0, known = 0
        cdef Verdict verdict
        if len(host) not in (4, 16) or not 0 <= port <= 0xFFFF:
            raise UsageError("an address has 4 or 16 bytes, and a port from 0 to 65,535")
        memset(&client, 0, sizeof(client))
        client.family = FAMILY_IPV4 if PyBytes_GET_SIZE(host) == 4 else FAMILY_IPV6
        client.port = <uint16_t>port
        memcpy(client.host, PyBytes_AS_STRING(host), PyBytes_GET_SIZE(host))
        verdict = judge(
            &self.state, &client, <const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), now, out, &size,
            &known,
        )
        if verdict == ANSWERED:
            return "answered", PyBytes_FromStringAndSize(<char*>out, size), None
        return ("dropped" if verdict == DROPPED else "passed on"), b"", self.known[known]

    @property
    def malformed(self):
        """Datagrams that were no STUN message, or whose fingerprint was wrong."""
        return self.state.malformed

    @property
    def unanswered(self):
        """Requests that got no answer because their source had had enough."""
        return self.state.unanswered

    @property
    def answers(self):
        """How many answers were given, by method and error code; method 0 is any unknown one, code 0 is success."""
        cdef dict found = {}
        cdef int method, code
        for method in range(GATE_METHODS):
            for code in range(GATE_CODES):
                if self.state.answers[method][code]:
                    found[method, CODES[code]] = self.state.answers[method][code]
        return found
