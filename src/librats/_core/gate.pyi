from typing import Any, Literal, final

__pyx_capi__: dict[str, object]

@final
class Gate:
    def __new__(
        cls,
        *,
        realm: str | None,
        nonce_key: bytes,
        nonce_lifetime: int = ...,
        amplification: float = ...,
        source_answers: int = ...,
        binding: bool = ...,
        knows_names: bool = ...,
        seed: bytes,
    ) -> Gate: ...
    knows_names: bool
    def remember(self, username: str, key: bytes, user: Any, *, sole: bool) -> None: ...
    def forget(self) -> None: ...
    def admits(self, source: bytes, *, now: float) -> bool: ...
    def judge(
        self, host: bytes, port: int, data: bytes, *, now: float, allocated: bool = False
    ) -> tuple[Literal["answered", "dropped", "passed on"], bytes, Any]: ...
    @property
    def malformed(self) -> int: ...
    @property
    def unanswered(self) -> int: ...
    @property
    def answers(self) -> dict[tuple[int, int], int]: ...
