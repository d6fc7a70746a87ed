"""Opens a home: builds every room of the house and hands each what it works with."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mandamus.audit import gate as gates
from mandamus.audit.break_glass import BreakGlass
from mandamus.audit.configured import note_configuration
from mandamus.audit.gatekeeper import Gatekeeper
from mandamus.audit.keyring import Keyring
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Outcome, Resource
from mandamus.audit.secret_forms import without_secrets
from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.bootstrap.anchors import find_anchors
from mandamus.bootstrap.doors import Doors
from mandamus.bootstrap.governing import governing, usual
from mandamus.bootstrap.keys import LOG, held_log_keys, platform_key, without_keys
from mandamus.bootstrap.notifying import notifying
from mandamus.bootstrap.origin import origins
from mandamus.bootstrap.signing_in import console_url, issuers
from mandamus.bootstrap.tools import SystemClock, load_executors, this_process, toolbox
from mandamus.bootstrap.witnesses import witnessing
from mandamus.catalog.service import Catalog
from mandamus.cli.late import late
from mandamus.engine import dispatch
from mandamus.engine.effect import Effects
from mandamus.engine.service import Engine
from mandamus.evidence.service import Evidence
from mandamus.executors.output import OutputLog
from mandamus.executors.sandbox import Bubblewrap
from mandamus.executors.service import Executors
from mandamus.executors.state import StateStore
from mandamus.identity.declared_machines import DeclaredMachines
from mandamus.identity.declared_sign_in import DeclaredSignIn
from mandamus.identity.granting import Granting
from mandamus.identity.issuer import Issuers
from mandamus.identity.model import OS_USER
from mandamus.identity.service import Identity
from mandamus.kernel.access import Subject
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Ids, RunId
from mandamus.notify.service import Notify
from mandamus.operations.access_review import AccessReview
from mandamus.operations.anchoring import Anchoring
from mandamus.operations.configure import Configure
from mandamus.operations.doctor import Doctor
from mandamus.operations.feeder import Feeder
from mandamus.operations.log_export import LogExport
from mandamus.operations.log_keys import LogKeys
from mandamus.operations.personal_data import PersonalData
from mandamus.operations.pruning import Pruning
from mandamus.operations.requests import Requests
from mandamus.operations.retention import Retention
from mandamus.operations.tools import terraform
from mandamus.policy.backtest import Backtests
from mandamus.policy.engine import Evaluator
from mandamus.policy.pool import Limits, WorkerPool, worker_command
from mandamus.policy.service import Policy
from mandamus.policy.testing_publish import Tester
from mandamus.runs import drive
from mandamus.runs.model import Run
from mandamus.runs.rooms import Rooms, Watcher
from mandamus.runs.service import Runs
from mandamus.secrets.service import Secrets
from mandamus.settings import Settings
from mandamus.store import migrate
from mandamus.store.blobs import Blobs
from mandamus.store.data_keys import data_keys
from mandamus.store.database import CommitHook, Database, no_hook, open_postgres, open_sqlite
from mandamus.store.keys import Keys

# Few commands need these, and HTTP is slow to import.
_connect = late("mandamus.policy.server:connect")
_open_taker = late("mandamus.operations.sink_taker:open_taker")

NODE = "embedded"
"""The engine of an embedded home is the same node in every process: the engine lock lets one be it at a time."""


@dataclass(frozen=True)
class House(Doors):
    """An opened home, and who acts in it."""

    home: Path
    who: Subject
    rooms: Rooms
    runs: Runs
    configure: Configure
    backtests: Backtests
    doctor: Doctor
    log_keys: LogKeys
    log_export: LogExport
    anchoring: Anchoring
    pool: WorkerPool
    evaluator: Evaluator
    notify: Notify
    issuers: Issuers

    @property
    def personal_data(self) -> PersonalData:
        """Erases what is known of people."""
        return PersonalData(self.rooms.db, self.audit, self.identity, self.rooms.clock)

    @property
    def pruning(self) -> Pruning:
        """Takes away old entries of the log."""
        return Pruning(self.rooms.db, self.audit, self.rooms.clock, self.log_export.names)

    @property
    def retention(self) -> Retention:
        """How long which events are kept."""
        return Retention(self.rooms.db, self.audit)

    @property
    def break_glass(self) -> BreakGlass:
        """Two people let effects begin although the log is in trouble."""
        return BreakGlass(self.rooms.db, self.audit, self.rooms.clock, self.rooms.ids)

    @property
    def catalog(self) -> Catalog:
        """What may run."""
        return self.rooms.catalog

    @property
    def policy(self) -> Policy:
        """May it."""
        return self.rooms.policy

    @property
    def identity(self) -> Identity:
        """Who."""
        return self.rooms.identity

    @property
    def audit(self) -> Audit:
        """The log."""
        return self.rooms.audit

    @property
    def evidence(self) -> Evidence:
        """The proof."""
        return self.rooms.evidence

    def drive(self, run_id: RunId, watcher: Watcher) -> Run:
        """See a run through in this process, or follow the process that does; returns when it waits or has ended."""
        return drive.drive(self.rooms, run_id, watcher)

    @property
    def granting(self) -> Granting:
        """Roles, and who has which where."""
        return Granting(self.rooms.db, self.audit, self.clock)

    @property
    def access_review(self) -> AccessReview:
        """Who may do what, and who may approve what."""
        return AccessReview(self.rooms.db, self.audit, self.identity, self.granting, self.catalog, self.clock)

    @property
    def requests(self) -> Requests:
        """What was asked under which key."""
        return Requests(self.rooms.db, self.clock)

    @property
    def clock(self) -> Clock:
        """Time."""
        return self.rooms.clock

    @property
    def is_engine(self) -> bool:
        """Whether this process works on the home's runs."""
        return self.rooms.engine.running

    def become_engine(self) -> bool:
        """Work on the home's runs from now on; False while another process does."""
        return drive.start(self.rooms)

    def record_denied(self, error: MandamusError) -> None:
        """Write ``access.denied`` for an error that says ``forbidden``, ``change.refused`` for a guard's."""
        self.record_refused(self.who, error)

    def record_refused(self, who: Subject, error: MandamusError) -> None:
        """The same for whoever asked through another door."""
        resource = Resource("access", str(error.context.get("permission", "home")))
        data = {"permission": str(error.context.get("permission", ""))}
        kind = Kind.ACCESS_DENIED
        if "row" in error.context:
            kind = Kind.CHANGE_REFUSED
            data["row"] = str(error.context["row"])
        why = without_secrets(error.message)
        made = Event(kind, who, resource, Outcome.DENIED, why=why, data=data)
        with self.rooms.db.begin("access denied") as tx:
            self.rooms.audit.record(tx, made)

    def close(self) -> None:
        """Publish what is recorded and let go of everything."""
        try:
            drive.stop(self.rooms)
        finally:
            self.evaluator.close()
            self.pool.close()
            self.rooms.db.close()


