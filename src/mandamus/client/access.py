"""The rooms of a server in which it stands who may what, and where that ends at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mandamus.client.client import Client
from mandamus.client.rooms import Room
from mandamus.wire import access


class KillSwitch(Room):
    """What people and programs come in with."""

    def sessions(self, _who: object, *, user: str | None = None, everybody: bool = False) -> Sequence[Any]:
        """Sessions that have not ended, newest first."""
        found = self._client.list_sessions(user=user, everybody=everybody)
        return [access.session_back(each) for each in found]

    def end(self, _who: object, session: str) -> Any:
        """End one."""
        return access.session_back(self._client.end_session(session))

    def end_all(self, _who: object, user: str) -> Any:
        """End everything of somebody."""
        return access.ended_back(self._client.end_access(user))


class AccessReview(Room):
    """Who may do what, and who may approve what."""

    def review(self, _who: object) -> Any:
        """The review, which the server makes once for a document and once for a table."""
        return _Review(self._client)


class _Review:
    def __init__(self, client: Client) -> None:
        self._client = client

    def to_json(self) -> dict[str, Any]:
        """As a document."""
        return self._client.review_access().model_dump(mode="json")

    def to_csv(self) -> str:
        """As a table."""
        return self._client.review_access_table()
