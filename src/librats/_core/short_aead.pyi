from typing import Final

__pyx_capi__: dict[str, object]
AVAILABLE: Final[bool]
