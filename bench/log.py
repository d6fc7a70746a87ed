"""The hot paths of the log and of policy: audited commits, verification, one decision."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from events import event, leaf_bytes
from figures import Figure, interleaved, median
from stage import Stage
from steps import COMMITS, raw_commits

from mandamus.audit.verify import verify_log
from mandamus.policy.model import Point

LEAVES = 20_000
DECISIONS = 200


def measure() -> Iterator[Figure]:
    """Each beside what the machine does for the bare work."""
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        with stage.warm() as house:
            each = event(f"run_{'0' * 26}")

            def audited() -> None:
                for _ in range(COMMITS):
                    with house.rooms.db.begin("bench") as tx:
                        house.audit.record(tx, each)

            commits = Path(folder) / "commits.db"
            row = leaf_bytes()
            ours, raw = interleaved((audited, lambda: raw_commits(commits, row)))
            environment = house.catalog.environment("bench")
            document = {"change_set": {"tool": {"name": "noop"}, "changes": []}, "step": {"name": "s"}}

            def decide() -> None:
                for _ in range(DECISIONS):
                    now_us = time.time_ns() // 1000
                    house.policy.decide(Point.PLAN, document, environment.policies, protected=False, now_us=now_us)

            decide()
            (decisions,) = interleaved((decide,))
            with house.rooms.db.begin("fill") as tx:
                for _ in range(LEAVES):
                    house.audit.record(tx, each)
            house.audit.flush()
            data = b"".join(
                path.read_bytes() for path in (stage.home / "log").glob("tile/entries/**/*") if path.is_file()
            )
            verified, hashed = interleaved(
                (lambda: verify_log(stage.home / "log", house.audit.vkey), lambda: hashlib.sha256(data).digest())
            )
    yield Figure(
        "audited commits",
        COMMITS / median(ours),
        "/s",
        0.8 * COMMITS / median(raw),
        at_least=True,
        limit=COMMITS / median(raw),
        limit_name="raw commits/s",
        note="a raw commit is one row as large as a leaf",
    )
    yield Figure("one decision", median(decisions) / DECISIONS * 1000, "ms")
    yield Figure(
        "log verified",
        LEAVES / median(verified),
        "leaves/s",
        limit=LEAVES / median(hashed),
        limit_name="by SHA-256 alone",
    )
