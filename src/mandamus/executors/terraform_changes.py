"""Terraform's plan JSON, redacted, as a change set.

Format: https://developer.hashicorp.com/terraform/internals/json-format, version 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mandamus.kernel.changeset import DESTRUCTIVE, Action, Change, ChangeSet, Confidence
from mandamus.kernel.pointer import escaped

_ACTIONS: Mapping[tuple[str, ...], tuple[Action, str | None]] = {
    ("no-op",): (Action.NOOP, None),
    ("create",): (Action.CREATE, None),
    ("read",): (Action.READ, None),
    ("update",): (Action.UPDATE, None),
    ("delete",): (Action.DELETE, None),
    ("forget",): (Action.FORGET, None),
    ("delete", "create"): (Action.REPLACE, "delete_first"),
    ("create", "delete"): (Action.REPLACE, "create_first"),
}
_COMPARED = frozenset({Action.UPDATE, Action.REPLACE})
_MADE = frozenset({Action.CREATE, Action.REPLACE, Action.DELETE})
_INDEX = re.compile(r'\[(?:"(?:[^"\\]|\\.)*"|[^\]"]*)\]')
_MARK = re.compile(r"redacted:[0-9a-f]{16}")


def change_set(
    document: Mapping[str, Any],
    *,
    tool: tuple[str, str],
    artifact: Mapping[str, Any],
    sandbox: str,
    sources: Mapping[tuple[str, str, str, str], str],
) -> ChangeSet:
    """The change set of a redacted plan document.

    ``sources`` gives ``file:line`` by module address without indexes, mode, type and name.
    """
    scripted = set(_scripted((document.get("configuration") or {}).get("root_module") or {}, ""))
    changes = [_change(entry, sources, scripted) for entry in document.get("resource_changes") or ()]
    changes += [_invocation(entry) for entry in document.get("action_invocations") or ()]
    drift = [_change(entry, sources, set()) for entry in document.get("resource_drift") or ()]
    return ChangeSet(
        tool={"name": tool[0], "version": tool[1], "format": str(document.get("format_version", ""))},
        fidelity=Confidence.EXACT,
        changes=tuple(changes),
        artifact=artifact,
        complete=bool(document.get("complete", True)),
        errored=bool(document.get("errored", False)),
        sandbox=sandbox,
        variables={name: given.get("value") for name, given in (document.get("variables") or {}).items()},
        checks=tuple(_checks(document.get("checks") or ())),
        drift=tuple(change for change in drift if _really_differs(change)),
        outputs=tuple(_outputs(document.get("output_changes") or {})),
    )


def pointers(marks: Any, path: str = "") -> Iterator[str]:
    """JSON pointers (RFC 6901) of every ``true`` in marks of a value's shape."""
    if marks is True:
        yield path
    elif isinstance(marks, dict):
        for key, below in marks.items():
            if below:
                yield from pointers(below, f"{path}/{escaped(key)}")
    elif isinstance(marks, list):
        for index, below in enumerate(marks):
            if below:
                yield from pointers(below, f"{path}/{index}")


def without_indexes(address: str) -> str:
    """A module's address without the keys of its instances: ``module.m["a"].module.n[0]`` is ``module.m.module.n``."""
    return _INDEX.sub("", address)


def _change(
    entry: Mapping[str, Any], sources: Mapping[tuple[str, str, str, str], str], scripted: set[tuple[str, str]]
) -> Change:
    body = entry["change"]
    before, after, unknown = body.get("before"), body.get("after"), body.get("after_unknown")
    action, order = _action(entry, body)
    module, mode, kind, name = entry.get("module_address"), entry["mode"], entry["type"], entry["name"]
    place = without_indexes(module or "")
    runs_script = action in _MADE and (place, f"{kind}.{name}") in scripted
    deposed = entry.get("deposed")
    return Change(
        address=entry["address"] if deposed is None else f"{entry['address']} (deposed {deposed})",
        type=kind,
        name=name,
        action=action,
        mode=mode,
        index=entry.get("index"),
        module=module,
        provider=entry.get("provider_name"),
        # What cannot be told apart may destroy.
        destructive=action in DESTRUCTIVE or action is Action.UNKNOWN,
        replace_order=order,
        reason=entry.get("action_reason"),
        previous_address=entry.get("previous_address"),
        importing=body.get("importing"),
        before=before,
        after=after,
        unknown=tuple(pointers(unknown)),
        sensitive=() if after is None else tuple(_sensitive(after, body.get("after_sensitive"))),
        diff=tuple(_diff(before, after, unknown, body.get("replace_paths") or ())) if action in _COMPARED else (),
        source=sources.get((place, mode, kind, name)),
        # A provisioner is a script: nobody can say what it will do.
        confidence=Confidence.OPAQUE if runs_script else Confidence.EXACT,
    )


