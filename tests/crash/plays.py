"""The runs the crash test plays, each told so that it can be taken up again from wherever a process died.

Every step that acts leaves a line ``RUN STEP ATTEMPT COLOUR`` in the file ``ledger`` outside of the home: that is the
effect which must be neither lost nor repeated. A file ``die.STEP.WHEN`` makes the step kill the process it works for.
"""

from __future__ import annotations

import getpass
import os
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mandamus.bootstrap.house import House, open_house
from mandamus.bootstrap.tools import SystemClock
from mandamus.kernel.access import Permission
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import RunId
from mandamus.runs.lifecycle import RunState, StepState
from mandamus.runs.model import Request, Run
from mandamus.settings import Settings
from mandamus.store.database import CommitHook, no_hook

OWNER = getpass.getuser()
PATIENCE_S = 30.0

# The home's `work/RUN/STEP.ATTEMPT/box` is what a script without a sandbox has as HOME; the stage is five above.
STAGE = 'stage="$HOME/../../../../.."\n'
ACT = """
die() {
  if rm "$stage/die.$MANDAMUS_STEP.$1" 2>/dev/null; then kill -9 "$(cat "$stage/victim")"; sleep 20; fi
}
die before
echo "$MANDAMUS_RUN $MANDAMUS_STEP $MANDAMUS_ATTEMPT ${COLOUR:-none}" >> "$stage/ledger"
die after
"""
FIRST_TIME_FAILS = 'test "$(grep -c "^$MANDAMUS_RUN $MANDAMUS_STEP " "$stage/ledger")" -gt 1'
# Terraform's provisioners start in the module's folder, somewhere below `work/RUN/STEP.ATTEMPT`.
OUTSIDE_OF_TERRAFORM = """
stage="${PWD%%/home/work/*}"
attempt="${PWD#*/home/work/}"
MANDAMUS_RUN="${attempt%%/*}"
attempt="${attempt#*/}"
attempt="${attempt%%/*}"
MANDAMUS_STEP="${attempt%.*}"
MANDAMUS_ATTEMPT="${attempt##*.}"
"""
STACK = """
variable "value" { type = string }
resource "terraform_data" "one" { input = var.value }
output "value" { value = terraform_data.one.output }
"""
WORLD = """
resource "terraform_data" "world" {
  input = "world"
  provisioner "local-exec" { command = "sh ./act.sh" }
}
"""
TORN = 'resource "terraform_data" "torn" { input = var.nobody_declared }\n'
UNTIL_TOLD = 'n=0; until [ -e "$stage/told" ] || [ $n -gt 500 ]; do sleep 0.02; n=$((n+1)); done'
GIVE_COLOUR = 'echo colour=blue >> "$MANDAMUS_OUTPUT"'
COLOUR = "COLOUR: '${{ has(steps.gate.outputs.colour) ? steps.gate.outputs.colour : \"lost\" }}'"

PLATFORM = """
users: {ada: {}, grace: {}, joan: {}, OWNER: {}}
groups: {platform: [ada, grace], security: [joan]}
environments:
  dev:
    vars: {region: REGION}
    policies: [policy]
    pool: {sandbox: none, network: true, allow_private: [127.0.0.0/8]}
"""
RULES = """
package mandamus.plan

require_approval contains {"group": "platform", "count": 1, "msg": "look"} if startswith(input.step.name, "gate")

deny contains "not this" if input.step.name == "no_plan"
"""
TRIGGER = 'package mandamus.trigger\n\ndeny contains "not today" if input.run.reason == "no start"\n'
STEP = 'package mandamus.step\n\ndeny contains "no such step" if input.step.name == "no_step"\n'
APPLY = """
package mandamus.apply

require_approval contains {"group": "security", "count": 1, "msg": "late"} if input.step.name == "gate_late"
"""


@dataclass(eq=False)
class Parked(Exception):  # noqa: N818 - it is a state of the play, not an error
    """A run waits for a human's word on steps of which nobody knows what became."""

    run: RunId
    steps: tuple[tuple[str, int], ...]


