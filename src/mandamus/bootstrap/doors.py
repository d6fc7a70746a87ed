"""How people and programs come in to an opened home: the services that know who they are."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from mandamus.bootstrap.signing_in import sign_ins
from mandamus.identity.administrators import has_administrator
from mandamus.identity.attempts import Attempts
from mandamus.identity.devices import Devices
from mandamus.identity.exchanges import Exchanges
from mandamus.identity.issuer import Issuers
from mandamus.identity.kill_switch import KillSwitch
from mandamus.identity.oidc import SignIns
from mandamus.identity.passwords import Passwords
from mandamus.identity.provisioning import Provisioning
from mandamus.identity.sessions import Sessions
from mandamus.identity.tokens import Tokens
from mandamus.kernel.access import Subject
from mandamus.runs.rooms import Rooms


@dataclass(frozen=True)
class Doors:
    """A part of `House`: what is made of its rooms for whoever stands before it."""

    rooms: Rooms
    issuers: Issuers

    @property
    def tokens(self) -> Tokens:
        """What programs show to say who they act for."""
        return Tokens(self.rooms.db, self.rooms.audit, self._active, self.rooms.clock, os.urandom)

    @property
    def kill_switch(self) -> KillSwitch:
        """Ends what people and programs come in with."""
        return KillSwitch(self.rooms.db, self.rooms.audit, self.rooms.clock)

    @property
    def provisioning(self) -> Provisioning:
        """What a provider of identities provides."""
        return Provisioning(self.rooms.db, self.rooms.audit, self.rooms.clock, os.urandom)

    @property
    def sessions(self) -> Sessions:
        """How people come in by a browser."""
        return Sessions(self.rooms.db, self.rooms.audit, self._active, self.rooms.clock, os.urandom)

    @property
    def sign_ins(self) -> SignIns:
        """How people come in by a provider."""
        rooms = self.rooms
        return sign_ins(
            rooms.db, self.rooms.audit, self.sessions, self._active, self.issuers, rooms.secrets, self.rooms.clock
        )

    @property
    def devices(self) -> Devices:
        """How programs ask for a token of whoever confirms it."""
        return Devices(self.rooms.db, self.rooms.audit, self.tokens, self._active, self.rooms.clock, os.urandom)

    @property
    def passwords(self) -> Passwords:
        """The owner's own password, if there is one."""
        return Passwords(self.rooms.db, self.rooms.audit, self.sessions, self.rooms.clock, os.urandom)

    @property
    def has_administrator(self) -> bool:
        """Whether somebody answers for this home, so that others may reach it."""
        return has_administrator(self.rooms.db, self._active)

    @property
    def attempts(self) -> Attempts:
        """How often anybody failed to come in, as one server counts it."""
        return Attempts(self.rooms.db, self.rooms.clock)

    @property
    def exchanges(self) -> Exchanges:
        """How programs of other systems get a short token."""
        return Exchanges(self.rooms.db, self.rooms.audit, self.tokens, self.issuers, self._active, self.rooms.clock)

    def _active(self, name: str) -> Subject | None:
        found = self.rooms.identity.active(name)
        return None if found is None else replace(found, guard=self.rooms.gate.guard)
