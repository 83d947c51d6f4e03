"""Signals that come at a bad moment are handled a little later."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held(*numbers: int) -> Iterator[None]:
    """Have what handles the signals `numbers` in Python do so when the block ends, where they come inside.

    Only the main thread handles signals: in any other, nothing is held.
    """
    main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in numbers if main and callable(signal.getsignal(number))}
    came: list[int] = []
    for number in handlers:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
