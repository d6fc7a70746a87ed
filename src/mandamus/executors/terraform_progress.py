"""Terraform's stream of JSON lines (``-json``, its "machine-readable UI") as live progress, readable text and facts."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mandamus.executors.model import Progress, Task

LINE_BYTES_MAX = 4 * 1024 * 1024
"""A longer line is no event; it is kept as it came."""

_DOING = {
    "create": ("creating", "created"),
    "update": ("updating", "updated"),
    "delete": ("destroying", "destroyed"),
    "replace": ("replacing", "replaced"),
    "read": ("reading", "read"),
    "import": ("importing", "imported"),
    "forget": ("forgetting", "forgotten"),
    "move": ("moving", "moved"),
    "noop": ("looking at", "unchanged"),
}
_COUNTED = frozenset({"create", "update", "delete"})
_QUIET = frozenset({"log", "refresh_start", "refresh_complete", "provision_start", "provision_complete"})


@dataclass(frozen=True)
class Diagnostic:
    """One error or warning; ``file`` is relative to the project, ``line`` counts from 1."""

    severity: str
    summary: str
    detail: str
    address: str | None = None
    file: str | None = None
    line: int | None = None
    code: str = ""

    @property
    def place(self) -> str | None:
        """``file:line``, where terraform knows it."""
        return None if self.file is None else f"{self.file}:{self.line}"


class Narrator:
    """Takes standard output in chunks; writes text to the task's output and progress, both redacted.

    ``folder`` is the module's path in the project. ``total`` is how many steps an apply will tell of; None for a plan.
    """

    def __init__(self, task: Task, folder: str, total: int | None = None) -> None:
        self._task = task
        self._folder = folder
        self._total = total
        self._held = b""
        self.done = 0
        self.begun: dict[str, str] = {}
        """What was started and not seen to end: address (redacted) to action."""

        self.tool: tuple[str, str] | None = None
        """Name and version, as the tool says them."""

        self.diagnostics: list[Diagnostic] = []

    @property
    def errors(self) -> list[Diagnostic]:
        """The diagnostics that are errors."""
        return [each for each in self.diagnostics if each.severity == "error"]

    def feed(self, chunk: bytes) -> None:
        """Take some bytes; lines may be split anywhere."""
        *lines, self._held = (self._held + chunk).split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._held) > LINE_BYTES_MAX:
            self.close()

    def close(self) -> None:
        """Take what is left as a line."""
        line, self._held = self._held, b""
        if line:
            self._line(line)

    def _line(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            event = None
        if isinstance(event, dict) and isinstance(event.get("type"), str):
            self._event(event["type"], event)
        elif line.strip():
            self._write(line.decode("utf-8", "replace"))

    def _event(self, kind: str, event: Mapping[str, Any]) -> None:
        match kind:
            case "version":
                self._version(event)
            case "diagnostic":
                self._diagnostic(event.get("diagnostic") or {})
            case "apply_start" | "apply_progress" | "apply_complete" | "apply_errored":
                self._apply(kind, event.get("hook") or {})
            case "provision_progress":
                hook = event.get("hook") or {}
                self._write(f"{_address(hook)}: {hook.get('output', '')}")
            case "planned_change" | "resource_drift":
                # An apply repeats what its plan has said.
                if self._total is None:
                    self._planned(kind, event.get("change") or {})
            case "outputs":
                names = ", ".join(sorted(event.get("outputs") or {}))
                self._write(f"outputs: {names}" if names else "")
            case _ if kind in _QUIET:
                pass
            case _:
                self._write(str(event.get("@message", "")))

    def _version(self, event: Mapping[str, Any]) -> None:
        name = next((name for name in ("tofu", "terraform") if isinstance(event.get(name), str)), None)
        if name is not None:
            self.tool = (name, event[name])
        self._write(str(event.get("@message", "")))

    def _apply(self, kind: str, hook: Mapping[str, Any]) -> None:
        address, action = self._redacted(_address(hook)), str(hook.get("action", ""))
        doing, did = _DOING.get(action, (action, action))
        after = f"{hook.get('elapsed_seconds', 0)}s"
        match kind:
            case "apply_start":
                self.begun[address] = action
                text = doing
            case "apply_progress":
                text = f"still {doing}, {after}"
            case "apply_complete":
                self.begun.pop(address, None)
                self.done += action in _COUNTED
                text = f"{did} in {after}"
            case _:
                self.begun.pop(address, None)
                text = f"{doing} failed after {after}"
        self._write(f"{address}: {text}")
        if action in _COUNTED:
            self._tell(text, address)

    def _planned(self, kind: str, change: Mapping[str, Any]) -> None:
        address, action = _address(change), str(change.get("action", ""))
        if kind == "resource_drift":
            self._write(f"{address}: changed outside of terraform ({action})")
        else:
            self._write(f"{address}: planned: {action}")

    def _diagnostic(self, data: Mapping[str, Any]) -> None:
        place, snippet = data.get("range") or {}, data.get("snippet") or {}
        name = place.get("filename")
        found = Diagnostic(
            severity=str(data.get("severity", "error")),
            summary=self._redacted(str(data.get("summary", ""))),
            detail=self._redacted(str(data.get("detail", ""))),
            address=None if data.get("address") is None else self._redacted(str(data["address"])),
            file=None if name is None else posixpath.normpath(posixpath.join(self._folder, str(name))),
            line=(place.get("start") or {}).get("line"),
            code=self._redacted(str(snippet.get("code", "")).strip()),
        )
        self.diagnostics.append(found)
        self._write("\n".join(_rendered(found)))

    def _tell(self, text: str, address: str) -> None:
        done = self.done if self._total is None else min(self.done, self._total)
        self._task.progress(Progress(f"{address}: {text}", address, done, self._total))

    def _write(self, text: str) -> None:
        if text:
            self._task.output.append(self._redacted(text).encode("utf-8", "replace") + b"\n")

    def _redacted(self, text: str) -> str:
        return self._task.redactor.text(text)


def _address(part: Mapping[str, Any]) -> str:
    return str((part.get("resource") or {}).get("addr", ""))


def _rendered(found: Diagnostic) -> Iterator[str]:
    yield f"{found.severity}: {found.summary}"
    where = [f"at {found.place}" if found.place else "", f"in {found.address}" if found.address else ""]
    if any(where):
        yield "  " + ", ".join(part for part in where if part)
    if found.code:
        yield f"  > {found.code}"
    yield from (f"  {line}" for line in found.detail.splitlines())