def open_house(
    settings: Settings,
    environ: Mapping[str, str],
    home: Path,
    as_user: str | None,
    *,
    agent: str = "mandamus",
    ticket: str = "",
    hook: CommitHook = no_hook,
    tools: Executors | None = None,
    clock: Clock | None = None,
    disk: Callable[[], gates.Disk] | None = None,
) -> House:
    """Open the home in a folder, made when there is none, for the OS user or as who the owner claims to be.

    ``agent`` is the program as the log names it, ``ticket`` the change request that all of this is for.

    ``hook`` is called around every commit (the crash test ends the
    process there); ``tools``, ``clock`` and ``disk`` are the executors, the time and the disk when they are not this
    machine's. Raises ``home_invalid``, ``forbidden``,
    ``not_found`` and what the log's own checks raise.
    """
    owner = _prepare(home)
    environ = without_keys(environ)
    os_user = user_name(os.getuid())
    clock, entropy = clock or SystemClock(), os.urandom
    keys = Keys(home / "keys", entropy)
    db = Database(engine_of(settings, home), hook)
    dispatch.migrate(db.engine)
    migrate.migrate(db.engine, data_keys(home, entropy).seal)
    origin, base = origins(settings, home)
    platform = platform_key(settings, environ, keys, base)
    log_keys = Keyring(origin, partial(held_log_keys, settings, environ, keys, origin))
    audit = Audit(db, home / "log", log_keys, clock, entropy)
    audit.recorded_from(this_process(agent, Ids(clock, entropy)))
    witnesses = witnessing(settings, home)
    if witnesses is not None:
        audit.seen_by(witnesses)
    audit.open(Subject(os_user, OS_USER), platform.vkey)
    export = LogExport(
        home, db, audit, clock, partial(_open_taker, Secrets(environ, home / "secrets"), clock, time.sleep)
    )
    audit.followed_by(Feeder(export.names, export.feed))
    glass = BreakGlass(db, audit, clock, Ids(clock, entropy))
    gate = Gatekeeper(audit, _gate_limits(settings), clock, disk or partial(disk_of, home), export.behind, glass)
    identity = Identity(db, audit, clock)
    if identity.owner() is None:
        with db.begin("home.create") as tx:
            identity.create_home(tx, user_name(owner))
    if os.getuid() == owner:
        opener = Subject(os_user, OS_USER, ticket=ticket)
        note_configuration(db, audit, opener, governing(settings, home, witnesses), usual(Settings()))
    who = replace(identity.embedded(os_user, as_user, is_owner=os.getuid() == owner), guard=gate.guard)
    who = replace(who, ticket=ticket)
    tools = tools or load_executors(settings, environ)
    rotations = LogKeys(db, audit, log_keys, clock, partial(keys.follow, LOG))
    return _house(
        settings, environ, home, who, db, keys, audit, gate, export, identity, platform, rotations, clock, tools
    )


