from collections.abc import Callable
from typing import Any, Final, final

@final
class Changes:
    count: Final[int]
    def add(self) -> None: ...

@final
class Handing:
    handled: Final[int]
    def __new__(cls, values: list[Any], changes: Changes) -> Handing: ...
    def go_on(self, handler: Callable[[Any, Any], Any], peer: Any) -> Any: ...
