"""Tasks with an owner: none runs on when the owner closes, and none fails in silence."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Coroutine
from contextvars import Context
from typing import Any

__all__ = ["TaskSet", "end_all"]

PATIENCE = 0.3

logger = logging.getLogger("librats.runtime")


class TaskSet:
    """The tasks of one owner. Unlike a ``TaskGroup`` it may be closed by another task than the one that made it.

    Args:
        expected: Exceptions that the owner collects from its tasks itself: they are not logged.

    Example:
        >>> async def main():
        ...     tasks = TaskSet()
        ...     tasks.create(asyncio.sleep(3600), name="a long wait")
        ...     await tasks.close()
        >>> asyncio.run(main())
    """

    def __init__(self, *, expected: type[Exception] | tuple[type[Exception], ...] = ()) -> None:
        self._expected = expected
        self._tasks: dict[asyncio.Task[Any], None] = {}  # in order, so that two runs end them alike

    def __len__(self) -> int:
        """Tasks that have not ended."""
        return len(self._tasks)

    def create(
        self, coroutine: Coroutine[Any, Any, Any], *, name: str, context: Context | None = None
    ) -> asyncio.Task[Any]:
        """Start a task. An exception that nobody else collects is logged.

        Args:
            coroutine: What it runs.
            name: Its name.
            context: Where it runs; a copy of the caller's where it is None.
        """
        task = asyncio.get_running_loop().create_task(coroutine, name=name, context=context)
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, self._expected):
            logger.error("task %s failed", task.get_name(), exc_info=error)

    def cancel(self) -> None:
        """Cancel every task, and wait for none."""
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        """Cancel every task but the caller's own, and wait until they have ended.

        One that does not end within :data:`PATIENCE` seconds of being cancelled, because it swallows that, is logged
        and left behind.
        """
        current = asyncio.current_task()
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while others := [task for task in self._tasks if task is not current]:
            for task in others:
                task.cancel()
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                for task in others:
                    logger.warning("task %s does not end though it was cancelled", task.get_name())
                    self._tasks.pop(task, None)
                return
            await asyncio.wait(others, timeout=left)


async def end_all(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and wait until they have ended; what they come to is nobody's any more."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
