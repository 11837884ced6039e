from typing import final

@final
class FlowTable:
    def __init__(self) -> None: ...
