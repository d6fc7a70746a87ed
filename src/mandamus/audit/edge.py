"""What tiles hold: the growing ones from memory, so that a publication reads nothing back, others from the database."""

from __future__ import annotations

from collections.abc import Iterable

from mandamus.audit import store, tiles
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database


class Edge:
    """The newest tile of each level, as far as this process made it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._held: dict[int, tuple[int, list[bytes]]] = {}

    def extend(self, level: int, first: int, items: Iterable[bytes]) -> None:
        """Remember committed items of a level, the first of which has the index ``first``."""
        index = first
        for item in items:
            number, offset = divmod(index, tiles.WIDTH)
            held_number, held = self._held.get(level, (-1, []))
            if offset == 0:
                self._held[level] = (number, [item])
            elif held_number == number and len(held) == offset:
                held.append(item)
            index += 1

    def items(self, tile: tiles.Tile) -> list[bytes]:
        """The items of a tile, as many as it is wide."""
        number, held = self._held.get(tile.level, (-1, []))
        if number == tile.number and len(held) >= tile.width:
            return held[: tile.width]
        with self._database.read() as conn:
            found = store.tile_items(conn, tile.level, tile.low, tile.low + tile.width)
        if len(found) != tile.width:
            raise MandamusError(
                Code.AUDIT_TAMPERED,
                f"the database holds {len(found)} of the {tile.width} items of {tile.path}",
                remedy="`mandamus doctor` names the missing rows; restore the database from a backup",
                context={"tile": tile.path},
            )
        if number < tile.number or (number == tile.number and len(held) < len(found)):
            self._held[tile.level] = (tile.number, list(found))
        return found
