"""The main job, told as a story: a change is refused, mended, approved, applied, and proved to a stranger.

Everything in it is real: the home, terraform, OPA, the sandbox, the log, the bundle. Only the two people are made up.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mandamus.audit.service import Audit
from mandamus.audit.verify import verify_log
from mandamus.demo.receiver import Receiver
from mandamus.evidence.service import Evidence
from mandamus.evidence.verify import verify
from mandamus.kernel.access import Subject
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import RunId
from mandamus.operations.configure import Configure
from mandamus.policy import starter
from mandamus.runs.lifecycle import RunState
from mandamus.runs.model import Notice, Request, Run
from mandamus.runs.service import Runs

PROJECT = Path(__file__).parent / "project"
HOOK = "http://127.0.0.1:8/"
"""Stands in the demo's platform file for the address of the receiver."""

Say = Callable[[str], None]


class House(Protocol):
    """What the story needs of an opened home."""

    who: Subject
    runs: Runs
    configure: Configure
    audit: Audit
    evidence: Evidence

    def drive(self, run_id: RunId, watcher: Callable[[Notice], None]) -> Run:
        """See a run through until it waits or has ended."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


OpenHouse = Callable[[Path, str | None], House]


def tell(open_house: OpenHouse, folder: Path, say: Say, project: Path = PROJECT) -> dict[str, Any]:
    """Play the story in an empty folder; gives the facts it ends with.

    Raises ``conflict`` when the story does not come out as it must, whatever the reason.
    """
    with Receiver() as receiver:
        stage = Stage(open_house, folder / "home", folder / "project", say, receiver)
        stage.set(project)
        denied = stage.denied()
        run = stage.asked()
        refused = stage.own_approval(run)
        applied = stage.approved(run)
        bundle = stage.evidence(run)
        leaf = stage.tampered()
    return {
        "story": "complete",
        "denied": {name: denied[name] for name in ("rule", "file", "line")},
        "refused_self_approval": refused,
        "approved_by": "grace",
        "applied": applied,
        "evidence": bundle,
        "tamper": {"leaf": leaf},
    }


@dataclass
class Stage:
    """A home and a project in an empty folder, and the scenes that are played on them."""

    open_house: OpenHouse
    home: Path
    project: Path
    say: Say
    receiver: Receiver

    def set(self, project: Path) -> None:
        """A home, a project, two people, one environment with two policy sets: the starter set and its own."""
        shutil.copytree(project, self.project)
        _starter(self.project / "policies" / "starter")
        platform = self.project / "platform.yaml"
        platform.write_text(platform.read_text().replace(HOOK, self.receiver.url))
        self.say("A home with a SQLite database and its own keys; a project with one workflow.")
        self.say("Two policy sets judge it: the starter set of `mandamus policy starter`, and one of the project.")
        with closing(self.open_house(self.home, None)) as house:
            house.configure.apply(house.who, platform)
        self.say("The platform engineer declares ada, grace of group platform, and the environment dev.")

    def denied(self) -> Mapping[str, Any]:
        """Ada asks for a public bucket; policy says no, with rule, file, line and the way out."""
        self.say("\nada asks for a bucket that strangers can read.")
        run = self._ask("ada", public=True)
        _expect(run.state is RunState.DENIED, "the request for a public bucket was not denied", run)
        violations: Any = (run.error or {}).get("context", {}).get("violations", [])
        _expect(bool(violations), "the denial names no rule", run)
        first = violations[0]
        where = f"{first['file']}:{first['line']}"
        self.say(f"  denied: {first['msg']}\n  by {first['rule']} at {where}\n  remedy: {first['remedy']}")
        return {"run": run.id, "rule": first["rule"], "file": first["file"], "line": first["line"]}

    def asked(self) -> Run:
        """Ada asks again, as policy advised; the plan now waits for the platform group."""
        self.say("\nada asks again, with public=false.")
        run = self._ask("ada", public=False)
        _expect(run.state is RunState.WAITING, "the corrected request does not wait for an approval", run)
        return run

    def own_approval(self, run: Run) -> bool:
        """Ada tries to approve her own change."""
        self.say("\nada approves it herself.")
        with closing(self.open_house(self.home, "ada")) as house:
            try:
                house.runs.approve(house.who, run.id, reason="looks good to me")
            except MandamusError as error:
                _expect(error.code is Code.APPROVAL_REFUSED, "ada was refused for another reason", run)
                self.say(f"  refused: {error.message}")
                return True
        raise _broken("ada approved her own change", run)

    def approved(self, run: Run) -> str:
        """Grace approves; exactly the saved plan is applied, then the script and the HTTP call follow."""
        self.say("\ngrace approves.")
        with closing(self.open_house(self.home, "grace")) as house:
            approval = house.runs.approve(house.who, run.id, reason="private, encrypted, named as agreed")
            self.say(f"  bound to {approval.binding}")
            ended = house.drive(run.id, self._watch)
            _expect(ended.state is RunState.SUCCEEDED, "the approved change did not succeed", ended)
            row = next(row for row in house.runs.show(house.who, run.id).steps if row.name == "bucket")
        _expect(len(self.receiver.bodies) == 1, "the receiver was not told exactly once", ended)
        self.say(f"  the receiver was told: {self.receiver.bodies[0].decode()}")
        _expect(row.plan is not None and row.binding is not None, "the applied step has no plan", ended)
        _expect(row.binding is not None and row.binding.digest == approval.binding, "another plan was applied", ended)
        return approval.binding

    def evidence(self, run: Run) -> str:
        """An auditor takes the bundle and the log's public key, and needs nothing else."""
        self.say("\nAn auditor, with the bundle and the log's public key only:")
        bundle = self.home.parent / "evidence.zip"
        with closing(self.open_house(self.home, None)) as house:
            house.evidence.export(house.who, run.id, bundle)
            trust = house.audit.vkey
        report = verify(bundle, trust)
        _expect(report.ok, f"the evidence does not verify: {report.to_json()}", run)
        self.say(f"  {bundle.name} verifies: {bundle.stat().st_size} bytes")
        whole = verify_log(self.home / "log", trust)
        _expect(whole.ok, f"the log does not verify: {whole.to_json()}", run)
        self.say(f"  the log verifies: {whole.size} leaves")
        return "verified"

    def tampered(self) -> int:
        """Somebody changes one byte of one entry in a copy of the log."""
        self.say("\nSomebody flips one byte in a copy of the log.")
        copy = self.home.parent / "tampered-log"
        shutil.copytree(self.home / "log", copy)
        entries = max(
            (path for path in copy.glob("tile/entries/**/*") if path.is_file()), key=lambda p: p.stat().st_size
        )
        data = bytearray(entries.read_bytes())
        data[len(data) // 2] ^= 1
        entries.chmod(0o600)
        entries.write_bytes(data)
        report = verify_log(copy, (self.home / "log" / "log.vkey").read_text().strip())
        if report.ok or report.leaf is None:
            raise _broken("verification did not name the changed leaf", None)
        self.say(f"  tampered: leaf {report.leaf}")
        return report.leaf

    def _ask(self, user: str, *, public: bool) -> Run:
        with closing(self.open_house(self.home, user)) as house:
            request = Request(
                workflow="workflows/storage-bucket.yaml",
                environment="dev",
                inputs={"name": "ledger-archive", "public": public},
                reason="a place for the ledger's archive",
            )
            run = house.runs.request(house.who, self.project, request)
            return house.drive(run.id, self._watch)

    def _watch(self, notice: Notice) -> None:
        if notice.step:
            text = f"  {notice.text.splitlines()[0]}" if notice.text else ""
            self.say(f"  {notice.step}: {notice.state}{text}")


def _starter(folder: Path) -> None:
    """The starter set, configured in its data.json: what the project's own rule says better is left to that.

    The rule in the project names the workflow's input as the way out, which no general rule can know.
    """
    starter.write(folder)
    data = folder / "data.json"
    configured = json.loads(data.read_text(encoding="utf-8"))
    configured["starter"]["environments"] = {"dev": {"public_storage": {"enabled": False}}}
    data.write_text(json.dumps(configured, indent=2), encoding="utf-8")


def _expect(holds: bool, otherwise: str, run: Run | None) -> None:  # noqa: FBT001 - reads like an assertion
    if not holds:
        raise _broken(otherwise, run)


def _broken(why: str, run: Run | None) -> MandamusError:
    details = "" if run is None or run.error is None else f": {run.error.get('message')}"
    return MandamusError(
        Code.CONFLICT,
        f"the demo did not come out as it must: {why}{details}",
        remedy="run `mandamus demo --keep`, then `mandamus doctor --home` on the home it names",
        context={} if run is None else {"run": run.id, "state": run.state.value},
    )
