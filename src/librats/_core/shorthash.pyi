__pyx_capi__: dict[str, object]
HASH_BACKEND: str

def siphash(data: bytes, key: bytes) -> bytes: ...
