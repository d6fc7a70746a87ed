"""The bubblewrap sandbox: what a step sees of the host, written as arguments for bwrap.

bwrap itself is started with an empty environment and gets its arguments through a file descriptor: its ``--clearenv``
clears only the child, and what it was started with stays readable inside as ``/proc/1/environ``; what stands in its
command line is in the host's process list.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from mandamus.executors.model import Command, SandboxPolicy
from mandamus.kernel.errors import Code, MandamusError

NOBODY = 65534
PASSWD = f"root:x:0:0::/:/usr/sbin/nologin\nnobody:x:{NOBODY}:{NOBODY}::/:/usr/sbin/nologin\n".encode()
GROUP = f"root:x:0:\nnogroup:x:{NOBODY}:\n".encode()

_REMEDY = (
    "install bubblewrap (apt-get install bubblewrap) and allow unprivileged user namespaces, "
    "or set `sandbox: none` in the environment's pool to run steps without isolation"
)
_TRIAL_S = 10.0
_NAMESPACES = (
    "--unshare-user",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-cgroup-try",
)
# Nothing else of /etc is visible: how names resolve, which certificates are trusted, where libraries and the Debian
# alternatives are. Never /etc/ssl or /etc/pki whole: private keys are below them.
_ETC_LIBRARIES = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime")
_ETC_TRUST = (
    "ssl/certs",
    "ssl/cert.pem",
    "ssl/ca-bundle.pem",
    "ssl/openssl.cnf",
    "pki/ca-trust",
    "pki/tls/certs",
    "pki/tls/cert.pem",
    "pki/tls/openssl.cnf",
    "ca-certificates",
)
_ETC_NETWORK = ("resolv.conf", "hosts", "nsswitch.conf", "host.conf", "gai.conf", "services", "protocols")
_ROOT_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


class Bubblewrap:
    """bwrap on this machine, looked up on the ``PATH`` of the environment given."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.binary = shutil.which("bwrap", path=environ.get("PATH") or "/usr/bin:/bin")
        self._lock = threading.Lock()
        self._features: str | None = None

    def check(self) -> None:
        """Raise ``sandbox_unavailable`` unless a sandbox can be started here; tried once per process."""
        with self._lock:
            if self._features is None:
                self._features = self._try()

    def arguments(self, command: Command, policy: SandboxPolicy, passwd_fd: int, group_fd: int) -> list[str]:
        """Everything before the program to run, in bwrap's order: later mounts cover earlier ones."""
        self.check()
        words = [*_NAMESPACES, "--uid", str(NOBODY), "--gid", str(NOBODY), "--hostname", "step"]
        words += ["--die-with-parent", "--new-session", "--cap-drop", "ALL"]
        words += self._if_known("--disable-userns")
        if not policy.network:
            words.append("--unshare-net")
        words += _system(network=policy.network)
        words += ["--ro-bind-data", str(passwd_fd), "/etc/passwd", "--ro-bind-data", str(group_fd), "/etc/group"]
        # Where we run as root the step is root to the files of /proc/sys, and core_pattern there is code of the host.
        words += ["--proc", "/proc", "--remount-ro", "/proc"]
        words += ["--dev", "/dev", "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]  # noqa: S108
        words += [*self._if_known("--size", str(policy.limits.tmp_bytes)), "--tmpfs", "/tmp"]  # noqa: S108
        words += _binds(command, policy)
        words += ["--remount-ro", "/", "--chdir", str(command.cwd), "--clearenv"]
        for name, value in command.env.items():
            words += ["--setenv", name, value]
        return words

    def _if_known(self, option: str, *values: str) -> list[str]:
        return [option, *values] if option in (self._features or "") else []

    def _try(self) -> str:
        if self.binary is None:
            raise _unavailable("bubblewrap (bwrap) is not installed")
        trial = [self.binary, *_NAMESPACES, "--unshare-net", "--uid", str(NOBODY), "--ro-bind", "/", "/"]
        try:
            features = subprocess.run(
                [self.binary, "--help"], env={}, capture_output=True, timeout=_TRIAL_S, check=True, text=True
            ).stdout
            done = subprocess.run(
                [*trial, "--proc", "/proc", "--", "/bin/sh", "-c", ":"],
                env={},
                capture_output=True,
                timeout=_TRIAL_S,
                check=False,
                text=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise _unavailable(f"{self.binary} does not start: {error}") from error
        if done.returncode != 0:
            raise _unavailable(f"{self.binary} cannot make a sandbox here: {done.stderr.strip()[:300]}")
        return features


def failed(line: str) -> MandamusError:
    """The error for a sandbox that could not be set up for one command."""
    return _unavailable(f"the sandbox could not be set up: {line[:300]}")


def _unavailable(message: str) -> MandamusError:
    return MandamusError(Code.SANDBOX_UNAVAILABLE, message, remedy=_REMEDY)


def _system(*, network: bool) -> Iterator[str]:
    yield from ("--ro-bind", "/usr", "/usr")
    for name in _ROOT_LINKS:
        path = Path("/", name)
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), str(path))
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))
    for name in (*_ETC_LIBRARIES, *_ETC_TRUST, *(_ETC_NETWORK if network else ())):
        yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")


def _binds(command: Command, policy: SandboxPolicy) -> Iterator[str]:
    binds = dict.fromkeys((*policy.read_only, *command.read_only), "--ro-bind")
    binds |= dict.fromkeys(command.writable, "--bind")
    for path, option in sorted(binds.items(), key=lambda bind: len(bind[0].parts)):
        yield from (option, str(path), str(path))
