"""What the command line needs of an opened home, and the factory that opens one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from mandamus.audit.break_glass import BreakGlass
from mandamus.audit.service import Audit
from mandamus.catalog.service import Catalog
from mandamus.evidence.service import Evidence
from mandamus.identity.granting import Granting
from mandamus.identity.kill_switch import KillSwitch
from mandamus.identity.passwords import Passwords
from mandamus.identity.service import Identity
from mandamus.identity.sessions import Sessions
from mandamus.identity.tokens import Tokens
from mandamus.kernel.access import Subject
from mandamus.kernel.errors import MandamusError
from mandamus.kernel.ids import RunId
from mandamus.notify.service import Notify
from mandamus.operations.access_review import AccessReview
from mandamus.operations.anchoring import Anchoring
from mandamus.operations.configure import Configure
from mandamus.operations.doctor import Doctor
from mandamus.operations.log_export import LogExport
from mandamus.operations.log_keys import LogKeys
from mandamus.operations.personal_data import PersonalData
from mandamus.operations.pruning import Pruning
from mandamus.operations.retention import Retention
from mandamus.policy.backtest import Backtests
from mandamus.policy.service import Policy
from mandamus.runs.model import Notice, Run
from mandamus.runs.service import Runs


class House(Protocol):
    """An opened home: who acts, and the services whose verbs commands call."""

    @property
    def who(self) -> Subject:
        """The person at the keyboard, or who they act as."""
        ...

    @property
    def home(self) -> Path:
        """The folder of the home."""
        ...

    @property
    def runs(self) -> Runs:
        """The story of every run."""
        ...

    @property
    def catalog(self) -> Catalog:
        """What may run."""
        ...

    @property
    def policy(self) -> Policy:
        """May it."""
        ...

    @property
    def identity(self) -> Identity:
        """Who."""
        ...

    @property
    def granting(self) -> Granting:
        """Roles, and who has which where."""
        ...

    @property
    def access_review(self) -> AccessReview:
        """Who may do what, and who may approve what."""
        ...

    @property
    def passwords(self) -> Passwords:
        """The owner's own password, if there is one."""
        ...

    @property
    def kill_switch(self) -> KillSwitch:
        """Ends what people and programs come in with."""
        ...

    @property
    def sessions(self) -> Sessions:
        """How people come in by a browser."""
        ...

    @property
    def tokens(self) -> Tokens:
        """What programs show to say who they act for."""
        ...

    @property
    def audit(self) -> Audit:
        """The log."""
        ...

    @property
    def anchoring(self) -> Anchoring:
        """Keeps checkpoints where this home cannot take them back."""
        ...

    @property
    def evidence(self) -> Evidence:
        """The proof."""
        ...

    @property
    def configure(self) -> Configure:
        """Declares users, groups and environments."""
        ...

    @property
    def backtests(self) -> Backtests:
        """Tries candidates of policy sets on the past."""
        ...

    @property
    def doctor(self) -> Doctor:
        """Looks at this home and the machine."""
        ...

    @property
    def notify(self) -> Notify:
        """Tells who asked for it of events."""
        ...

    @property
    def log_export(self) -> LogExport:
        """Sends the log to sinks."""
        ...

    @property
    def log_keys(self) -> LogKeys:
        """Lets another key sign the log."""
        ...

    @property
    def break_glass(self) -> BreakGlass:
        """Two people let effects begin although the log is in trouble."""
        ...

    @property
    def personal_data(self) -> PersonalData:
        """Erases what is known of people."""
        ...

    @property
    def pruning(self) -> Pruning:
        """Takes away old entries of the log."""
        ...

    @property
    def retention(self) -> Retention:
        """How long which events are kept."""
        ...

    def drive(self, run_id: RunId, watcher: Callable[[Notice], None]) -> Run:
        """See a run through in this process, or follow the process that does; returns when it waits or has ended."""
        ...

    def record_denied(self, error: MandamusError) -> None:
        """Write ``access.denied`` for an error that says ``forbidden``, ``change.refused`` for a guard's."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


OpenHouse = Callable[[Path, str | None, str], House]
"""Opens the home in a folder (made when there is none) for the OS user or as whom it may act, and for a ticket."""
