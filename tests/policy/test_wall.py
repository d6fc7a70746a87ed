"""What a worker can reach: no variable, no network, no file, no more than its limits."""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path

import pytest

from mandamus.policy import bundle
from mandamus.policy.model import RULE, Bundle, Entry
from mandamus.policy.pool import Limits, WorkerPool

GREETS = """
import os, struct
said = repr(sorted(os.environ)) + "|" + os.getcwd() + "|" + repr(sorted(os.listdir("/proc/self/fd")))
os.write(1, struct.pack("<4sIIBB", b"MPW1", 0, len(said), 0, 0) + said.encode())
os.read(0, 1)
"""


def unchecked(rules: str) -> Bundle:
    """A set that never passed `check`: what the walls are for."""
    entries = [Entry("plan", "mandamus.plan.deny", f"v := {RULE}", "deny")]
    return bundle.unpack(bundle.pack({"p.rego": f"package mandamus.plan\n\n{rules}\n"}, entries))


@pytest.fixture
def canary():
    """A listener on loopback that tells whether anybody came."""
    visits = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def wait():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                visits.append(connection.recv(100))
                connection.close()

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        yield listener.getsockname()[1], visits
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_a_worker_is_started_without_our_environment(real_clock, monkeypatch, made):
    """Tokens in our variables, our folder and our open files are not handed down."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter22")
    held, other = os.pipe()
    os.set_inheritable(held, True)
    pool = WorkerPool(real_clock, Limits(decide_s=0.2), lambda: [sys.executable, "-ISc", GREETS])
    with pytest.raises(Exception, match="worker"):
        pool.evaluate(unchecked('deny contains "no"'), b"{}")
    pool.close()
    os.close(held)
    os.close(other)
    variables, folder, descriptors = pool.network.split("|")
    # Python adds LC_CTYPE of its own when it finds no locale.
    assert set(eval_list(variables)) - {"LC_CTYPE"} == {"GOGC", "GOMAXPROCS", "TZ"}
    assert folder == "/"
    # The fourth is the listing itself.
    assert eval_list(descriptors) == ["0", "1", "2", "3"]


def eval_list(text: str) -> list[str]:
    return [part.strip("' ") for part in text.strip("[]").split(",")]


def test_a_policy_finds_no_environment(pool):
    """Also from inside OPA: the runtime holds no variable."""
    value = pool.evaluate(unchecked("deny contains json.marshal(opa.runtime())"), b'{"point":"plan"}')
    assert value["mandamus.plan.deny"] == [["set", ["{}"]]]


def test_a_policy_reaches_nobody(pool, canary):
    """A set that was never checked calls out, by name and by address: no packet leaves, and the answer is no."""
    port, visits = canary
    rules = f"""
deny contains "in" if http.send({{"method": "get", "url": "http://127.0.0.1:{port}/", "timeout": "1s"}}).status_code
deny contains sprintf("resolved %v", [net.lookup_ip_addr("localhost.")])
"""
    calls = unchecked(rules)
    with pytest.raises(Exception, match=r"eval_error|http_send|lookup"):
        pool.evaluate(calls, b'{"point":"plan"}')
    if pool.network != "isolated":
        pytest.skip(f"this machine gives no network name space: {pool.network}; only the check at publish holds here")
    assert visits == []


def test_the_canary_sings(canary):
    """The listener above would have seen a visitor."""
    port, visits = canary
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"hello")
        connection.recv(1)
    assert visits == [b"hello"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into a process that cannot be dumped")
def test_a_worker_holds_its_limits(own_pool, made):
    """Memory, files, cores and privileges are bounded for the process as the kernel sees it."""
    pool = own_pool(memory_bytes=2 << 30, cpu_s=3)
    pool.evaluate(made({"p.rego": 'package mandamus.plan\n\ndeny contains "no" if input.x\n'}), b'{"point":"plan"}')
    (pid,) = pool.pids()
    limits = {line[:26].strip(): line[26:].split()[:2] for line in Path(f"/proc/{pid}/limits").read_text().splitlines()}
    assert limits["Max address space"] == [str(2 << 30)] * 2
    assert limits["Max open files"] == ["16", "16"]
    assert limits["Max file size"] == ["0", "0"]
    assert limits["Max core file size"] == ["0", "0"]
    assert int(limits["Max cpu time"][0]) <= 5
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
    )
    assert status["NoNewPrivs"] == "1"
    ours, theirs = (Path(f"/proc/{who}/ns/net").readlink() for who in ("self", pid))
    assert (ours != theirs) == (pool.network == "isolated")


def test_workers_end_with_their_pool(own_pool, made):
    """Closing leaves no process behind, whether it waited or was never asked."""
    pool = own_pool()
    pool.evaluate(made({"p.rego": 'package mandamus.plan\n\ndeny contains "no" if input.x\n'}), b'{"point":"plan"}')
    pids = pool.pids()
    assert pids
    pool.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    with pytest.raises(Exception, match="shutting down"):
        pool.evaluate(unchecked('deny contains "no"'), b"{}")