@dataclass
class Stage:
    """A folder with a home and the ledger, and the people who act on it from this process.

    ``database`` is the URL of a Postgres database, else the home has its own; ``url`` is where http steps go. The file
    ``trace`` is what people were told: once it says that a run was requested, there has to be one.
    """

    folder: Path
    database: str = ""
    url: str = ""
    hook: CommitHook = no_hook
    project: Path = field(init=False)

    def __post_init__(self) -> None:
        self.project = self.folder / "project"

    @property
    def home(self) -> Path:
        """The home."""
        return self.folder / "home"

    @contextmanager
    def house(self, user: str | None) -> Iterator[House]:
        """The house as one person's command opens it."""
        clock = _Clock(self.folder / "ahead")
        settings = Settings(database_url=self.database)
        house = open_house(settings, {"PATH": os.environ["PATH"]}, self.home, user, hook=self.hook, clock=clock)
        try:
            yield house
        finally:
            house.close()

    def say(self, *words: str) -> None:
        """Note, durably enough for a kill, that somebody was told something."""
        with (self.folder / "trace").open("a") as file:
            file.write(" ".join(words) + "\n")

    def configure(self, region: str = "north", rules: str = RULES) -> None:
        """Apply the platform file as the owner of the home."""
        files = {"rules": rules, "trigger": TRIGGER, "step": STEP, "apply": APPLY}
        for name, text in files.items():
            (self.project / "policy" / f"{name}.rego").write_text(text)
        platform = self.project / "platform.yaml"
        platform.write_text(PLATFORM.replace("OWNER", OWNER).replace("REGION", region))
        with self.house(None) as house:
            house.configure.apply(house.who, platform)

    def ask(self, user: str, reason: str, workflow: str, *, plan_only: bool = False, **inputs: Any) -> Run:
        """Request the run of that reason unless it is there, and see it through until it waits or has ended."""
        with self.house(user) as house:
            run = self.request(house, reason, workflow, plan_only=plan_only, **inputs)
            return self.see_through(house, run.id)

    def request(self, house: House, reason: str, workflow: str, *, plan_only: bool = False, **inputs: Any) -> Run:
        """Request the run of that reason unless it is there."""
        run = self.find(house, reason)
        if run is None:
            request = Request(f"workflows/{workflow}.yaml", "dev", inputs, reason, plan_only)
            run = house.runs.request(house.who, self.project, request)
            self.say("requested", run.id)
        return run

    def decide(self, user: str, reason: str, verdict: str = "approve") -> Run:
        """Say yes or no to whatever the run waits for, unless that was said, and see the run through."""
        with self.house(user) as house:
            run = self.must_find(house, reason)
            self.vote(house, run.id, verdict)
            return self.see_through(house, run.id)

    def vote(self, house: House, run_id: RunId, verdict: str = "approve") -> None:
        """Decide on every waiting step on which this person has not decided."""
        view = house.runs.show(house.who, run_id)
        said = {given.binding for given in view.approvals if given.by == house.who.user}
        for row in view.steps:
            if row.state is StepState.WAITING and row.binding is not None and row.binding.digest not in said:
                given = getattr(house.runs, verdict)(house.who, run_id, step=row.name)
                self.say("decided", given.id)

    def see_through(self, house: House, run_id: RunId) -> Run:
        """Drive; raises ``Parked`` for a run that waits for a settlement."""
        run = house.drive(run_id, lambda _notice: None)
        self.say("rests", run.id, run.state.value)
        if run.state is RunState.INDETERMINATE:
            rows = house.runs.show(house.who, run_id).steps
            lost = tuple((row.name, row.attempt) for row in rows if row.state is StepState.INDETERMINATE)
            raise Parked(run_id, lost)
        return run

    def settle(self, run_id: RunId, step: str, outcome: str) -> None:
        """A human looked at the ledger, and says what became of the step."""
        with self.house(None) as house:
            house.runs.settle(house.who, run_id, step, outcome, reason="looked at the ledger")
            self.say("settled", run_id, step, outcome)

    def find(self, house: House, reason: str) -> Run | None:
        """The run that was requested for that reason."""
        return next((run for run in house.runs.list(house.who) if run.reason == reason), None)

    def must_find(self, house: House, reason: str) -> Run:
        """The same when it has to be there."""
        run = self.find(house, reason)
        if run is None:
            raise AssertionError(f"the run {reason!r} is gone")
        return run


@dataclass(frozen=True)
class _Clock(SystemClock):
    """The machine's time, and as many seconds more as a file says."""

    file: Path

    def now_us(self) -> int:
        """The wall clock."""
        ahead = float(self.file.read_text()) if self.file.exists() else 0.0
        return super().now_us() + int(ahead * 1_000_000)


@dataclass(frozen=True)
class Play:
    """A story: what it is played from, how it goes, and the state in which each of its runs must end, by reason."""

    name: str
    go: Callable[[Stage], object]
    ends: Mapping[str, str]
    opening: str = "configured"
    """The name of the stage it starts from, see ``Theatre`` in ``crash``."""


