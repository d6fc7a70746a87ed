"""Begins a new log for a home that does not open any more, or whose log's key is lost or known to others."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mandamus.audit import epoch
from mandamus.audit.keyring import Keyring
from mandamus.audit.rotation import opening
from mandamus.audit.service import Audit
from mandamus.audit.signer import Signer
from mandamus.bootstrap.house import engine_of, user_name
from mandamus.bootstrap.keys import LOG, given_log_key, held_log_keys, platform_key, without_keys
from mandamus.bootstrap.origin import name_origin, origins
from mandamus.bootstrap.tools import SystemClock, this_process
from mandamus.engine import dispatch
from mandamus.identity.model import OS_USER
from mandamus.kernel.access import Subject
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Ids
from mandamus.operations.checkup import engine_holder
from mandamus.settings import Settings
from mandamus.store import migrate
from mandamus.store.data_keys import data_keys
from mandamus.store.database import CommitHook, Database, no_hook
from mandamus.store.keys import Keys


def new_epoch(
    settings: Settings,
    environ: Mapping[str, str],
    home: Path,
    reason: str,
    *,
    distrust: bool,
    hook: CommitHook = no_hook,
    clock: Clock | None = None,
) -> Mapping[str, Any]:
    """Begin a new log and publish it; what was begun and interrupted is seen through.

    ``distrust`` leaves the keys of the old log out of the new trust root. Only the owner of the home's folder may, and
    no engine may run. Raises ``forbidden``, ``home_locked`` and what the database raises.
    """
    _refuse(home)
    environ, clock = without_keys(environ), clock or SystemClock()
    who = Subject(user_name(os.getuid()), OS_USER, where=this_process("mandamus", Ids(clock, os.urandom)))
    keys = Keys(home / "keys", os.urandom)
    db = Database(engine_of(settings, home), hook)
    try:
        dispatch.migrate(db.engine)
        migrate.migrate(db.engine, data_keys(home, os.urandom).seal)
        origin, base = origins(settings, home)
        platform = platform_key(settings, environ, keys, base)
        with db.read() as conn:
            ended = epoch.read_ended(conn, home / "log", origin)
            tree, name = epoch.tree_of(conn, origin), epoch.begun(conn, origin)
            following = name or epoch.next_origin(conn, home / "log", base)
        if not name:
            key = given_log_key(settings, environ, following) or Signer(following, keys.key(keys.follow(LOG)))
            ring = Keyring(following, lambda: [key])
            audit = Audit(db, home / "log", ring, clock, os.urandom)
            made = opening(who, ring, platform.vkey, why=reason, continues=ended.to_json(distrust=distrust))
            epoch.restart(db, audit, ring, clock, tree, made)
        kept = epoch.set_aside(home / "log")
        ring = Keyring(following, partial(held_log_keys, settings, environ, keys, following))
        with db.read() as conn:
            ring.refresh(conn)
        for name in keys.held(LOG):
            # What signed the old log may be known to others: a later rotation must not take it for a new key.
            if Signer(following, keys.key(name)).verifier != ring.newest:
                keys.set_aside(name, f"ended-{origin.replace('/', '-')}")
        name_origin(home, following, base)
        audit = Audit(db, home / "log", ring, clock, os.urandom)
        checkpoint = audit.open(who, platform.vkey)
        size = ended.checkpoint.size if ended.checkpoint else None
        return {
            "origin": following,
            "trust": audit.vkey.split("\n"),
            "size": checkpoint.size,
            "ended": {"origin": origin, "size": size, "folder": None if kept is None else str(kept)},
        }
    finally:
        db.close()


def _refuse(home: Path) -> None:
    if not (home / "keys").is_dir():
        raise MandamusError(
            Code.NOT_FOUND,
            f"there is no home in {home}",
            remedy="name the home with --home DIR",
            context={"home": str(home)},
        )
    if home.stat().st_uid != os.getuid():
        raise MandamusError(
            Code.FORBIDDEN,
            f"only the owner of {home} may begin a new log in it",
            remedy="run it as the OS user who owns the folder",
            context={"permission": "audit:admin"},
        )
    holder = engine_holder(home)
    if holder is not None:
        raise MandamusError(
            Code.HOME_LOCKED,
            f"process {holder} runs steps of this home",
            remedy="stop every process of this home first",
            context={"process": holder},
        )
