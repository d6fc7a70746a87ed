"""A candidate tried on 100,000 recorded decisions, beside reading and hashing what was recorded."""

from __future__ import annotations

import hashlib
import json
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from figures import Figure, seconds
from stage import Stage

from mandamus.bootstrap.house import House
from mandamus.kernel import canonical
from mandamus.policy import store
from mandamus.policy.backtest_model import Kind
from mandamus.policy.backtest_work import Listener
from mandamus.policy.model import Decision, Point, Verdict

DECISIONS = 100_000
JUDGED = 10_000
"""So many are decided by the service itself, one by one; each is recorded ten times, as asked by others later on."""

ROLES: Mapping[str, list[str]] = {
    "dev": ["read", "plan"],
    "ops": ["read", "plan", "apply"],
    "admin": ["read", "plan", "apply", "destroy"],
}
NOW_US = 1_767_225_600_000_000
_PAGE = 500

_GRANTS = """package mandamus.trigger

grants[verb] contains role if {
	some role, verbs in data.roles
	some verb in verbs
}

allowed if {
	some role in input.run.inputs.requester.roles
	role in grants[input.run.inputs.action]
}

deny contains sprintf("%s may not %s", [input.run.inputs.requester.name, input.run.inputs.action]) if not allowed
"""
_LIMIT = """
deny contains "kind{number} is at most {size} in prod" if {{
	input.run.inputs.resource.kind == "kind{number}"
	input.run.inputs.resource.environment == "prod"
	not "admin" in input.run.inputs.requester.roles
	input.run.inputs.resource.size > {size}
}}
"""


def rules(sizes: Callable[[int], int]) -> str:
    """Twenty rules: who may do what, and how large each kind of resource may be."""
    return _GRANTS + "".join(_LIMIT.format(number=number, size=sizes(number)) for number in range(19))


def document(draw: random.Random, number: int) -> dict[str, Any]:
    """One request as an authorization service sees it: about 530 bytes when it is canonical."""
    return {
        "run": {
            "id": f"run_{draw.getrandbits(125):026x}"[:30],
            "workflow": f"workflows/deploy_{draw.randrange(60)}.yaml",
            "commit": f"{draw.getrandbits(160):040x}",
            "inputs": {
                "action": draw.choices(["read", "plan", "apply", "destroy"], [60, 25, 12, 3])[0],
                "requester": {
                    "name": f"user{draw.randrange(400)}",
                    "roles": draw.choices([["dev"], ["ops"], ["dev", "ops"], ["admin"], []], [50, 25, 15, 8, 2])[0],
                    "groups": [f"team-{draw.randrange(40)}", "everyone"],
                    "session": f"{draw.getrandbits(128):032x}",
                },
                "resource": {
                    "id": f"res_{number:026d}",
                    "kind": f"kind{draw.randrange(30)}",
                    "environment": draw.choices(["dev", "test", "prod"], [5, 3, 2])[0],
                    "size": draw.randrange(200),
                    "labels": {"owner": f"team-{draw.randrange(40)}", "cost": f"cc-{draw.randrange(90):04d}"},
                    "address": f"module.service_{draw.randrange(500)}.instance.main[{draw.randrange(9)}]",
                },
            },
        },
    }


def stage(folder: Path) -> Stage:
    """A home whose environment is judged by the twenty rules."""
    made = Stage(folder, rules(lambda number: 100 + number))
    (made.project / "policy" / "data.json").write_text(json.dumps({"roles": ROLES}))
    with made.house(None) as owner:
        owner.configure.apply(owner.who, made.project / "platform.yaml")
    return made


def verdicts(house: House) -> Iterator[Verdict]:
    """What the service decides about one request after the other."""
    draw = random.Random(1)
    sets = house.catalog.environment("bench").policies
    for number in range(JUDGED):
        at_us = NOW_US + number
        yield house.policy.decide(
            Point.TRIGGER, document(draw, number), sets, protected=False, now_us=at_us, environment="bench"
        )


def fill(house: House) -> list[bytes]:
    """Record them through the rows of policy in bulk (the log is another figure); gives some of the inputs."""
    seen = []
    copies = DECISIONS // JUDGED
    page: list[Decision] = []
    for verdict in verdicts(house):
        seen.append(verdict.input)
        page += [Decision(house.rooms.ids.decision(), None, None, again(verdict, copy)) for copy in range(copies)]
        if len(page) >= _PAGE:
            with house.rooms.db.begin("fill") as tx:
                store.add_decisions(tx, page)
            page = []
    return seen


def again(verdict: Verdict, copy: int) -> Verdict:
    """The same request at another moment, and by another requester where the verdict does not name them.

    Rules read who asks, so nearly no two inputs look the same to them: nothing is spared by a memo.
    """
    if not copy:
        return verdict
    asked = canonical.loads(verdict.input)
    if not verdict.violations:
        inputs = asked["run"]["inputs"]
        inputs["requester"]["name"] += f"-{inputs['resource']['id'][-5:]}-{copy}"
    asked["now"] = f"2026-02-{copy:02d}{asked['now'][10:]}"
    asked["run"]["id"] = hashlib.sha256(f"{asked['run']['id']}{copy}".encode()).hexdigest()[:30]
    data = canonical.dumps(asked)
    return replace(verdict, input=data, input_digest=canonical.digest(data))


def measure() -> Iterator[Figure]:
    """Time, flips and memory of one back-test."""
    with tempfile.TemporaryDirectory() as folder:
        made = stage(Path(folder))
        with made.warm() as house:
            inputs = fill(house)
        candidate = Path(folder) / "candidate"
        candidate.mkdir()
        (candidate / "rules.rego").write_text(rules(lambda number: 100 + number + (5 if number % 2 else -5)))
        (candidate / "data.json").write_text(json.dumps({"roles": ROLES}))
        memory: dict[int, float] = {}

        def progress(done: int, _of: int) -> None:
            memory[done] = _resident_mib()

        with made.house("ada") as house:
            report = house.backtests.run(
                house.who,
                "policy",
                candidate,
                protected=lambda _: False,
                listener=Listener(progress=progress),
            )
        bare = seconds(lambda: [(json.loads(data), hashlib.sha256(data).digest()) for data in inputs])
    if report.decisions != DECISIONS or not report.fidelity.kept:
        raise AssertionError(f"the past was not replayed: {report.to_json()}")
    early = max(used for done, used in memory.items() if done <= DECISIONS // 4)
    size = sum(map(len, inputs)) / len(inputs)
    flips = f"{report.counts[Kind.DENY_TO_ALLOW]:,} deny->allow, {report.counts[Kind.ALLOW_TO_DENY]:,} allow->deny"
    yield Figure(
        "back-test of 100,000 decisions",
        report.duration_ms / 1000,
        "s",
        10,
        limit=bare * DECISIONS / len(inputs),
        limit_name="s to parse and hash",
        note=f"{flips}; 20 rules, {size:.0f} bytes an input, {report.evaluated:,} evaluations",
    )
    yield Figure("back-test memory, at the end by after a quarter", max(memory.values()) / early, "x", 1.25)


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / (1 << 20)