def write_project(project: Path) -> None:
    """Every workflow of every play."""
    for folder in ("workflows", "policy"):
        (project / folder).mkdir(parents=True)
    (project / "mandamus.yaml").write_text("# a project\n")
    for name, text in (("stack", STACK), ("world", WORLD), ("torn", TORN)):
        module = project / "terraform" / name
        module.mkdir(parents=True)
        (module / "main.tf").write_text(text)
    (project / "terraform" / "world" / "act.sh").write_text(OUTSIDE_OF_TERRAFORM + ACT)
    for name, steps in WORKFLOWS.items():
        body = textwrap.indent(textwrap.dedent(steps).strip("\n"), "  ")
        inputs = "inputs:\n  url: {type: string, default: none}\n"
        (project / "workflows" / f"{name}.yaml").write_text(f"workflow: {name}\n{inputs}steps:\n{body}\n")


def _script(name: str, more: str = "", *, needs: str = "", rest: str = "", env: str = "") -> str:
    body = textwrap.indent((STAGE + ACT + more).strip("\n"), " " * 8)
    head = f"  needs: [{needs}]\n" * bool(needs) + f"  {rest}\n" * bool(rest)
    return f"{name}:\n{head}  script:\n    env: {{{env}}}\n    run: |\n{body}\n"


WORKFLOWS = {
    "whole": _script("gate", GIVE_COLOUR)
    + _script("flaky", FIRST_TIME_FAILS, needs="gate", rest="retry: {attempts: 2, backoff: 0s}", env=COLOUR)
    + _script("never", needs="gate", rest='if: ${{ inputs.url == "" }}')
    + _script("left", needs="flaky, never", env=COLOUR)
    + _script("right", needs="flaky, never", env=COLOUR)
    + textwrap.dedent("""
        tell:
          needs: [left, right, gate]
          http: {method: POST, url: "${{ inputs.url }}", json: {colour: "${{ steps.gate.outputs }}"}, timeout: 20s}
        """),
    "one": _script("one"),
    "gate": _script("gate"),
    "late": _script("gate_late"),
    "no_plan": _script("no_plan"),
    "no_step": _script("no_step"),
    "broken": "broken: {script: {run: 'true', dir: nowhere}}\n",
    "second_time": _script("second", FIRST_TIME_FAILS),
    "terraform": "".join(
        f"{name}: {{terraform: {{dir: ../terraform/stack, vars: {{value: {name}}}}}}}\n" for name in ("stack", "twin")
    ),
    "stack": "stack: {terraform: {dir: ../terraform/stack, vars: {value: stack}}}\n",
    "twin": "twin: {terraform: {dir: ../terraform/stack, vars: {value: twin}}}\n",
    "torn": "torn: {terraform: {dir: ../terraform/torn}}\n",
    "world": "world: {terraform: {dir: ../terraform/world}}\n",
    "together": _script("gate") + _script("slow", UNTIL_TOLD) + _script("last", needs="gate, slow"),
}


def _whole(stage: Stage) -> None:
    stage.ask("ada", "whole", "whole", url=stage.url)
    stage.decide("grace", "whole")


def _asks(reason: str, workflow: str, *, plan_only: bool = False) -> Callable[[Stage], object]:
    """A play of one request by ada."""
    return lambda stage: stage.ask("ada", reason, workflow, plan_only=plan_only)


def _rejected(stage: Stage) -> None:
    stage.decide("grace", "asked", "reject")


def _cancelled(stage: Stage) -> None:
    with stage.house("ada") as house:
        run = stage.must_find(house, "asked")
        if run.closed_us is None and not run.cancel_requested:
            house.runs.cancel(house.who, run.id, reason="not needed")
        stage.see_through(house, run.id)


def _retried(stage: Stage) -> None:
    run = stage.ask("ada", "failed", "second_time")
    with stage.house("ada") as house:
        if run.state is RunState.FAILED:
            house.runs.retry(house.who, run.id, reason="try again")
        stage.see_through(house, run.id)


def _policy_moved(stage: Stage) -> None:
    stage.configure(rules=RULES + "\n# the same, said anew\n")
    stage.decide("grace", "asked")


def _environment_moved(stage: Stage) -> None:
    stage.configure("south")
    for _ in range(2):
        stage.decide("grace", "asked")


def _late(stage: Stage) -> None:
    stage.decide("grace", "asked late")
    stage.decide("joan", "asked late")


