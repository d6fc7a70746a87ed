from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from mandamus.cli.interrupt import Interrupt
from mandamus.kernel.errors import Exit

LONG_S = 60
"""How long a busy machine may take; the program lasts 300 s when nothing ends it."""

PROGRAM = """
import os, sys, time
from mandamus.cli.interrupt import Interrupt

def say(text):
    # A buffered stream that two threads and a signal handler share loses a flush now and then.
    os.write(1, f"{text}\\n".encode())

def rest(seconds):
    # Python runs a handler between two calls: one that is due right before a long wait would be late by all of it.
    for _ in range(seconds * 20):
        time.sleep(0.05)

def cancel(run):
    say(f"cancelled {run}")

kind = sys.argv[1]
with Interrupt(cancel if kind != "leave" else None, lambda run: f"mandamus runs show {run}") as interrupt:
    if kind != "early":
        interrupt.guard("run_x")
    try:
        say("ready")
        rest(300)
    finally:
        say("left")
        rest(300 if kind == "leave" else 0)
"""


@pytest.fixture
def program():
    """Starts the program; it has its handlers in place when this returns."""
    started: list[subprocess.Popen[str]] = []

    def start(kind: str) -> subprocess.Popen[str]:
        made = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, kind], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(made)
        assert made.stdout.readline() == "ready\n"
        return made

    yield start
    for made in started:
        made.kill()
        made.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_once_cancels_twice_leaves(program, number):
    """The first interrupt asks the run to stop and waits; the second ends this process at once, with exit code 6."""
    made = program("guarded")
    made.send_signal(number)
    assert made.stdout.readline() == "cancelled run_x\n"
    assert made.poll() is None
    made.send_signal(number)
    assert made.wait(LONG_S) == Exit.INDETERMINATE
    talk = made.stderr.read()
    assert "interrupt again to leave at once" in talk
    assert "mandamus runs show run_x" in talk


def test_who_looks_on_leaves_the_run_alone(program):
    """Without the right to cancel an interrupt leaves; another one does not wait for what this process still does."""
    made = program("leave")
    began_s = time.monotonic()
    made.send_signal(signal.SIGINT)
    assert made.stdout.readline() == "left\n"
    assert time.monotonic() - began_s < LONG_S
    assert made.poll() is None
    made.send_signal(signal.SIGINT)
    assert made.wait(LONG_S) == Exit.INDETERMINATE
    assert "leaving, run_x goes on" in made.stderr.read()


def test_before_there_is_a_run_it_is_the_ordinary_interrupt(program):
    """Nothing is cancelled that was never asked for."""
    made = program("early")
    made.send_signal(signal.SIGINT)
    assert made.stdout.readline() == "left\n"
    assert made.wait(LONG_S) == -signal.SIGINT


def test_handlers_are_put_back():
    """After a command the process has the handlers it had before."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Interrupt(None, str):
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
