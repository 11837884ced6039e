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
from libc.string cimport memcpy, memset

from librats._core.gate_rules cimport (
    ALLOCATE, MOST_UNKNOWN, is_flawed, is_text, is_turn_method, method_of, unknown_types,
)
from librats._core.gate_state cimport (
    FEATURES_SIZE, GATE_CODES, GATE_METHODS, MOST_USERS, NONCE_KEY_SIZE, SLOTS, SOURCES, TOKEN, GateState, KnownUser,
    admits, answers_to, features_text, find_user, forget_users, hash_name, is_fresh, write_token,
)
from librats._core.integrity cimport SHA1_SIZE, SHA256_SIZE, crc32, hmac_sha1_with, make_hmac_key
from librats._core.octets cimport load_be16, load_be32, store_be16, store_be32
from librats._core.stun_index cimport (
    FINGERPRINT_XOR, NOWHERE, StunIndex, fingerprint_fits, index_message, next_counted, sha1_fits,
)
from librats._core.stun_layout cimport (
    A_FINGERPRINT, A_MESSAGE_INTEGRITY, A_XOR_MAPPED_ADDRESS, ATTRIBUTE_HEADER, BINDING_REQUEST, COOKIE, FAMILY_IPV4,
    FAMILY_IPV6, STUN_HEADER, IpAddress, StunAttribute, padded_size, store_address, store_header, store_padding,
)

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
    A_USERHASH = 0x001E
    A_PASSWORD_ALGORITHMS = 0x8002
    KEY_SIZE = 16
    MOST_TEXT = 763
    MOST_USERNAME = 512
    CHALLENGE_SIZE = 80  # bytes of a challenge that offers everything, but for the realm

cdef int CODES[GATE_CODES]
CODES[:] = [0, 400, 401, 420, 437, 438, 443]


cdef inline int index_of_code(int code) noexcept nogil:
    if code == 0:
        return 0
    if code == 400:
        return 1
    if code == 401:
        return 2
    return 3 if code == 420 else 4 if code == 437 else 5 if code == 438 else 6


cdef inline const char* reason_of(int code) noexcept nogil:
    if code == 400:
        return b"Bad Request"
    if code == 420:
        return b"Unknown Attribute"
    return b"Allocation Mismatch" if code == 437 else b"Peer Address Family Mismatch"


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
    cdef const char* features = NULL
    cdef uint8_t* to
    if not answers_to(g, client, now):
        return DROPPED
    if g.amplification * <double>index.size >= <double>(CHALLENGE_SIZE + padded_size(g.realm_size)):
        features = features_text(g.knows_names)
    begin_error(g, index, code, b"", out, size)
    add_bytes(out, size, A_REALM, g.realm, <uint16_t>g.realm_size)
    to = add(out, size, A_NONCE, TOKEN if features == NULL else FEATURES_SIZE + TOKEN)
    if features != NULL:
        memcpy(to, features, FEATURES_SIZE)
        to += FEATURES_SIZE
    write_token(g, client, <uint32_t><uint64_t>now, features, to)
    if features != NULL:
        add_bytes(out, size, A_PASSWORD_ALGORITHMS, <const char*>b"\0\1\0\0\0\2\0\0", 8)
    return ANSWERED


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


cdef void sign(const StunIndex* index, const KnownUser* user, uint8_t* out, uint32_t* size) noexcept nogil:
    """End an answer with what protects it."""
    cdef uint32_t covered = size[0]
    cdef uint8_t* to = add(out, size, A_MESSAGE_INTEGRITY, SHA1_SIZE)
    hmac_sha1_with(&user.key, out, STUN_HEADER, out + STUN_HEADER, covered - STUN_HEADER, to)
    if index.fingerprint != NOWHERE:
        add_fingerprint(out, size)


cdef void refuse_known(
    GateState* g, const StunIndex* index, uint32_t user, int code, uint8_t* out, uint32_t* size
) noexcept nogil:
    """Refuse a request of a known user with a code that this module knows."""
    begin_error(g, index, code, reason_of(code), out, size)
    sign(index, &g.users[user], out, size)


cdef Verdict take_known(
    GateState* g, const StunIndex* index, uint32_t number, bint allocated, uint8_t* out, uint32_t* size,
    uint32_t* known
) noexcept nogil:
    """Refuse what a known user must not ask for in this form; pass on the rest."""
    cdef uint8_t types[2 * MOST_UNKNOWN]
    cdef int unknown = unknown_types(index, types)
    cdef int method = method_of(load_be16(index.data))
    if unknown < 0:
        return PASSED_ON
    if unknown:
        begin_error(g, index, 420, reason_of(420), out, size)
        add_bytes(out, size, A_UNKNOWN_ATTRIBUTES, types, <uint16_t>(2 * unknown))
        sign(index, &g.users[number], out, size)
    elif method == ALLOCATE and allocated:
        refuse_known(g, index, number, 437, out, size)
    elif is_flawed(method, index):
        refuse_known(g, index, number, 400, out, size)
    else:
        known[0] = number
        return PASSED_ON
    return ANSWERED