def _action(entry: Mapping[str, Any], body: Mapping[str, Any]) -> tuple[Action, str | None]:
    action, order = _ACTIONS.get(tuple(body["actions"]), (Action.UNKNOWN, None))
    if action is Action.NOOP and body.get("importing") is not None:
        return Action.IMPORT, None
    if action is Action.NOOP and entry.get("previous_address") not in {None, entry["address"]}:
        return Action.MOVE, None
    return action, order


def _sensitive(after: Any, marks: Any) -> list[str]:
    """Where terraform says so, and where a value was recognised as one that is sensitive elsewhere."""
    found = list(pointers(marks))
    seen = set(found)
    found += [path for path in _recognised(after) if not any(_is_at(path, pointer) for pointer in seen)]
    return found


def _recognised(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, str):
        if _MARK.search(value):
            yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _recognised(item, f"{path}/{escaped(key)}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _recognised(item, f"{path}/{index}")


def _diff(before: Any, after: Any, unknown: Any, replace_paths: Any) -> Iterator[Mapping[str, Any]]:
    forcing = ["".join(f"/{escaped(str(part))}" for part in path) for path in replace_paths]
    for path, old, new, is_unknown in differences(before, after, unknown):
        part: dict[str, Any] = {"path": path, "before": old, "after": new}
        if is_unknown:
            part["unknown"] = True
        if any(_is_at(path, pointer) or _is_at(pointer, path) for pointer in forcing):
            part["forces_replace"] = True
        yield part


def differences(before: Any, after: Any, unknown: Any, path: str = "") -> Iterator[tuple[str, Any, Any, bool]]:
    """Every part that differs: its JSON pointer, before, after, and whether the latter is not known yet."""
    if unknown is True:
        yield path, before, None, True
    elif isinstance(before, dict) and isinstance(after, dict):
        below = unknown if isinstance(unknown, dict) else {}
        for key in sorted({*before, *after, *(name for name, mark in below.items() if mark)}):
            yield from differences(before.get(key), after.get(key), below.get(key), f"{path}/{escaped(key)}")
    elif isinstance(before, list) and isinstance(after, list):
        marks = unknown if isinstance(unknown, list) else []
        for index in range(max(len(before), len(after))):
            old, new, mark = (side[index] if index < len(side) else None for side in (before, after, marks))
            yield from differences(old, new, mark, f"{path}/{index}")
    elif before != after:
        yield path, before, after, False


def _really_differs(change: Change) -> bool:
    """Whether drift is more than noise: terraform reports ``null`` that became ``{}`` as a change."""
    if change.action is Action.DELETE:
        return True
    parts = differences(change.before, change.after, None)
    return any(not (_is_empty(old) and _is_empty(new)) for _, old, new, _ in parts)


def _is_empty(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_empty(item) for item in value.values())
    return value is None or value is False or value in ("", [])


def _scripted(module: Mapping[str, Any], place: str) -> Iterator[tuple[str, str]]:
    """Module address and ``type.name`` of every resource with provisioners."""
    for found in module.get("resources") or ():
        if found.get("provisioners"):
            yield place, f"{found['type']}.{found['name']}"
    for name, call in (module.get("module_calls") or {}).items():
        yield from _scripted(call.get("module") or {}, f"{place}.module.{name}".lstrip("."))


def _invocation(entry: Mapping[str, Any]) -> Change:
    """An action of Terraform 1.14: it runs something and changes no object of the state."""
    kind, name = str(entry.get("type", "")), str(entry.get("name", ""))
    after = entry.get("config_values")
    return Change(
        address=str(entry.get("address", f"action.{kind}.{name}")),
        type=kind,
        name=name,
        action=Action.RUN,
        mode="task",
        provider=entry.get("provider_name"),
        after=after,
        unknown=tuple(pointers(entry.get("config_unknown"))),
        sensitive=() if after is None else tuple(_sensitive(after, entry.get("config_sensitive"))),
        confidence=Confidence.OPAQUE,
    )


def _checks(checks: Any) -> Iterator[Mapping[str, Any]]:
    for check in checks:
        address = check.get("address") or {}
        problems = [
            problem.get("message", "")
            for instance in check.get("instances") or ()
            for problem in instance.get("problems") or ()
        ]
        yield {
            "address": address.get("to_display"),
            "kind": address.get("kind"),
            "status": check.get("status"),
            "problems": problems,
        }


def _outputs(changes: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for name, body in changes.items():
        action = _ACTIONS.get(tuple(body["actions"]), (Action.UNKNOWN, None))[0]
        yield {
            "name": name,
            "action": action.value,
            "before": body.get("before"),
            "after": body.get("after"),
            "unknown": list(pointers(body.get("after_unknown"))),
            "sensitive": bool(body.get("after_sensitive") or body.get("before_sensitive")),
        }


def _is_at(path: str, pointer: str) -> bool:
    return path == pointer or path.startswith(f"{pointer}/")
