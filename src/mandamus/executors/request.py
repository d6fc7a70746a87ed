"""The exact request of a step whose tool makes no plan of its own: sealed when planned, opened when applied.

What is sealed is the request itself, as canonical JSON, with a keyed digest in the place of every value that holds a
secret. Opening fills these places with the values as they are now, and only if they are still the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from mandamus.executors.model import Planned, Task
from mandamus.kernel import canonical
from mandamus.kernel.changeset import Action, Change, ChangeSet, Confidence
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.pointer import escaped, unescaped
from mandamus.kernel.redact import Redactor

FORMAT = "request/1"

DEPTH_MAX = 50
"""How deeply outputs may nest: whoever reads them later does so by recursion."""


@dataclass
class _Sealing:
    redactor: Redactor
    marks: dict[str, str] = field(default_factory=dict)

    def value(self, value: Any, pointer: str) -> Any:
        if self.redactor.value(value) == value:
            return value
        if isinstance(value, Mapping) and not any(self.redactor.text(key) != key for key in value):
            return {key: self.value(item, f"{pointer}/{escaped(key)}") for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item, f"{pointer}/{index}") for index, item in enumerate(value)]
        self.marks[pointer] = _mark(self.redactor, value)
        return None


def planned(task: Task, executor: str, request: Mapping[str, Any], lock: Mapping[str, Any]) -> Planned:
    """The plan of an opaque step: one change, ``run``, that shows the request with its secrets as marks.

    Raises ``value_invalid`` for a request that is not JSON.
    """
    sealing = _Sealing(task.redactor)
    fields = {key: sealing.value(item, f"/{key}") for key, item in request.items()}
    sealed = {"format": FORMAT, "executor": executor, "request": fields}
    blob = canonical.dumps({**sealed, "secret": sealing.marks})
    change = Change(
        address=task.step,
        type=executor,
        name=task.step,
        action=Action.RUN,
        mode="task",
        provider=executor,
        after=task.redactor.value(dict(request)),
        sensitive=tuple(sealing.marks),
        confidence=Confidence.OPAQUE,
    )
    change_set = ChangeSet(
        tool={"name": executor, "version": "1", "format": FORMAT},
        fidelity=Confidence.OPAQUE,
        changes=(change,),
        artifact={"kind": "request", "sha256": canonical.digest(blob).removeprefix("sha256:")},
        sandbox=task.sandbox.mode,
    )
    return Planned(change_set=change_set, blob=blob, lock=lock)


def opened(task: Task, executor: str, blob: bytes, now: Mapping[str, Any]) -> dict[str, Any]:
    """The request that was sealed; ``now`` is the request as it would be made today, from which secrets are taken.

    Raises ``digest_mismatch`` when a secret is no longer the one that was planned with, or for a blob that is no
    request of this executor.
    """
    sealed = canonical.loads(blob)
    if not isinstance(sealed, dict) or (sealed.get("format"), sealed.get("executor")) != (FORMAT, executor):
        raise _moved(task, f"the saved plan is no {executor} request")
    request = sealed["request"]
    for pointer, mark in sealed["secret"].items():
        names = [unescaped(name) for name in pointer.split("/")[1:]]
        found = _at(now, names)
        if _mark(task.redactor, found) != mark:
            raise _moved(task, f"the secret in `{'.'.join(names)}` is not the one it was planned with")
        holder = _at(request, names[:-1])
        holder[int(names[-1]) if isinstance(holder, list) else names[-1]] = found
    return dict(request)


def text(task: Task, value: Any, what: str) -> str:
    """A scalar as text, as a shell would write it; raises ``value_invalid`` for what has no text form."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int, Decimal)):
        return str(value)
    shape = "null" if value is None else "a list" if isinstance(value, list) else "a map"
    raise MandamusError(
        Code.VALUE_INVALID,
        f"step {task.step}: {what} is {shape}, which has no text form",
        remedy="give a string, a number or a boolean, such as one field of it",
    )


def storable(outputs: Mapping[str, Any]) -> None:
    """Raise ``value_invalid`` for outputs that cannot be recorded once the act is done: too deep, or no exact JSON."""
    level: list[Any] = [outputs]
    for _ in range(DEPTH_MAX + 1):
        level = [item for value in level for item in _children(value)]
        if not level:
            canonical.dumps(outputs)
            return
    raise MandamusError(
        Code.VALUE_INVALID, f"it nests over {DEPTH_MAX} levels deep", remedy="give flatter data, or JSON as text"
    )


def line(text: str, chars_max: int) -> str:
    """Foreign text as one printable line, cut: nothing in it can steer a terminal."""
    shown = "".join(char if char.isprintable() else " " for char in text[: 4 * chars_max])
    return " ".join(shown.split())[:chars_max]


def _mark(redactor: Redactor, value: Any) -> str:
    return redactor.mark(canonical.dumps(value).decode())


def _at(value: Any, names: list[str]) -> Any:
    for name in names:
        if isinstance(value, Mapping):
            value = value.get(name)
        elif isinstance(value, list) and name.isdigit() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list) else ()


def _moved(task: Task, why: str) -> MandamusError:
    return MandamusError(
        Code.DIGEST_MISMATCH,
        f"step {task.step}: {why}",
        remedy=f"`mandamus runs retry {task.run}` plans it again",
    )
