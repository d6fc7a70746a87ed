from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from mandamus.executors.launch import VALUE_BYTES_MAX
from mandamus.executors.model import Command, Limits, SandboxPolicy
from mandamus.executors.process import build_runner
from mandamus.kernel.errors import Code, MandamusError

CANARY = "canary-7f3a9c51d2"
ENV = {"PATH": "/usr/bin:/bin"}


@pytest.fixture
def inside(runner, make_task):
    """Runs a shell text in the sandbox; gives its output and how it ended."""

    def run(text: str, *, env=None, stdin=b"", writable=True, read_only=(), **fields):
        task = make_task(**fields)
        command = Command(
            argv=("/bin/sh", "-c", text),
            cwd=task.box,
            env={**ENV, **(env or {})},
            stdin=stdin,
            writable=(task.box,) if writable else (),
            read_only=(*read_only, *(() if writable else (task.box,))),
        )
        done = runner.run(task, command)
        return task.output.text, done

    return run


def test_nothing_of_the_launchers_environment_is_inside(inside, monkeypatch, runner):
    """A secret in the platform's environment is found in no process of the sandbox, whatever it reads of /proc."""
    monkeypatch.setenv("PLANTED", CANARY)
    text, done = inside(
        "for f in /proc/*/environ /proc/*/task/*/environ /proc/self/environ /proc/*/cmdline; do cat $f; done; env",
        env={"MINE": "yes"},
    )
    assert done.ok
    assert CANARY not in text
    assert "MINE=yes" in text
    assert "HOME=" not in text


def test_only_what_was_given_is_to_be_seen(inside, make_task, tmp_path):
    """Of the host there is the system to read, the source to read and the box to write; nothing else exists."""
    (tmp_path / "home.key").write_text(CANARY)
    source = tmp_path / "source"
    source.mkdir(exist_ok=True)
    (source / "main.tf").write_text("readable")
    gone = ("/home", "/root", "/var", "/run", "/etc/shadow", "/etc/ssh", "/etc/ssl/private", "/work")
    shown = " ".join(gone)
    text, _ = inside(
        f"ls -d {shown} 2>&1; cat {source}/main.tf; cat {tmp_path}/home.key; cat /etc/passwd; "
        f"echo SEEN $(ls {tmp_path})",
        read_only=(source,),
    )
    assert CANARY not in text
    assert "readable" in text
    assert "root:x:0:0" in text
    for path in gone:
        assert f"'{path}': No such file" in text
    assert set(text.split("SEEN")[1].split()) == {"source", "work"}


def test_a_step_is_nobody_with_no_powers(inside):
    """Uid 65534, no capability in any set, no new privileges, and no namespace of its own to gain them in."""
    text, _ = inside("id -u; id -g; grep -E '^(Cap|NoNewPrivs|Seccomp)' /proc/self/status; unshare -Ur true; echo $?")
    lines = text.splitlines()
    assert lines[:2] == ["65534", "65534"]
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert f"{name}:\t0000000000000000" in lines
    assert "NoNewPrivs:\t1" in lines
    assert lines[-1] != "0"


def test_only_the_box_is_writable(inside, tmp_path):
    """Writes go to the box and to a private /tmp; the source, the system and every other folder refuse them."""
    source = tmp_path / "source"
    source.mkdir(exist_ok=True)
    places = [source, "/", "/usr", "/etc", "/bin", "/dev", "/proc/sys/kernel"]
    tries = "; ".join(f"(: > {place}/planted) 2>/dev/null && echo WROTE {place}" for place in places)
    text, _ = inside(
        f"{tries}; now=$(cat /proc/sys/kernel/panic); echo $now > /proc/sys/kernel/panic && echo WROTE sysctl; "
        "echo 7 > /proc/self/oom_score_adj 2>/dev/null && echo WROTE proc; "
        f"echo ok > mine && echo ok > /tmp/{tmp_path.name} && cat mine /tmp/{tmp_path.name}; mount -o remount,rw /; "
        "mkdir /dev/shm/x && echo shm",
        read_only=(source,),
    )
    assert "WROTE" not in text
    assert text.count("ok") == 2
    assert "shm" in text
    assert (tmp_path / "work" / "box" / "mine").read_text() == "ok\n"
    assert not Path("/tmp", tmp_path.name).exists()


