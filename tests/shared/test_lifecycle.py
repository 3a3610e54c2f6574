import signal
import subprocess
import sys
import textwrap

import pytest

from shared import lifecycle
from shared.lifecycle import EXIT_FORCED, _Signals, run


def python(source):
    return subprocess.Popen(
        [sys.executable, "-u", "-c", textwrap.dedent(source)], stdout=subprocess.PIPE, text=True
    )


STUBBORN = """
    import asyncio, sys
    from shared import lifecycle
    from shared.lifecycle import run
    lifecycle._SAME_SIGNAL = {same}
    async def main(stop):
        print("up")
        await stop.wait()
        print("stopping")
        if {stubborn}:
            await asyncio.Event().wait()
    sys.exit(run(main))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_sets_the_stop_event_and_the_exit_code_is_zero(number):
    with python(STUBBORN.format(same=1.0, stubborn=False)) as child:
        assert child.stdout.readline() == "up\n"
        child.send_signal(number)
        assert child.stdout.readline() == "stopping\n"
        assert child.wait(timeout=40) == 0


def test_a_second_signal_cancels_at_once():
    with python(STUBBORN.format(same=0.0, stubborn=True)) as child:
        assert child.stdout.readline() == "up\n"
        child.terminate()
        assert child.stdout.readline() == "stopping\n"
        child.terminate()
        assert child.wait(timeout=40) == EXIT_FORCED


def test_the_same_signal_delivered_twice_is_one(monkeypatch):
    events = []

    class Stop:
        def set(self):
            events.append("stop")

    class Task:
        def cancel(self):
            events.append("cancel")

    times = iter([100.0, 100.1, 101.5])
    monkeypatch.setattr(lifecycle.time, "monotonic", lambda: next(times))
    signals = _Signals(Stop(), Task())
    signals.came()
    signals.came()
    assert events == ["stop"]
    assert not signals.forced
    signals.came()
    assert events == ["stop", "cancel"]
    assert signals.forced


def test_a_main_that_returns_ends_with_zero():
    async def main(stop):
        assert not stop.is_set()

    assert run(main) == 0


def test_an_exception_of_main_passes_through():
    async def main(_stop):
        raise LookupError("no model")

    with pytest.raises(LookupError, match="no model"):
        run(main)


def test_handlers_are_put_back():
    async def main(_stop):
        pass

    before = signal.getsignal(signal.SIGTERM)
    run(main)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_hang_up_that_was_switched_off_stays_so(monkeypatch):
    monkeypatch.setattr(lifecycle.signal, "getsignal", lambda _: signal.SIG_IGN)
    assert signal.SIGHUP not in lifecycle._heard()
