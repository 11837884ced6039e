"""Numbers of the session framing that both directions share; librats.session.frames has them for Python."""


cdef enum:
    LENGTH_PREFIX = 4
    HEADER = 4
    MAX_NOISE = 65535
    MAX_PLAINTEXT = 65519
    MAX_BODY = 65515
    MAX_NAME = 255
    FRAME_COST = 64
    RELEASE_GIL_FROM = 1024  # bytes from which sealing or opening takes longer than giving the GIL away

cdef enum:
    F_MESSAGE = 0x01
    F_REQUEST = 0x02
    F_REPLY = 0x03
    F_ERROR = 0x04
    F_CANCEL = 0x05
    F_FRAGMENT = 0x06
    F_FOLLOWS = 0x07
    F_DATAGRAM = 0x08
    F_STREAM_OPEN = 0x10
    F_STREAM_DATA = 0x11
    F_STREAM_WINDOW = 0x12
    F_STREAM_RESET = 0x13
    F_STREAM_STOP = 0x14
    F_PING = 0x20
    F_PONG = 0x21
    F_GO_AWAY = 0x22
    F_REKEY = 0x23
    F_HELLO = 0x24
    F_PEERS = 0x25
    F_SUCCESSION = 0x26
    F_ACK = 0x30
    F_INTRODUCE = 0x33

cdef enum:
    KIND_JSON = 0

cdef enum:
    FRAGMENT_LAST = 0x01
    FRAGMENT_REPLY = 0x02