def test_without_network_there_is_none(inside):
    """A pool without network has no interface but an empty loopback, also towards services of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        text, _ = inside(
            f"ls /sys/class/net 2>/dev/null; cat /proc/net/dev | tail -n +3; "
            f"python3 -c \"import socket; socket.create_connection(('127.0.0.1', {port}), 2)\" 2>&1 | tail -1; "
            "ls /etc/resolv.conf"
        )
        assert "Connection refused" in text
        assert "eth" not in text
        with pytest.raises(TimeoutError):
            server.accept()
        accepted = threading.Thread(target=server.accept)
        accepted.start()
        text, _ = inside(
            f"python3 -c \"import socket; socket.create_connection(('127.0.0.1', {port}), 2); print('reached')\"",
            sandbox=SandboxPolicy(network=True),
        )
        accepted.join()
        assert "reached" in text


def test_abstract_sockets_of_the_host_are_out_of_reach(inside):
    """Without network there are no sockets to talk to the services of the host by, whatever their name."""
    name = f"mandamus-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{name}")
        server.listen()
        text, _ = inside(
            f"python3 -c \"import socket; socket.socket(socket.AF_UNIX).connect(chr(0) + '{name}'); print('reached')\""
        )
    assert "reached" not in text
    assert "Connection refused" in text


def test_a_step_gets_three_descriptors(inside):
    """Standard input, output and error, and in none of its processes anything by which we learn how it ended."""
    text, _ = inside(
        "ls /proc/self/fd; cat; for f in /proc/1/fd/* /proc/self/fd/*; do readlink $f; done", stdin=b"given\n"
    )
    listed = text.splitlines()
    assert listed[:5] == ["0", "1", "2", "3", "given"]  # 3 is ls reading the folder
    pipes = {line for line in listed if line.startswith("pipe:")}
    files = {line for line in listed if line.startswith("/memfd:")}
    assert len(pipes) == 1
    assert len(files) == 1
    assert set(listed[5:]) - pipes - files <= {"anon_inode:[eventfd]"}


def test_processes_and_names_are_the_steps_own(inside):
    """The step sees its own processes only, and nothing tells it the name of the host."""
    text, _ = inside("ls /proc | grep -c '^[0-9]'; hostname; ls /dev")
    lines = text.splitlines()
    assert int(lines[0]) <= 5
    assert lines[1] == "step"
    assert "sda" not in text
    assert "mem" not in lines


def test_limits_hold(inside):
    """Open files, file size, core dumps and the size of /tmp are bounded inside."""
    limits = Limits(files=64, file_bytes=1_000_000, tmp_bytes=2_000_000)
    text, _ = inside(
        "ulimit -n; ulimit -f; ulimit -c; head -c 3000000 /dev/zero > big; wc -c < big; "
        "for i in 1 2 3; do head -c 900000 /dev/zero > /tmp/$i; done; cat /tmp/* | wc -c",
        sandbox=SandboxPolicy(limits=limits),
    )
    assert text.split()[:3] == ["64", str(1_000_000 // 512), "0"]
    assert "File size limit exceeded" in text
    numbers = [int(word) for word in text.split() if word.isdigit()]
    assert 1_000_000 in numbers
    assert numbers[-1] <= 2_000_000 + 4096  # whole pages


def test_a_fork_bomb_ends_with_its_step(inside):
    """More processes than the pool allows cannot be started, where a control group can be made or as no root."""
    text, done = inside(
        'python3 -c "\nimport os, time\nn = 0\ntry:\n    while n < 400:\n        pid = os.fork()\n'
        "        if pid == 0:\n            time.sleep(60)\n        n += 1\n"
        "except OSError:\n    pass\nprint('forked', n)\"",
        sandbox=SandboxPolicy(limits=Limits(processes=50)),
    )
    assert done.code == 0
    forked = int(text.split("forked")[1])
    groups = Path("/sys/fs/cgroup/pids").exists() or Path("/sys/fs/cgroup/cgroup.controllers").exists()
    if os.getuid() != 0 or groups:
        assert forked < 50


def test_what_linux_cannot_pass_is_refused_with_a_name(inside):
    """A variable with a NUL, a name with =, or over 128 KiB is an error that names it; nothing is started."""
    for name, value in [("A", "x\0y"), ("A=B", "x"), ("", "x"), ("A", "x" * VALUE_BYTES_MAX)]:
        with pytest.raises(MandamusError) as error:
            inside("true", env={name: value})
        assert error.value.code is Code.VALUE_INVALID
    text, _ = inside("printf %s $A | wc -c", env={"A": "x" * (VALUE_BYTES_MAX - 3)})
    assert text.strip() == str(VALUE_BYTES_MAX - 3)


def test_without_bubblewrap_a_required_sandbox_stops_and_says_how_to_go_on(real_clock, make_task, tmp_path):
    """A missing sandbox is never silently left out; ``none`` has to be asked for."""
    fake = tmp_path / "bin"
    fake.mkdir()
    python = Path("/usr/bin/python3")
    for text in (None, "#!/bin/sh\necho 'no user namespaces' >&2; exit 1\n"):
        if text is not None:
            (fake / "bwrap").write_text(text)
            (fake / "bwrap").chmod(0o755)
        runner = build_runner(real_clock, {"PATH": str(fake)}, python)
        task = make_task()
        for call in (
            lambda runner=runner, task=task: runner.check(task.sandbox),
            lambda runner=runner, task=task: runner.run(task, Command(("/bin/true",), task.box, ENV, b"", (task.box,))),
        ):
            with pytest.raises(MandamusError) as error:
                call()
            assert error.value.code is Code.SANDBOX_UNAVAILABLE
            assert "sandbox: none" in error.value.remedy
    bare = dataclasses.replace(task, sandbox=SandboxPolicy(mode="none"))
    runner.check(bare.sandbox)
    assert runner.run(bare, Command(("/bin/true",), bare.box, ENV, b"", (bare.box,))).ok


def test_a_word_other_than_none_never_opens_the_sandbox(inside):
    """Whatever the mode says, only the exact word ``none`` runs without isolation."""
    for mode in ("None", "off", "", "required"):
        text, _ = inside("id -u; hostname", sandbox=SandboxPolicy(mode=mode))
        assert text.split() == ["65534", "step"]


def test_a_user_without_privileges_can_run_the_sandbox():
    """The arguments for bwrap work for a service user too, not only for root."""
    if os.getuid() != 0:
        return
    script = (
        "import os, sys, time, tempfile\nfrom pathlib import Path\n"
        "from mandamus.executors.sandbox import Bubblewrap\nBubblewrap({'PATH': '/usr/bin:/bin'}).check()\n"
        "print('fine')"
    )
    source = Path(__file__).parents[2] / "src"
    done = subprocess.run(
        ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c", script],
        env={"PYTHONPATH": str(source), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert done.stdout.strip() == "fine", done.stderr
