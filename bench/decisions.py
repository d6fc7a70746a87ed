"""Policy by itself: a small decision, a large plan, and publishing a large set with its tests."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import backtest
from figures import Figure, median, seconds
from stage import Stage

from mandamus.bootstrap.house import House
from mandamus.kernel import canonical
from mandamus.policy import testing, testing_files
from mandamus.policy.model import Bundle

SMALL = 2_000
CHANGES = 200
PLANS = 40
FILES = 30
RULES = 10
"""Rules, and as many tests, in each of the files of the large set."""

_BATCH = 250

_PLAN_RULE = """
deny contains {{"msg": sprintf("%s: tag {number} is missing", [change.address]), "address": change.address}} if {{
	some change in input.change_set.changes
	change.action == "create"
	change.type == "aws_kind_{number}"
	not change.after.tags.tag_{number}
}}
"""
_SET_RULE = """
deny contains sprintf("%s is too large", [change.address]) if {{
	some change in input.change_set.changes
	change.type == "kind_{file}_{number}"
	change.after.size > {number}
}}
"""
_SET_TEST = """
test_{file}_{number} if {{
	change := {{"address": "a", "type": "kind_{file}_{number}", "after": {{"size": 1000}}}}
	deny["a is too large"] with input as {{"change_set": {{"changes": [change]}}}}
}}
"""


def measure() -> Iterator[Figure]:
    """Each beside what the engine needs by itself."""
    with tempfile.TemporaryDirectory() as folder:
        made = backtest.stage(Path(folder))
        with made.warm() as house:
            yield _small(house)
    with tempfile.TemporaryDirectory() as folder:
        text = "package mandamus.plan\n" + "".join(_PLAN_RULE.format(number=number) for number in range(20))
        with Stage(Path(folder), text).warm() as house:
            yield _plan(house)
            yield _publish(house, Path(folder) / "large")


def _small(house: House) -> Figure:
    """One after the other through the pool, and as many in batches, where only OPA itself counts."""
    draw = random.Random(2)
    inputs = [
        canonical.dumps({**backtest.document(draw, number), "now": "2026-01-01T00:00:00.000000Z", "point": "trigger"})
        for number in range(SMALL)
    ]
    bundle = _bundle(house)
    house.pool.evaluate(bundle, inputs[0])
    pooled = [seconds(partial(house.pool.evaluate, bundle, data)) for data in inputs]
    with house.pool.session() as session:
        session.load(f"[d | some i in input; d := {bundle.query} with input as i]", bundle.data, bundle.modules)
        alone = [
            seconds(partial(session.ask, data))
            for data in (b"[" + b",".join(inputs[at : at + _BATCH]) + b"]" for at in range(0, SMALL, _BATCH))
        ]
    return Figure(
        "small decision through the pool, p50 (20 rules)",
        median(pooled) * 1000,
        "ms",
        0.3,
        limit=median(alone) / _BATCH * 1000,
        limit_name="ms OPA alone, in batches",
    )


def _plan(house: House) -> Figure:
    """CPU of the worker, by the kernel's count, for a plan of 200 changes."""
    data = canonical.dumps(plan(random.Random(3)))
    bundle = _bundle(house)
    house.pool.evaluate(bundle, data)
    (worker,) = house.pool.pids()
    before = _cpu_s(worker)
    wall = seconds(lambda: [house.pool.evaluate(bundle, data) for _ in range(PLANS)])
    used = _cpu_s(worker) - before
    return Figure(
        f"plan of {CHANGES} changes ({len(data) / 1000:.0f} kB) x 20 rules",
        used / PLANS * 1000,
        "ms CPU",
        25,
        note=f"{wall / PLANS * 1000:.1f} ms of wall time",
    )


def plan(draw: random.Random) -> dict[str, Any]:
    """The input of a decision about a plan, with attributes as a provider has them."""
    changes = [
        {
            "action": draw.choice(["create", "update", "delete", "no-op"]),
            "address": f"module.m{number % 9}.aws_kind_{number % 30}.this[{number}]",
            "type": f"aws_kind_{number % 30}",
            "provider": "registry.terraform.io/hashicorp/aws",
            "before": None,
            "after": {
                "arn": f"arn:aws:kind:eu-central-1:123456789012:thing/{draw.getrandbits(96):024x}",
                "name": f"thing-{number}",
                "size": draw.randrange(1000),
                "tags": {f"tag_{tag}": f"value-{draw.randrange(99)}" for tag in draw.sample(range(20), 12)},
                "rules": [{"port": draw.randrange(65536), "cidr": f"10.{draw.randrange(256)}.0.0/16"}] * 6,
                "description": "x" * 340,
            },
        }
        for number in range(CHANGES)
    ]
    return {"point": "plan", "now": "2026-01-01T00:00:00.000000Z", "change_set": {"changes": changes}}


def _publish(house: House, directory: Path) -> Figure:
    """Run the tests, check, and publish as a new set."""
    directory.mkdir()
    for file in range(FILES):
        numbers = range(RULES)
        rules = "".join(_SET_RULE.format(file=file, number=number) for number in numbers)
        tests = "".join(_SET_TEST.format(file=file, number=number) for number in numbers)
        (directory / f"rules{file}.rego").write_text("package mandamus.plan\n" + rules)
        (directory / f"rules{file}_test.rego").write_text("package mandamus.plan\n" + tests)

    def publish() -> None:
        report = testing.run(
            testing_files.read((directory,), ()),
            house.pool,
            testing.Settings(),
            time.monotonic,
            lambda _done, _of: None,
        )
        if not report.ok or len(report.tests) != FILES * RULES:
            raise AssertionError(f"the tests of the large set do not pass: {report}")
        tree = house.policy.read(directory)
        if house.policy.problems(tree):
            raise AssertionError("the large set has problems")
        with house.rooms.db.begin("publish") as tx:
            house.policy.publish(tx, owner(house), tree)

    return Figure(f"publish {FILES * RULES} rules with their {FILES * RULES} tests", seconds(publish), "s", 5)


def owner(house: House) -> Any:
    """Whoever may publish."""
    return house.rooms.identity.embedded(house.rooms.identity.owner() or "", None, is_owner=True)


def _bundle(house: House) -> Bundle:
    (attached, *_) = house.catalog.environment("bench").policies
    return house.policy.bundle(house.who, attached.set)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
