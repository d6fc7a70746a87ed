"""What a step's process says: scrubbed wherever it is cut, stored while it runs, in bounded memory."""

from __future__ import annotations

import threading
import time

import pytest

from mandamus.executors.model import Command
from mandamus.executors.process import CHUNK_BYTES

ENV = {"PATH": "/usr/bin:/bin"}
LONG_S = 60.0
# Of this file alone: another looks for its own in every process of the machine.
SECRET = "tramway-lantern-grommet"
UNTIL_GO = "while [ ! -e go ]; do sleep 0.02; done"


def shell(text: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", text)


def python(text: str, *arguments: str) -> tuple[str, ...]:
    return ("/usr/bin/python3", "-c", text, *arguments)


@pytest.mark.parametrize("size", [1, 7, 64, 4096, CHUNK_BYTES])
def test_a_secret_is_scrubbed_wherever_output_is_cut(run, size):
    """Output that arrives in any pieces, with a secret across their borders, is stored without the secret."""
    program = (
        "import os, sys, time\ndata = sys.stdin.buffer.read()\nsize = int(sys.argv[1])\n"
        "for at in range(0, len(data), size):\n    os.write(1, data[at:at + size])\n"
        "    if size < 64: time.sleep(0.001)\n"
    )
    padding = b"x" * (200 if size < 64 else CHUNK_BYTES - 11)
    data = padding + SECRET.encode() + b" middle " + SECRET.encode() + padding + SECRET.encode()
    task, done = run(*python(program, str(size)), stdin=data, secrets={"A": SECRET})
    mark = task.redactor.mark(SECRET).encode()
    assert task.output.data == data.replace(SECRET.encode(), mark)
    assert SECRET not in done.tail
    assert done.ok


def test_a_secret_at_the_very_end_is_not_lost(run):
    """What the scrubber holds back until it is sure is stored when the output ends."""
    task, _ = run(*shell(f"printf '%s' '{SECRET[:-1]}'"), secrets={"A": SECRET})
    assert task.output.text == SECRET[:-1]


def test_whoever_listens_gets_standard_output_raw_and_the_log_gets_it_scrubbed(run):
    """``on_stdout`` sees every byte; with ``log_stdout=False`` only errors are logged."""
    heard: list[bytes] = []
    text = f"echo {SECRET}; echo error {SECRET} >&2"
    task, _ = run(*shell(text), secrets={"A": SECRET}, options={"on_stdout": heard.append, "log_stdout": False})
    assert b"".join(heard) == f"{SECRET}\n".encode()
    assert SECRET not in task.output.text
    assert task.output.text.startswith("error redacted:")


def test_output_is_stored_while_the_step_runs(runner, make_task):
    """A line is there for whoever follows the run long before the step ends."""
    task = make_task(deadline_s=2 * LONG_S)
    command = Command(shell(f"echo early; {UNTIL_GO}; echo late"), task.box, ENV, b"", (task.box,))
    thread = threading.Thread(target=runner.run, args=(task, command))
    thread.start()
    try:
        end_s = time.monotonic() + LONG_S
        while "early" not in task.output.text and time.monotonic() < end_s:
            time.sleep(0.02)
        assert task.output.text == "early\n"
    finally:
        (task.box / "go").touch()
        thread.join()
    assert task.output.text == "early\nlate\n"


def test_a_hundred_megabytes_of_output_pass_in_bounded_memory(run, mode):
    """Output goes through in pieces of 64 KiB; neither memory nor the number of writes grows with it."""
    sizes: list[int] = []

    class Counted:
        pending = False
        total = 0

        def append(self, data: bytes) -> None:
            sizes.append(len(data))
            self.total += len(data)

        def flush(self) -> None:
            """Nothing waits."""

        def close(self) -> None:
            """Nothing to end."""

    counted = Counted()
    task, done = run(*shell("head -c 100000000 /dev/zero | tr '\\0' 'x'; echo end"), mode=mode, output=counted)
    assert done.ok
    assert task.output.total == 100_000_004
    assert max(sizes) <= CHUNK_BYTES
    assert len(done.tail) <= 4096
    assert done.tail.endswith("xend\n")