cdef Verdict take_signed(
    GateState* g, const IpAddress* client, const StunIndex* index, bint allocated, double now, uint8_t* out,
    uint32_t* size, uint32_t* known
) noexcept nogil:
    """Check the credentials of a request (RFC 8489, 9.2.4)."""
    cdef StunAttribute found, nonce, username
    cdef size_t at = STUN_HEADER
    cdef bint hidden = False, realm = False, algorithms = False, features
    cdef uint32_t number
    nonce.value = username.value = NULL
    while next_counted(index, &at, &found):
        if found.type == A_NONCE:
            if nonce.value == NULL:
                nonce = found
        elif found.type == A_USERNAME:
            if username.value == NULL:
                username = found
        elif found.type == A_USERHASH:
            hidden = True
        elif found.type == A_REALM:
            realm = True
        elif found.type == A_PASSWORD_ALGORITHM or found.type == A_PASSWORD_ALGORITHMS:
            algorithms = True
    if nonce.value == NULL or not realm or not is_text(&nonce, MOST_TEXT):
        return refuse(g, client, index, 400, now, out, size)
    if not (hidden if username.value == NULL else is_text(&username, MOST_USERNAME)):
        return refuse(g, client, index, 400, now, out, size)
    if not is_fresh(g, client, &nonce, now, &features):
        return challenge(g, client, index, 438, now, out, size)
    if username.value == NULL or (algorithms and features):
        return PASSED_ON
    number = find_user(g, username.value, username.size)
    if not number:
        return PASSED_ON
    at = index.integrity_sha256
    if at != NOWHERE and load_be16(index.data + at + 2) == SHA256_SIZE:
        return PASSED_ON
    if at != NOWHERE or not sha1_fits(index, &g.users[number].key):
        return challenge(g, client, index, 401, now, out, size) if g.users[number].sole else PASSED_ON
    return take_known(g, index, number, allocated, out, size, known)


cdef Verdict judge(
    GateState* g, const IpAddress* client, StunIndex* index, const uint8_t* data, size_t size, bint allocated,
    double now, uint8_t* out, uint32_t* out_size, uint32_t* known
) noexcept nogil:
    """Answer a datagram, or tell who has to; the index is written here.

    ``allocated`` tells whether the client has an allocation that this cannot be the request for, sent again; ``out``
    has room for GATE_ROOM bytes. Where the datagram is passed on, ``known`` is the number of the user who sent it; 0
    where that is to be found out.
    """
    cdef unsigned int kind
    cdef int method
    known[0] = 0
    if (
        size < STUN_HEADER or data[0] & 0xC0 or data[3] & 3 or load_be32(data + 4) != COOKIE
        or STUN_HEADER + <size_t>load_be16(data + 2) != size or index_message(index, data, size)
    ):
        g.malformed += 1
        return DROPPED
    kind = load_be16(data)
    if kind & CLASS_BITS:
        return DROPPED
    if index.fingerprint != NOWHERE and not fingerprint_fits(index):
        g.malformed += 1
        return DROPPED
    method = method_of(kind)
    if method == 1:
        return bind(g, client, index, now, out, out_size) if g.binding else PASSED_ON
    if not is_turn_method(method):
        return refuse(g, client, index, 400, now, out, out_size)
    if not g.asks:
        return PASSED_ON
    if index.integrity == NOWHERE and index.integrity_sha256 == NOWHERE:
        return challenge(g, client, index, 401, now, out, out_size)
    return take_signed(g, client, index, allocated, now, out, out_size, known)


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
        knows_names: Whether every user name can be told from its hash, so that clients may hide theirs.
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
        int source_answers=0, bint binding=True, bint knows_names=True, bytes seed not None
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
        make_hmac_key(&g.nonce_key, <const uint8_t*>PyBytes_AS_STRING(nonce_key), NONCE_KEY_SIZE)
        memcpy(g.seeds, PyBytes_AS_STRING(seed), sizeof(g.seeds))
        g.nonce_lifetime = nonce_lifetime
        g.amplification = amplification
        g.source_answers = min(source_answers, 0xFFFF)
        g.binding = binding
        g.knows_names = knows_names
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
        make_hmac_key(&made.key, <const uint8_t*>PyBytes_AS_STRING(key), KEY_SIZE)
        made.name_size = size
        made.sole = sole
        made.hashed = hash_name(g, made.name, size)
        self.known.append(user)
        g.user_count += 1
        at = <uint32_t>(made.hashed >> 40) % SLOTS
        while g.slots[at]:
            at = (at + 1) % SLOTS
        g.slots[at] = g.user_count

    @property
    def knows_names(self):
        """Whether every user name can be told from its hash, so that clients may hide theirs."""
        return bool(self.state.knows_names)

    @knows_names.setter
    def knows_names(self, bint value):
        self.state.knows_names = value

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

    def judge(self, bytes host not None, int port, bytes data not None, *, double now, bint allocated=False):
        """Answer a datagram, or tell who has to.

        Args:
            host: 4 or 16 bytes of the address that it came from.
            port: The port.
            data: The datagram.
            now: Monotonic seconds.
            allocated: Whether the sender has an allocation, and this is no request that is sent again.

        Returns:
            ``("answered", answer, None)``, ``("dropped", b"", None)``, or ``("passed on", b"", user)`` with what
            :meth:`remember` was told of the user who sent it.
        """
        cdef IpAddress client
        cdef StunIndex index
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
            &self.state, &client, &index, <const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), allocated,
            now, out, &size, &known,
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