def _words(stage: Stage) -> None:
    """What is recorded beside a run: refusals, a verification, a heartbeat, an export."""
    with stage.house("ada") as house:
        run = stage.must_find(house, "asked")
        with suppress(MandamusError):
            house.runs.approve(house.who, run.id)
        refused = MandamusError(Code.FORBIDDEN, "no", remedy="ask", context={"permission": Permission.RUN_SETTLE})
        house.record_denied(refused)
        house.audit._try_round(idle=True)
        house.audit.verify(house.who)
    stage.decide("grace", "asked")
    with stage.house("grace") as house:
        file = stage.folder / "bundle.zip"
        file.unlink(missing_ok=True)
        house.evidence.export(house.who, run.id, file)


def _from_nothing(stage: Stage) -> None:
    stage.configure()
    stage.ask("ada", "first", "one")


def _one(stage: Stage) -> None:
    try:
        stage.ask("ada", "one", "one")
    except Parked as parked:
        settle_by_ledger(stage, parked)
        stage.ask("ada", "one", "one")


def _two_runs(stage: Stage) -> None:
    """Two runs at once that want the same state: one of them waits for the other's lock."""
    with stage.house("ada") as house:
        runs = [stage.request(house, reason, reason) for reason in ("stack", "twin")]
        for run in runs:
            stage.see_through(house, run.id)


def settle_by_ledger(stage: Stage, parked: Parked) -> None:
    """What a human does about steps of which nobody knows what became: look at the world, and say what is there."""
    done = {tuple(line.split()[1:3]) for line in lines(stage.folder) if line.split()[0] == parked.run}
    for step, attempt in parked.steps:
        stage.settle(parked.run, step, "succeeded" if (step, str(attempt)) in done else "retry")


def lines(folder: Path) -> list[str]:
    """The ledger."""
    ledger = folder / "ledger"
    return ledger.read_text().splitlines() if ledger.exists() else []


def ada_together(stage: Stage) -> None:
    """One of two processes on a home: asks, and is the engine while the other one approves."""
    stage.ask("ada", "together", "together")


def grace_together(stage: Stage) -> None:
    """The other one: approves while the run is under way, then watches, ready to take over."""
    with stage.house("grace") as house:
        run = _asked(stage, house)
        if run is not None:
            stage.vote(house, run.id)
            (stage.folder / "told").touch()
            stage.see_through(house, run.id)


def _asked(stage: Stage, house: House) -> Run | None:
    """The run once one of its steps waits for people; None when the other process died before that."""
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        dead = (stage.folder / "dead").exists()
        run = stage.find(house, "together")
        rows = () if run is None else house.runs.show(house.who, run.id).steps
        if any(row.state is StepState.WAITING for row in rows):
            return run
        if dead:
            return None
        time.sleep(0.01)
    raise AssertionError("nobody asked")


def _together(stage: Stage) -> None:
    (stage.folder / "told").touch()
    ada_together(stage)
    stage.decide("grace", "together")


DONE = "succeeded"
PLAYS = {
    play.name: play
    for play in (
        Play("whole", _whole, {"whole": DONE}),
        Play("one", _asks("one", "one"), {"one": DONE}),
        Play("denied at the start", _asks("no start", "one"), {"no start": "denied"}),
        Play("denied at the plan", _asks("no plan", "no_plan"), {"no plan": "denied"}),
        Play("denied at the step", _asks("no step", "no_step"), {"no step": "denied"}),
        Play("broken", _asks("broken", "broken"), {"broken": "failed"}),
        Play("only planned", _asks("only planned", "gate", plan_only=True), {"only planned": "planned"}),
        Play("retried", _retried, {"failed": DONE}),
        Play("rejected", _rejected, {"asked": "rejected"}, "asked"),
        Play("cancelled", _cancelled, {"asked": "cancelled"}, "asked"),
        Play("policy moved", _policy_moved, {"asked": DONE}, "asked"),
        Play("environment moved", _environment_moved, {"asked": DONE}, "asked"),
        Play("asked for more", _late, {"asked late": DONE}, "asked late"),
        Play("words", _words, {"asked": DONE}, "asked"),
        Play("from nothing", _from_nothing, {"first": DONE}, "nothing"),
        Play("after a promise", _one, {"one": DONE}, "promised"),
        Play("after an end", _one, {"one": DONE}, "ended"),
        Play("after half an act", _one, {"one": DONE}, "half"),
        Play("together", _together, {"together": DONE}),
        Play("terraform", _asks("terraform", "terraform"), {"terraform": DONE}),
        Play("two runs on a state", _two_runs, {"stack": DONE, "twin": DONE}),
        Play("torn terraform", _asks("torn", "torn"), {"torn": "failed"}),
        Play("world", _asks("world", "world"), {"world": DONE}),
    )
}
