"""Signals are deferred to the end of a block that must not be interrupted."""

import signal
import threading

import pytest

from cache.signals import deferred


def interrupt(*_):
    raise KeyboardInterrupt


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM])
def number(request):
    before = signal.signal(request.param, interrupt)
    yield request.param
    signal.signal(request.param, before)


def test_a_repeated_signal_is_handled_once_after_the_block(number):
    done = []

    def block():
        with deferred(signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(number)
            signal.raise_signal(number)
            done.append(number)

    with pytest.raises(KeyboardInterrupt):
        block()
    assert done == [number]
    assert signal.getsignal(number) is interrupt


def test_an_ignored_signal_stays_ignored(number):
    signal.signal(number, signal.SIG_IGN)
    with deferred(number):
        signal.raise_signal(number)
    assert signal.getsignal(number) is signal.SIG_IGN


def test_outside_the_main_thread_signals_are_not_deferred(number):
    handlers = []

    def block():
        with deferred(number):
            handlers.append(signal.getsignal(number))

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert handlers == [interrupt]
