"""Signals that come at a bad moment."""

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


def test_a_signal_is_handled_when_the_block_has_ended_and_once(number):
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


def test_a_signal_that_is_ignored_stays_so(number):
    signal.signal(number, signal.SIG_IGN)
    with deferred(number):
        signal.raise_signal(number)
    assert signal.getsignal(number) is signal.SIG_IGN


def test_outside_the_main_thread_signals_are_not_deferred(number):
    seen = []

    def block():
        with deferred(number):
            seen.append(signal.getsignal(number))

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert seen == [interrupt]
