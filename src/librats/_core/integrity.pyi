from typing import Final

__pyx_capi__: dict[str, object]
BY_OPENSSL: Final[bool]
