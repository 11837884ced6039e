"""The fields of a KRPC message (BEP 5 and those behind it), and by which key each goes, inlined. Header only: there is
no module of this name.
"""

from libc.stdint cimport uint8_t
from libc.string cimport memcmp

cdef enum:
    # Of the message itself; those up to METHOD are strings that krpc.Head has.
    TRANSACTION
    KIND
    METHOD
    VERSION
    SEEN_AS
    READ_ONLY
    FAULT
    ARGUMENTS
    RETURN_VALUES
    # Of the arguments, or of the return values.
    ID
    TARGET
    INFO_HASH
    NODES
    NODES6
    VALUES
    TOKEN
    PORT
    IMPLIED_PORT
    WANT
    SEED
    NO_SEED
    SCRAPE
    SEEDS_FILTER
    PEERS_FILTER
    KEY
    SIGNATURE
    SEQUENCE
    COMPARE
    SALT
    ITEM
    SAMPLES
    NUMBER
    INTERVAL
    FIELDS
    NO_FIELD = FIELDS


cdef inline bint is_text(const uint8_t* key, const char* text, size_t size) noexcept nogil:
    return memcmp(key, text, size) == 0


cdef inline int field_of_message(const uint8_t* key, size_t size) noexcept nogil:
    if size == 1:
        if key[0] == b"t":
            return TRANSACTION
        if key[0] == b"y":
            return KIND
        if key[0] == b"q":
            return METHOD
        if key[0] == b"a":
            return ARGUMENTS
        if key[0] == b"r":
            return RETURN_VALUES
        if key[0] == b"v":
            return VERSION
        if key[0] == b"e":
            return FAULT
    elif size == 2:
        if is_text(key, "ip", 2):
            return SEEN_AS
        if is_text(key, "ro", 2):
            return READ_ONLY
    return NO_FIELD


cdef inline int field_of_body(const uint8_t* key, size_t size) noexcept nogil:
    if size == 2:
        return ID if is_text(key, "id", 2) else NO_FIELD
    if size == 5:
        return NODES if is_text(key, "nodes", 5) else TOKEN if is_text(key, "token", 5) else NO_FIELD
    if size == 6:
        if key[0] == b"t":
            return TARGET if is_text(key, "target", 6) else NO_FIELD
        if key[0] == b"v":
            return VALUES if is_text(key, "values", 6) else NO_FIELD
        if key[0] == b"s":
            return SCRAPE if is_text(key, "scrape", 6) else NO_FIELD
        return NODES6 if is_text(key, "nodes6", 6) else NO_SEED if is_text(key, "noseed", 6) else NO_FIELD
    if size == 9:
        return INFO_HASH if is_text(key, "info_hash", 9) else NO_FIELD
    if size == 1:
        return KEY if key[0] == b"k" else ITEM if key[0] == b"v" else NO_FIELD
    if size == 3:
        if key[0] == b"s":
            return SEQUENCE if is_text(key, "seq", 3) else SIGNATURE if is_text(key, "sig", 3) else NO_FIELD
        return COMPARE if is_text(key, "cas", 3) else NUMBER if is_text(key, "num", 3) else NO_FIELD
    if size == 4:
        if key[0] == b"p" or key[0] == b"w":
            return PORT if is_text(key, "port", 4) else WANT if is_text(key, "want", 4) else NO_FIELD
        if key[0] == b"s":
            return SALT if is_text(key, "salt", 4) else SEED if is_text(key, "seed", 4) else NO_FIELD
        return SEEDS_FILTER if is_text(key, "BFsd", 4) else PEERS_FILTER if is_text(key, "BFpe", 4) else NO_FIELD
    if size == 7:
        return SAMPLES if is_text(key, "samples", 7) else NO_FIELD
    if size == 8:
        return INTERVAL if is_text(key, "interval", 8) else NO_FIELD
    return IMPLIED_PORT if size == 12 and is_text(key, "implied_port", 12) else NO_FIELD


cdef inline int method_of(const uint8_t* name, size_t size) noexcept nogil:
    """The place of a name in METHODS; 0 where it is not one of them."""
    if size == 4:
        return 1 if is_text(name, "ping", 4) else 0
    if size == 9:
        return 2 if is_text(name, "find_node", 9) else 3 if is_text(name, "get_peers", 9) else 0
    if size == 13:
        return 4 if is_text(name, "announce_peer", 13) else 0
    if size == 3:
        return 5 if is_text(name, "get", 3) else 6 if is_text(name, "put", 3) else 0
    return 7 if size == 17 and is_text(name, "sample_infohashes", 17) else 0
