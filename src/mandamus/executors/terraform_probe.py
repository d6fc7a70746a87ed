"""What became of an apply that nobody saw end: judged by the marks, the state file it left, and a plan of what is left.

Terraform writes the state file after every object it has made, and dies with us. So when it was killed, the state in
its folder is the truth about all but what was under way at that moment. What can be known from there:

1. A new plan against that state, with a refresh, has nothing left to do: everything that was planned is there.
2. The apply was contained: nothing but built-in resources and no provisioner, so that all it could ever change was the
   state file in its own folder. That file is dropped; outside, nothing has begun.
3. What is left are only updates and deletions that were planned to make a known difference, of objects which the
   state shows as before the apply. So the apply did not finish; and since the identity of these objects is known, the
   next plan reads them again: nothing is lost and nothing made twice.
4. Something is left to be created: terraform may have been waiting for the answer, and the object may exist without
   being in the state. Nobody here can know.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mandamus.executors import terraform_state
from mandamus.executors.marks import Trace
from mandamus.executors.model import Probed, Verdict
from mandamus.executors.terraform_artifact import Saved
from mandamus.executors.terraform_changes import differences
from mandamus.executors.terraform_folder import Folder, read
from mandamus.executors.terraform_redact import Scrub
from mandamus.executors.terraform_session import Session
from mandamus.executors.terraform_state import StateFile
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.redact import Redactor

_IDLE = (["no-op"], ["read"])
_OUTPUT = "output"
_SHOWN = 3


@dataclass(frozen=True)
class Aftermath:
    """What an apply left: its folder, the state in it, and beside them what it began with."""

    folder: Folder
    found: StateFile | None
    before: bytes | None = field(repr=False)
    saved: Saved
    redactor: Redactor

    @property
    def state(self) -> bytes | None:
        """The state, when it is another than before."""
        return None if self.found is None or self.found.data == self.before else self.found.data

    @property
    def is_torn(self) -> bool:
        """Whether there is a state file that cannot be read."""
        return self.found is None and bool(read(self.folder.state))


def ended(trace: Trace, after: Aftermath) -> Probed:
    """The verdict when the end was seen and only its result was not recorded."""
    if trace.code == 0:
        if after.found is None and (after.saved.steps or after.is_torn):
            return Probed(Verdict.FAILED, "terraform apply ended well, but left no state that can be read")
        return _succeeded(after, "terraform apply ended with exit code 0")
    how = "was stopped and " if trace.stopped else ""
    return Probed(Verdict.FAILED, f"terraform apply {how}ended with exit code {trace.code}", state=after.state)


def unseen(after: Aftermath, look: Callable[[], Session]) -> Probed:
    """The verdict when nobody saw it end; ``look`` gives a session in another folder with the state that was left."""
    if after.is_torn:
        return _unclear(after, "the state it left cannot be read")
    try:
        session = look()
        left_over = _left_over(session)
        if not left_over:
            return _succeeded(after, "everything that was planned is there")
        if after.saved.contained:
            return _unclear(after, "")
        return _with_left_over(after, left_over, session)
    except MandamusError as error:
        if error.retryable:
            raise
        return _unclear(after, f"a new plan fails: {error.message}")


def _with_left_over(after: Aftermath, left_over: Mapping[Any, Mapping[str, Any]], session: Session) -> Probed:
    objects = {key: entry for key, entry in left_over.items() if key[0] != _OUTPUT}
    created = [entry["address"] for entry in objects.values() if "create" in entry["change"]["actions"]]
    if created:
        return _unclear(after, f"these are not in its state and may exist: {_names(after, created)}")
    if not _is_untouched(after, left_over, session):
        return _unclear(after, "what it had begun cannot be told from what is left")
    names = _names(after, [entry["address"] for entry in (objects or left_over).values()])
    return Probed(Verdict.FAILED, f"terraform apply was killed before it changed {names}", state=after.state)


def check_dead(left: Folder) -> None:
    """Raise ``unavailable``, to be tried again, while a terraform still holds its lock on the state file."""
    try:
        fd = os.open(left.state, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise MandamusError(
            Code.UNAVAILABLE,
            "the terraform of a process that died has not ended yet",
            remedy="wait a moment; it is looked at again",
            retryable=True,
        ) from error
    finally:
        os.close(fd)


def _left_over(session: Session) -> Mapping[Any, Mapping[str, Any]]:
    """What a new plan would still do. Reads, and changes nothing."""
    return _changes(session.plan().document)


def _changes(document: Mapping[str, Any]) -> dict[Any, Mapping[str, Any]]:
    """What a plan does, by key; an output's key is two words."""
    objects = {_key(entry): entry for entry in document.get("resource_changes") or () if not _is_idle(entry)}
    return objects | {
        (_OUTPUT, name): {"address": f"output {name}", "change": change}
        for name, change in (document.get("output_changes") or {}).items()
        if change["actions"] not in _IDLE
    }


def _is_idle(entry: Mapping[str, Any]) -> bool:
    moved = entry.get("previous_address") not in {None, entry["address"]}
    return entry["change"]["actions"] in _IDLE and not moved and entry["change"].get("importing") is None


def _is_untouched(after: Aftermath, left_over: Mapping[Any, Mapping[str, Any]], session: Session) -> bool:
    """Whether all that is left was planned before, and stands in the state as it did before the apply."""
    planned = _changes(session.show(session.folder.write_plan(after.saved.plan)))
    old = terraform_state.parse(after.before or b"")
    was, now = _contents(old), _contents(after.found)
    return all(
        key in planned
        and planned[key]["change"]["actions"] == entry["change"]["actions"]
        and _would_show(planned[key]["change"])
        and was.get(key[:5]) == now.get(key[:5])
        for key, entry in left_over.items()
    )


def _contents(state: StateFile | None) -> Mapping[Any, Any]:
    if state is None:
        return {}
    outputs = {(_OUTPUT, name): output for name, output in (state.document.get("outputs") or {}).items()}
    return {**state.objects, **outputs}


def _would_show(change: Mapping[str, Any]) -> bool:
    """Whether the state must look different once the change is made: what was unknown may turn out as it was."""
    parts = differences(change.get("before"), change.get("after"), change.get("after_unknown"))
    return any(not unknown for _, _, _, unknown in parts)


def _key(entry: Mapping[str, Any]) -> Any:
    place = (entry.get("module_address") or "", entry["mode"], entry["type"], entry["name"], entry.get("index"))
    return (*place, entry.get("deposed"))


def _succeeded(after: Aftermath, detail: str) -> Probed:
    values = {} if after.found is None else dict(after.found.outputs.values)
    outputs = Scrub(after.redactor, after.saved.secrets).part(values)
    return Probed(Verdict.SUCCEEDED, detail, outputs=outputs, state=after.state)


def _unclear(after: Aftermath, why: str) -> Probed:
    if after.saved.contained:
        detail = "terraform was killed; it could change nothing but its own copy of the state, which is dropped"
        return Probed(Verdict.NOT_STARTED, detail)
    return Probed(Verdict.UNKNOWN, f"nobody saw terraform apply end: {why}", state=after.state)


def _names(after: Aftermath, addresses: Sequence[str]) -> str:
    shown = ", ".join(after.redactor.text(address) for address in addresses[:_SHOWN])
    return shown if len(addresses) <= _SHOWN else f"{shown} and {len(addresses) - _SHOWN} more"
