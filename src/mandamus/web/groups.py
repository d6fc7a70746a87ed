"""Which steps of a run a page shows; and very many of them as groups, each with how many are in which state."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from mandamus.kernel.errors import Code, MandamusError
from mandamus.runs.lifecycle import StepState
from mandamus.runs.model import StepRow

WAYS = ("prefix", "level", "state")
GROUPS_MAX = 40
"""More groups say less than fewer do: levels are put together, rare prefixes go under one name."""
REST = "others"
_PREFIX = re.compile("[A-Za-z]*")
_WORST = (
    *(StepState.INDETERMINATE, StepState.FAILED, StepState.DENIED, StepState.REJECTED, StepState.EXPIRED),
    *(StepState.CANCELLED, StepState.WAITING),
)


@dataclass(frozen=True)
class Chosen:
    """What an address says: part of a step's name, a state, a way of grouping, and one group; empty for all."""

    name: str = ""
    state: str = ""
    by: str = ""
    group: str = ""

    @property
    def asked(self) -> dict[str, str]:
        """As it stands in an address."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name))}


@dataclass(frozen=True)
class Group:
    """Some steps under one name."""

    name: str
    steps: tuple[str, ...]
    counts: Mapping[str, int]

    @property
    def state(self) -> str:
        """The state that needs somebody most, else that of most of its steps."""
        worst = next((state.value for state in _WORST if state.value in self.counts), None)
        return worst or max(self.counts, key=lambda state: self.counts[state])


def chosen(query: Mapping[str, str]) -> Chosen:
    """Read an address; raises ``value_invalid`` for a state or a way that there is not."""
    found = Chosen(*(query.get(each.name, "") for each in fields(Chosen)))
    for value, words in ((found.state, tuple(StepState)), (found.by, WAYS)):
        if value and value not in words:
            raise MandamusError(Code.VALUE_INVALID, f"{value[:40]!r} is none of the list", remedy="choose one of it")
    return found


def pick(rows: Sequence[StepRow], needs: Mapping[str, Sequence[str]], wanted: Chosen) -> list[StepRow]:
    """The steps that are asked for, in their order."""
    names = naming(rows, needs, wanted.by)[1] if wanted.group else {}
    return [
        row
        for row in rows
        if wanted.name.lower() in row.name.lower()
        and wanted.state in {"", row.state.value}
        and wanted.group in {"", names.get(row.name)}
    ]


def naming(rows: Sequence[StepRow], needs: Mapping[str, Sequence[str]], by: str) -> tuple[str, dict[str, str]]:
    """How the steps of a run are grouped, and of each the group: at most 40 of them.

    Where no way is asked for it is by prefix, or by level when most steps begin alike.
    """
    if by == "state":
        return by, {row.name: row.state.value for row in rows}
    if by != "level":
        found = _prefixes(rows)
        if by == "prefix" or max(Counter(found.values()).values(), default=0) <= len(rows) / 2:
            return "prefix", found
    return "level", _levels(rows, needs)


def groups(rows: Sequence[StepRow], names: Mapping[str, str]) -> list[Group]:
    """The groups that some steps are in, in the order of their first steps."""
    inside: dict[str, list[StepRow]] = {}
    for row in rows:
        inside.setdefault(names[row.name], []).append(row)
    return [
        Group(name, tuple(row.name for row in some), Counter(row.state.value for row in some))
        for name, some in inside.items()
    ]


def between(found: Iterable[Group], needs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The groups that a group waits for, as far as they stand before it: a picture has no circles."""
    place, of = {}, {}
    for index, each in enumerate(found):
        place[each.name] = index
        of.update(dict.fromkeys(each.steps, each.name))
    made: dict[str, set[str]] = {}
    for step, before in needs.items():
        for need in before:
            one, other = of.get(need), of.get(step)
            if one is not None and other is not None and place[one] < place[other]:
                made.setdefault(other, set()).add(one)
    return {name: sorted(before, key=place.__getitem__) for name, before in made.items()}


def _prefixes(rows: Sequence[StepRow]) -> dict[str, str]:
    names = {row.name: _prefix(row.name) for row in rows}
    known = [name for name, _ in Counter(names.values()).most_common()]
    rare = set(known[GROUPS_MAX - 1 :]) if len(known) > GROUPS_MAX else set()
    return {step: REST if name in rare else name for step, name in names.items()}


def _prefix(name: str) -> str:
    """The letters that it begins with."""
    found = _PREFIX.match(name)
    return (found.group() if found else "") or name[:1]


def _levels(rows: Sequence[StepRow], needs: Mapping[str, Sequence[str]]) -> dict[str, str]:
    level: dict[str, int] = {}
    for row in rows:
        level[row.name] = 1 + max((level.get(need, 0) for need in needs.get(row.name, ())), default=0)
    wide = -(-max(level.values(), default=0) // GROUPS_MAX)
    names = {}
    for step, number in level.items():
        first = (number - 1) // wide * wide + 1
        names[step] = f"level {first}" if wide == 1 else f"levels {first} to {first + wide - 1}"
    return names
