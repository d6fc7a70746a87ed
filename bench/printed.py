"""A step that printed a great many lines, as it is stored."""

from __future__ import annotations

from mandamus.bootstrap.house import House

LINES = 1_000_000
PIECE = 5_000


def print_lines(house: House, run: str, step: str, count: int = LINES) -> None:
    """So many lines of 15 bytes: as many as one phase may store by default."""
    for start in range(0, count, PIECE):
        piece = "".join(f"line {number:09d}\n" for number in range(start, min(start + PIECE, count)))
        house.rooms.outputs.append(run, step, 1, "apply", piece.encode())
