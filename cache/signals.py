"""Deferred signals: those that come at a bad moment are handled a little later."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def deferred(*numbers: int) -> Iterator[None]:
    """Defer the Python handlers of the signals `numbers` until the block ends.

    Only the main thread handles signals: in any other thread this does nothing.
    """
    main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in numbers if main and callable(signal.getsignal(number))}
    received: list[int] = []
    for number in handlers:
        signal.signal(number, lambda number, _: received.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if received:
            signal.raise_signal(received[0])
