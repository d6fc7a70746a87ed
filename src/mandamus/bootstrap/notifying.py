"""Builds what tells people and programs of events, and has it follow the log."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from mandamus.audit.service import Audit
from mandamus.cli.late import late, load
from mandamus.kernel.clock import Clock
from mandamus.kernel.ids import Ids, RunId
from mandamus.notify.deliverer import Deliverer
from mandamus.notify.message import Messages
from mandamus.notify.service import Notify
from mandamus.operations.feeder import Feeder
from mandamus.policy.model import Outcome
from mandamus.policy.service import Policy
from mandamus.secrets.service import Secrets
from mandamus.store.database import Database

LOCKS_FOLDER = "notify"

# TLS and HTTP are slow to import, and few commands send anything.
_send = late("mandamus.notify.sender:send")


def notifying(
    db: Database, audit: Audit, clock: Clock, secrets: Secrets, policy: Policy, home: Path, console: Callable[[], str]
) -> Notify:
    """The notifications of one home; while this process integrates the log, it delivers them."""
    messages = Messages(lambda: audit.origin, console, partial(_because, policy), clock)
    send = partial(_send, secrets, clock, _apprise)
    deliverer = Deliverer(db, audit, clock, os.urandom, messages, send, home / LOCKS_FOLDER)
    feeder = Feeder(deliverer.names, deliverer.feed, "notify")
    audit.followed_by(feeder)
    return Notify(db, audit, clock, Ids(clock, os.urandom), messages, send, deliverer, feeder.nudge)


def _because(policy: Policy, run: str, decision: str) -> str:
    """What a decision on a run says, or without one the newest that denied something."""
    made = policy.of_run(RunId(run))
    found = [
        each.verdict for each in made if (each.id == decision if decision else each.verdict.outcome is Outcome.DENY)
    ]
    if not found:
        return ""
    said = found[-1]
    words = [each.msg for each in (*said.violations, *said.warnings)] + [each.msg for each in said.requires]
    return "; ".join(words) or (said.error or "")


def _apprise() -> Any:
    """Apprise's class, which is an extra; its own log may show URLs, and is not kept."""
    made = load("apprise:Apprise")
    logging.getLogger("apprise").disabled = True
    return made
