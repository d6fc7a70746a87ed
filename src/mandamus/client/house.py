"""A house that is elsewhere: what commands work on when a server is named."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from mandamus.client.access import AccessReview, KillSwitch
from mandamus.client.client import Client
from mandamus.client.rooms import Audit, Catalog, Evidence, Identity, Notify, Policy, Room, Runs, Tokens
from mandamus.client.transport import Sleep, pause
from mandamus.kernel.access import Subject
from mandamus.kernel.ids import RunId
from mandamus.wire import back

LOOK_S = 0.2
LOOK_MAX_S = 2.0
"""A run is looked at this often at first, and less and less often while nothing changes."""


class RemoteHouse(Room):
    """The rooms of a server, as whoever the token is of. What only a home has is refused in words."""

    def __init__(self, client: Client, sleep: Sleep = pause) -> None:
        super().__init__(client)
        self._sleep = sleep
        self.runs = Runs(client)
        self.catalog = Catalog(client)
        self.policy = Policy(client)
        self.identity = Identity(client)
        self.tokens = Tokens(client)
        self.kill_switch = KillSwitch(client)
        self.access_review = AccessReview(client)
        self.audit = Audit(client)
        self.evidence = Evidence(client)
        self.notify = Notify(client)

    @cached_property
    def who(self) -> Subject:
        """Who the token is of."""
        return back.subject(self._client.get_me())

    def drive(self, run_id: RunId, watcher: Callable[[Any], None]) -> Any:
        """Follow a run, which the server sees through; returns when it waits or has ended."""
        seen: dict[str, str] = {}
        wait_s = LOOK_S
        while True:
            view = back.view(self._client.get_run(run_id))
            news = back.news(view, seen)
            for each in news:
                watcher(each)
            if back.at_rest(view.run):
                return view.run
            wait_s = LOOK_S if news else min(LOOK_MAX_S, wait_s * 1.25)
            self._sleep(wait_s)

    def record_denied(self, _error: object) -> None:
        """Nothing to do: the server has written it."""

    def close(self) -> None:
        """End the connections."""
        self._client.close()
