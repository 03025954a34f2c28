"""Networks on a CPU side by side: several threads, each with operations of one thread.

Threads inside an operation meet at its end; where another program holds one of the cores, all wait for that one thread,
hundreds of times a batch. Threads that each do a whole batch meet once (docs/performance.md).
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """Operations of torch use one thread within the block, in this thread and in those that are started there."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def mapped(work: Callable[[Item], Result], items: Iterable[Item], *, threads: int) -> Iterator[Result]:
    """What `work` makes of each item, in order; of the items, two a thread at most are held."""
    waiting: deque[Future[Result]] = deque()
    with one_thread_each(), ThreadPoolExecutor(threads) as pool:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
