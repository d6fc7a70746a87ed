"""The bundle that proves a run: its size beside the plan, and how long its verification takes."""

from __future__ import annotations

import io
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

from figures import Figure, median
from stage import ALLOW, Stage, see_through

from mandamus.evidence.record import RECORD, fold, unfold
from mandamus.evidence.verify import verify
from mandamus.policy import starter
from mandamus.runs.model import Request

STEPS = "  one: {noop: {}}\n  two: {noop: {}, needs: [one]}\n  three: {noop: {}, needs: [two]}\n"
ROUND = 20
_UNPACKED_MAX = 1 << 30
_PLAN = ("/plan.json", "/change_set.json")


def measure() -> Iterator[Figure]:
    """Three steps under a rule of one line, and the same, only planned, under the whole starter policy."""
    yield from _figures("three steps", starter_set=False)
    yield from _figures("starter policy", starter_set=True)


def _figures(name: str, *, starter_set: bool) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder), ALLOW)
        if starter_set:
            starter.write(stage.project / "policy")
            with stage.house(None) as owner:
                owner.configure.apply(owner.who, stage.project / "platform.yaml")
        path, bundle = stage.workflow("measured", STEPS), Path(folder) / "proof.zip"
        with stage.warm() as house:
            asked = Request(path, "bench", {}, plan_only=starter_set)
            run = see_through(house, house.runs.request(house.who, stage.project, asked).id)
            house.evidence.export(house.who, run.id, bundle)
            key = house.audit.vkey
        if not verify(bundle, key).ok:
            raise AssertionError(verify(bundle, key))
        yield Figure(f"evidence, {name}: size beside the plan", _beside_the_plan(bundle) / 1000, "KB", 50)
        yield Figure(f"evidence, {name}: verified", median([_cpu_ms(bundle, key) for _ in range(ROUND)]), "cpu-ms", 20)


def _cpu_ms(bundle: Path, key: str) -> float:
    """What one verification takes of one CPU: it waits for nothing, so on an idle machine that is its time."""
    begin = time.process_time()
    verify(bundle, key)
    return (time.process_time() - begin) * 1000


def _beside_the_plan(bundle: Path) -> int:
    """The bytes of the bundle, less what its record would lose without the plans."""
    with zipfile.ZipFile(io.BytesIO(bundle.read_bytes())) as found:
        record = found.read(RECORD)
    files = unfold(record, _UNPACKED_MAX)
    rest = fold({name: data for name, data in files.items() if not name.endswith(_PLAN)})[RECORD]
    return bundle.stat().st_size - len(record) + len(rest)