def _house(
    settings: Settings,
    environ: Mapping[str, str],
    home: Path,
    who: Subject,
    db: Database,
    keys: Keys,
    audit: Audit,
    gate: Gatekeeper,
    export: LogExport,
    identity: Identity,
    platform: Signer,
    log_keys: LogKeys,
    clock: Clock,
    tools: Executors,
) -> House:
    ids = Ids(clock, os.urandom)
    blobs = Blobs(home / "blobs", keys, os.urandom)
    pool = _pool(settings, clock)
    evaluator = _evaluator(settings, clock, pool)
    policy = Policy(db, blobs, audit, evaluator, clock, ids, Tester(pool, clock.monotonic_s))
    catalog = Catalog(db, blobs, audit, clock, tools.validators())
    engine = Engine(db, home / "engine.lock", NODE, clock)
    rooms = Rooms(
        db=db,
        blobs=blobs,
        audit=audit,
        engine=engine,
        effects=Effects(db, audit, engine, clock, float(settings.audit_timeout_s)),
        gate=gate,
        identity=identity,
        secrets=Secrets(environ, home / "secrets"),
        catalog=catalog,
        policy=policy,
        executors=tools,
        states=StateStore(db, blobs, clock),
        outputs=OutputLog(db, clock, settings.output_bytes_max),
        evidence=Evidence(db, blobs, audit, platform, clock),
        signer=platform,
        clock=clock,
        ids=ids,
        redaction_key=keys.key("redaction"),
        work=home / "work",
    )
    doctor = _doctor(settings, environ, home, rooms, evaluator)
    backtests = Backtests(db, blobs, audit, pool, clock, ids, len(os.sched_getaffinity(0)))
    console = partial(console_url, settings.public_url, db, audit)
    notify = notifying(db, audit, clock, rooms.secrets, policy, home, console)
    configure = _configure(rooms, backtests, notify)
    anchoring = Anchoring(db, audit, partial(find_anchors, home, environ), clock)
    return House(
        rooms,
        issuers(clock),
        home,
        who,
        Runs(rooms),
        configure,
        backtests,
        doctor,
        log_keys,
        export,
        anchoring,
        pool,
        evaluator,
        notify,
    )


def _doctor(settings: Settings, environ: Mapping[str, str], home: Path, rooms: Rooms, evaluator: Evaluator) -> Doctor:
    return Doctor(
        home=home,
        db=rooms.db,
        blobs=rooms.blobs,
        audit=rooms.audit,
        effects=rooms.effects,
        gate=rooms.gate,
        catalog=rooms.catalog,
        evaluator=evaluator,
        clock=rooms.clock,
        sandbox=Bubblewrap(environ).check,
        tools={"terraform": partial(terraform, toolbox(settings, environ))},
        named=(rooms.policy.named_blobs, rooms.states.named_blobs),
        decisions=rooms.policy.differences,
    )


def _configure(rooms: Rooms, backtests: Backtests, notify: Notify) -> Configure:
    db, audit = rooms.db, rooms.audit
    return Configure(
        db,
        rooms.identity,
        Granting(db, audit, rooms.clock),
        rooms.catalog,
        rooms.policy,
        backtests,
        Retention(db, audit),
        notify,
        DeclaredSignIn(db, audit),
        DeclaredMachines(db, audit),
    )


def _gate_limits(settings: Settings) -> gates.Limits:
    return gates.Limits(
        settings.audit_lag_warn_s,
        settings.audit_lag_block_s,
        settings.disk_free_min_percent / 100,
        settings.disk_enough_gib * gates.GIB,
    )


def disk_of(home: Path) -> gates.Disk:
    """The disk of a home, as this machine tells it."""
    found = os.statvfs(home)
    return gates.Disk(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


def policy_engine(settings: Settings) -> WorkerPool:
    """OPA by itself, for commands that work on policy texts and need no home."""
    return _pool(settings, SystemClock())


def _pool(settings: Settings, clock: Clock) -> WorkerPool:
    limits = _limits(settings)
    return WorkerPool(clock, limits, worker_command(limits))


def _evaluator(settings: Settings, clock: Clock, pool: WorkerPool) -> Evaluator:
    """Who decides: the embedded OPA, or a server when there is one; all other work on policy is the pool's."""
    if not settings.policy_url:
        return pool
    made: Evaluator = _connect(
        settings.policy_url, settings.policy_token_file, settings.policy_roots, clock, _limits(settings)
    )
    return made


def _limits(settings: Settings) -> Limits:
    return Limits(decide_s=settings.policy_deadline_ms / 1000, workers_per_set=settings.policy_workers)


def engine_of(settings: Settings, home: Path) -> Any:
    """The database of a home: the server the settings name, else the file in it."""
    return open_postgres(settings.database_url) if settings.database_url else open_sqlite(home / "mandamus.db")


def _prepare(home: Path) -> int:
    """Make the home's folder when there is none; the user id of its owner. Others may not read it."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = home.stat()
        for name in ("people", "secrets", "work"):
            (home / name).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise MandamusError(
            Code.HOME_INVALID,
            f"{home} cannot be a home: {error.strerror}",
            remedy="name a folder of yours with --home DIR",
        ) from error
    if status.st_mode & 0o077:
        raise MandamusError(
            Code.HOME_INVALID,
            f"others may read {home}, which holds keys and plans",
            remedy=f"`chmod 700 {home}`, or name another folder with --home DIR",
        )
    return status.st_uid


def user_name(uid: int) -> str:
    """The OS user's name, or a number when the machine knows none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"
