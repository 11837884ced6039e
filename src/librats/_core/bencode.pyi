from typing import Any, Final

from typing_extensions import Buffer

from librats._core.bencoder import encode as encode

__pyx_capi__: dict[str, object]

MAX_DEPTH: Final = 64
MAX_TOKENS: Final = 100_000

def decode(data: Buffer, *, strict: bool = True, max_depth: int = 64, max_tokens: int = 100_000) -> Any: ...
def decode_prefix(
    data: Buffer, *, strict: bool = True, max_depth: int = 64, max_tokens: int = 100_000
) -> tuple[Any, int]: ...
