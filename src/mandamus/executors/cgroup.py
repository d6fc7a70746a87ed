"""Control groups, version 1 or 2, where this process may make them: limits for a whole tree of processes."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

from mandamus.executors.model import Limits

_ROOT = Path("/sys/fs/cgroup")
_PREFIX = "mandamus."


class ControlGroups:
    """Makes one group per step below (or beside) our own; where that is not allowed, does nothing."""

    def __init__(self, own: str, root: Path = _ROOT) -> None:
        """``own`` is the text of /proc/self/cgroup (man 7 cgroups)."""
        self._candidates = _candidates(own, root)
        self._lock = threading.Lock()
        self._parents: dict[str, Path] | None = None

    def join(self, pid: int, limits: Limits) -> tuple[Path, ...]:
        """Put a process that has no children yet in a group of its own; the folders to give to ``leave``."""
        made = []
        for controller, parent in self._usable().items():
            folder = parent / f"{_PREFIX}{pid}"
            with contextlib.suppress(OSError):
                folder.mkdir(exist_ok=True)
                made.append(folder)
                _limit(folder, controller, limits)
                (folder / "cgroup.procs").write_text(str(pid))
        return tuple(made)

    def leave(self, folders: tuple[Path, ...]) -> None:
        """Remove the groups of a tree that has ended; one the kernel still holds is swept at the next start."""
        for folder in folders:
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _usable(self) -> dict[str, Path]:
        with self._lock:
            if self._parents is None:
                self._parents = {}
                for controller, parents in self._candidates.items():
                    usable = next((parent for parent in parents if _probe(parent, controller)), None)
                    if usable is not None:
                        self._parents[controller] = usable
            return self._parents


def _candidates(own: str, root: Path) -> dict[str, tuple[Path, ...]]:
    lines = [line.split(":", 2) for line in own.splitlines() if line.count(":") >= 2]
    for _, controllers, path in lines:
        if controllers == "" and (root / "cgroup.controllers").exists():
            home = root / path.lstrip("/")
            # A group that holds processes cannot hand controllers on (cgroup v2), so a sibling may be all there is.
            return {"unified": (home, home.parent)}
    return {
        name: (root / name / path.lstrip("/"), root / name)
        for _, controllers, path in lines
        for name in ("pids", "memory")
        if name in controllers.split(",")
    }


def _probe(parent: Path, controller: str) -> bool:
    folder = parent / f"{_PREFIX}probe"
    try:
        for group in parent.glob(f"{_PREFIX}*"):
            # One whose process lives may be empty for the moment in which it is made.
            if not Path("/proc", group.name.removeprefix(_PREFIX)).exists():
                with contextlib.suppress(OSError):
                    group.rmdir()
        folder.mkdir(exist_ok=True)
        _limit(folder, controller, Limits())
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()
    return True


def _limit(folder: Path, controller: str, limits: Limits) -> None:
    if controller in {"pids", "unified"}:
        (folder / "pids.max").write_text(str(limits.processes))
    if controller == "memory":
        (folder / "memory.limit_in_bytes").write_text(str(limits.memory_bytes))
    if controller == "unified":
        (folder / "memory.max").write_text(str(limits.memory_bytes))
