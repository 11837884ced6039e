"""SHA-256 of many parts of one buffer in one call."""

from typing_extensions import Buffer

INTERPRETER_OPENSSL: bool

def sha256_each(data: Buffer, part: int) -> bytes: ...
