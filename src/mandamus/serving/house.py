"""What the HTTP doors need of an opened home."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from mandamus.audit.service import Audit
from mandamus.catalog.service import Catalog
from mandamus.evidence.service import Evidence
from mandamus.identity.attempts import Attempts
from mandamus.identity.devices import Devices
from mandamus.identity.exchanges import Exchanges
from mandamus.identity.granting import Granting
from mandamus.identity.kill_switch import KillSwitch
from mandamus.identity.oidc import SignIns
from mandamus.identity.passwords import Passwords
from mandamus.identity.provisioning import Provisioning
from mandamus.identity.service import Identity
from mandamus.identity.sessions import Sessions
from mandamus.identity.tokens import Tokens
from mandamus.kernel.access import Subject
from mandamus.kernel.clock import Clock
from mandamus.kernel.errors import MandamusError
from mandamus.notify.service import Notify
from mandamus.operations.access_review import AccessReview
from mandamus.operations.requests import Requests
from mandamus.policy.backtest import Backtests
from mandamus.policy.engine import Lends
from mandamus.policy.service import Policy
from mandamus.runs.service import Runs


class House(Protocol):
    """The services whose verbs routes call. Who acts is asked anew for every request."""

    @property
    def home(self) -> Path:
        """The folder of the home."""
        ...

    @property
    def clock(self) -> Clock:
        """Time."""
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
    def backtests(self) -> Backtests:
        """What another version of a policy set would have said."""
        ...

    @property
    def pool(self) -> Lends:
        """Workers that a decision is asked of again, to explain it."""
        ...

    @property
    def identity(self) -> Identity:
        """Who."""
        ...

    @property
    def tokens(self) -> Tokens:
        """What programs show to say who they act for."""
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
    def kill_switch(self) -> KillSwitch:
        """Ends what people and programs come in with."""
        ...

    @property
    def provisioning(self) -> Provisioning:
        """What a provider of identities provides."""
        ...

    @property
    def sessions(self) -> Sessions:
        """How people come in by a browser."""
        ...

    @property
    def sign_ins(self) -> SignIns:
        """How people come in by a provider."""
        ...

    @property
    def devices(self) -> Devices:
        """How programs ask for a token of whoever confirms it."""
        ...

    @property
    def passwords(self) -> Passwords:
        """The owner's own password, if there is one."""
        ...

    @property
    def attempts(self) -> Attempts:
        """How often anybody failed to come in, as one server counts it."""
        ...

    @property
    def exchanges(self) -> Exchanges:
        """How programs of other systems get a short token."""
        ...

    @property
    def requests(self) -> Requests:
        """What was asked under which key."""
        ...

    @property
    def audit(self) -> Audit:
        """The log."""
        ...

    @property
    def evidence(self) -> Evidence:
        """The proof."""
        ...

    @property
    def notify(self) -> Notify:
        """Tells who asked for it of events."""
        ...

    @property
    def is_engine(self) -> bool:
        """Whether this process works on the home's runs."""
        ...

    def record_refused(self, who: Subject, error: MandamusError) -> None:
        """Write ``access.denied``: the subject may not do what it asked for."""
        ...
