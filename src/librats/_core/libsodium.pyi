from typing import Final

__pyx_capi__: dict[str, object]
BACKEND: Final[str]
