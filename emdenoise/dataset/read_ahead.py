"""Reading ahead: one thread reads the next batches while the network learns from this one.

Which batches are read, and in which order, is what the training asks for, so its numbers do not depend on the depth.
"""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

Batch = TypeVar("Batch")
Batch_co = TypeVar("Batch_co", covariant=True)


class Reader(Protocol[Batch_co]):
    """What can be read ahead: batches by epoch and step."""

    def __len__(self) -> int:
        """Count the steps of an epoch."""

    def read(self, epoch: int, step: int) -> Batch_co:
        """Read one batch."""


class ReadAhead(Generic[Batch]):
    """The batches of a reader, of which the next ones are read by a thread before they are asked for.

    The thread lives inside the ``with`` block. It goes on to the next epoch, up to the last one. At most `depth`
    batches wait at a time, besides the one that was given last.

    Parameters
    ----------
    reader : Reader
        Only the thread reads from it.
    depth : int
        Batches that are read ahead; 0 reads each one when it is asked for, without a thread.
    num_epochs : int
        Epochs of the training.

    Examples
    --------
    >>> class Squares:
    ...     def __len__(self) -> int:
    ...         return 3
    ...
    ...     def read(self, epoch: int, step: int) -> int:
    ...         return (10 * epoch + step) ** 2
    >>> with ReadAhead(Squares(), depth=2, num_epochs=2) as batches:
    ...     [batches.read(epoch, step) for epoch in range(2) for step in range(3)]
    [0, 1, 4, 100, 121, 144]
    """

    def __init__(self, reader: Reader[Batch], depth: int, num_epochs: int) -> None:
        self._reader, self._depth, self._num_epochs = reader, depth, num_epochs
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: deque[tuple[tuple[int, int], Future[Batch]]] = deque()

    def __enter__(self) -> Self:
        if self._depth:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="read ahead")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._waiting.clear()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def __len__(self) -> int:
        """Count the steps of an epoch."""
        return len(self._reader)

    def read(self, epoch: int, step: int) -> Batch:
        """Give one batch; raises what the reader raises for it.

        Parameters
        ----------
        epoch, step : int
            From 0. Any batch may be asked for; the one that follows the last one is there soonest.
        """
        if self._pool is None:
            return self._reader.read(epoch, step)
        if not self._waiting or self._waiting[0][0] != (epoch, step):
            self._forget()
            self._ask(self._pool, (epoch, step))
        _, asked = self._waiting.popleft()
        place: tuple[int, int] | None = self._waiting[-1][0] if self._waiting else (epoch, step)
        while place is not None and len(self._waiting) < self._depth:
            place = self._find_next(place)
            if place is not None:
                self._ask(self._pool, place)
        return asked.result()

    def _ask(self, pool: ThreadPoolExecutor, place: tuple[int, int]) -> None:
        self._waiting.append((place, pool.submit(self._reader.read, *place)))

    def _find_next(self, place: tuple[int, int]) -> tuple[int, int] | None:
        epoch, step = place
        if step + 1 < len(self):
            return epoch, step + 1
        return (epoch + 1, 0) if epoch + 1 < self._num_epochs else None

    def _forget(self) -> None:
        """Drop what nobody will ask for: a training that goes on jumps to its step."""
        for _, asked in self._waiting:
            asked.cancel()
        self._waiting.clear()
