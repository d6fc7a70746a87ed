"""Lists that come in pages, as one list that is fetched as it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from mandamus.wire.base import Page

T = TypeVar("T")


class Pages(Generic[T]):
    """Iterate over it for every item; a page is asked for when it is reached."""

    def __init__(self, fetch: Callable[[str | None], Page[T]], cursor: str | None) -> None:
        self._fetch = fetch
        self._cursor = cursor

    def pages(self) -> Iterator[Page[T]]:
        """Page by page; ``next`` of each is the cursor of the one behind it."""
        cursor = self._cursor
        while True:
            page = self._fetch(cursor)
            yield page
            if page.next is None:
                return
            cursor = page.next

    def first(self) -> Page[T]:
        """The first page alone."""
        return self._fetch(self._cursor)

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page.items
