"""What a change of configuration changed, short enough for a leaf: which fields, what they were and what they are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from mandamus.audit.forms import NAME, SHORT
from mandamus.kernel import canonical

CHANGES_MAX = 200
"""More than these are left off; the digests of the whole, which the same event names, cover them too."""


def differences(
    before: Mapping[str, Any] | None, after: Mapping[str, Any], *, digested: Collection[str] = ()
) -> list[dict[str, Any]]:
    """The fields that differ, by dotted path and in its order, as ``field``, ``before`` and ``after``.

    A short value stands there itself; a list, a long text, and whatever is under a field in ``digested`` as the digest
    of its canonical JSON. None is for what is not there.
    """
    old = flat(before or {}, digested=digested)
    new = flat(after, digested=digested)
    changed = [path for path in sorted({*old, *new}) if old.get(path) != new.get(path) and NAME.fits(path)]
    return [{"field": path, "before": old.get(path), "after": new.get(path)} for path in changed[:CHANGES_MAX]]


def flat(value: Mapping[str, Any], *, digested: Collection[str] = ()) -> dict[str, Any]:
    """Every field by its dotted path, as ``differences`` shows it."""
    return dict(_flat("", value, digested))


def _flat(path: str, value: object, digested: Collection[str]) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(f"{path}.{name}" if path else str(name), inner, digested)
    elif isinstance(value, Sequence) and value and all(isinstance(each, Mapping) and "name" in each for each in value):
        for each in value:
            yield from _flat(f"{path}.{each['name']}", {key: each[key] for key in each if key != "name"}, digested)
    elif SHORT.fits(value) and path.partition(".")[0] not in digested:
        yield path, value
    else:
        yield path, canonical.digest_of(value)
