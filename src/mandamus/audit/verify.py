"""Verifies a published log offline: nothing but the folder and the verifier key, no database, no network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mandamus.audit import note, tiles, tree
from mandamus.audit.chain import Chains
from mandamus.audit.model import Checkpoint, Finding, Report, Verdict
from mandamus.audit.trust import Trust, parse_trust
from mandamus.kernel.errors import Code, MandamusError

PROBLEMS_MAX = 100
"""Findings that are listed; a log that is wrong everywhere is not described leaf by leaf."""

_VERDICTS = {Code.AUDIT_UNTRUSTED: Verdict.UNTRUSTED, Code.AUDIT_TAMPERED: Verdict.TAMPERED}


def read_trust(value: str) -> str:
    """The verifier key a person gave: as text, or as the path of a file that holds it."""
    path = Path(value)
    if "+" in value and not path.is_file():
        return value.strip()
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise MandamusError(
            Code.AUDIT_UNTRUSTED,
            f"{value[:200]} is neither a verifier key nor a readable file with one",
            remedy="give the path of a log.vkey file you trust",
        ) from error


def verdict_of(error: MandamusError) -> Verdict:
    """The class of finding an error stands for."""
    return _VERDICTS.get(error.code, Verdict.TAMPERED)


def verify_log(folder: Path, trust: str) -> Report:
    """Verify the log in ``folder`` (C2SP tlog-tiles) against the trust root ``trust``; findings never raise.

    1. The checkpoint is signed by a trusted key, at a size of its time, and is of its log.
    2. The tree computed from the entries has the signed root; every tile holds exactly the hashes it should.
    3. Within every stream the sequence numbers are dense and each leaf names the hash of the one before.

    A damaged entry is named by its leaf index and the bundle it stands in.
    """
    try:
        root = parse_trust(trust)
        checkpoint = note.read_checkpoint((folder / "checkpoint").read_bytes(), root)
    except OSError:
        finding = Finding(
            Verdict.INCOMPLETE, "there is no readable checkpoint, so nothing can be verified", "checkpoint"
        )
        return Report(0, (finding,))
    except MandamusError as error:
        return Report(0, (Finding(verdict_of(error), error.message, "checkpoint"),))
    walk = _Walk(folder, checkpoint)
    walk.vkey(root)
    walk.entries()
    walk.hash_tiles()
    return Report(checkpoint.size, tuple(walk.problems[:PROBLEMS_MAX]), checkpoint.origin)


@dataclass
class _Walk:
    """One pass over a log's files."""

    folder: Path
    checkpoint: Checkpoint
    problems: list[Finding] = field(default_factory=list)
    nodes: dict[int, list[bytes]] = field(default_factory=dict)
    whole: bool = True

    def vkey(self, root: Trust) -> None:
        """The file beside the log is for convenience only; it may name keys that came later, but not only those."""
        path = self.folder / "log.vkey"
        if not path.is_file():
            return
        try:
            named = parse_trust(path.read_text())
        except (MandamusError, UnicodeDecodeError):
            self._add(Verdict.TAMPERED, "it does not name keys", "log.vkey")
            return
        if f"{named.text}\n".encode() != path.read_bytes() or not any(root.knows(key.verifier) for key in named.keys):
            self._add(Verdict.TAMPERED, "it is not the trusted key", "log.vkey")

    def entries(self) -> None:
        """Hash every entry, follow the chains, and compare the root."""
        frontier, chains = tree.Frontier(), Chains()
        for tile in tiles.all_tiles(tiles.ENTRIES, self.checkpoint.size):
            leaves = self._bundle(tile)
            if leaves is None:
                self.whole = False
                return
            for leaf in leaves:
                hashed = tree.leaf_hash(leaf)
                index = frontier.size
                for level, _, node in frontier.append(hashed):
                    self.nodes.setdefault(level, []).append(node)
                wrong = chains.follow(leaf, hashed)
                if wrong:
                    self._add(Verdict.TAMPERED, f"leaf {index}: {wrong}", tile.path, index)
        if frontier.root() != self.checkpoint.root:
            self._add(Verdict.TAMPERED, "the entries do not have the root that the checkpoint signs", "checkpoint")

    def hash_tiles(self) -> None:
        """Compare every hash tile with what the entries give; this is what names the leaf that was changed."""
        for level in tiles.levels(self.checkpoint.size):
            for tile in tiles.all_tiles(level, self.checkpoint.size):
                data = self._read(tile)
                expected = self.nodes.get(level, [])[tile.low : tile.low + tile.width]
                if data is None or len(expected) < tile.width:
                    continue
                self._compare(tile, data, expected)
                self._older_partials(tile, b"".join(expected))

    def _compare(self, tile: tiles.Tile, data: bytes, expected: list[bytes]) -> None:
        found = tiles.split_hashes(data)
        if found == expected:
            return
        for at, (one, other) in enumerate(zip(expected, found, strict=False)):
            if one == other:
                continue
            if tile.level == 0:
                bundle = tiles.Tile(tiles.ENTRIES, tile.number, tile.width).path
                message = f"leaf {tile.low + at} does not have the hash that {tile.path} holds for it"
                self._add(Verdict.TAMPERED, message, bundle, tile.low + at)
            else:
                self._add(Verdict.TAMPERED, f"hash {at} is not that of the subtree below it", tile.path)
        if len(found) != len(expected) or (found and len(found[-1]) != tiles.HASH_BYTES):
            self._add(Verdict.TAMPERED, f"it holds {len(data)} bytes, not {len(expected)} hashes", tile.path)

    def _bundle(self, tile: tiles.Tile) -> list[bytes] | None:
        data = self._read(tile)
        if data is None:
            return None
        leaves, rest = tiles.scan_bundle(data)
        if rest or len(leaves) != tile.width:
            index = tile.low + self._first_wrong(tile, leaves)
            message = f"leaf {index}: from here on the bundle is not the {tile.width} entries it should be"
            self._add(Verdict.TAMPERED, message, tile.path, index)
            return None
        self._older_partials(tile, data)
        return leaves

    def _first_wrong(self, tile: tiles.Tile, leaves: list[bytes]) -> int:
        """Where a bundle whose lengths do not add up leaves the path of its hash tile."""
        hash_tile = tiles.Tile(0, tile.number, tile.width)
        known = tiles.split_hashes(self._read(hash_tile) or b"")
        for at, (leaf, hashed) in enumerate(zip(leaves, known, strict=False)):
            if tree.leaf_hash(leaf) != hashed:
                return at
        return min(len(leaves), tile.width)

    def _read(self, tile: tiles.Tile) -> bytes | None:
        exact = self.folder / tile.path
        for path in (exact, *self._wider(tile)):
            try:
                data = path.read_bytes()
            except OSError:
                continue
            return data if path == exact else _narrow(data, tile)
        leaf = tile.low if tile.level == tiles.ENTRIES else None
        self._add(Verdict.INCOMPLETE, "the file is missing or cannot be read", tile.path, leaf)
        return None

    def _wider(self, tile: tiles.Tile) -> Iterator[Path]:
        """Where the tile is, too, once a log that is being written has replaced it (tlog-tiles, Partial Tiles)."""
        if not tile.full:
            yield self.folder / tiles.Tile(tile.level, tile.number, tiles.WIDTH).path
            yield from (path for path in _partials(self.folder / tile.path) if int(path.name) > tile.width)

    def _older_partials(self, tile: tiles.Tile, content: bytes) -> None:
        """Partial tiles of earlier checkpoints, where still there, are prefixes of what the tile holds now."""
        for path in _partials(self.folder / tiles.Tile(tile.level, tile.number, 1).path):
            if int(path.name) < tile.width and not _is_prefix(path.read_bytes(), content, tile.level, int(path.name)):
                name = str(path.relative_to(self.folder))
                self._add(Verdict.TAMPERED, "it is not the beginning of the tile that replaced it", name)

    def _add(self, verdict: Verdict, message: str, file: str, leaf: int | None = None) -> None:
        self.problems.append(Finding(verdict, message, file, leaf))


def _partials(any_partial: Path) -> Iterator[Path]:
    if any_partial.parent.is_dir():
        yield from sorted(path for path in any_partial.parent.iterdir() if path.name.isdigit())


def _narrow(data: bytes, tile: tiles.Tile) -> bytes:
    if tile.level != tiles.ENTRIES:
        return data[: tile.width * tiles.HASH_BYTES]
    leaves, rest = tiles.scan_bundle(data)
    return data if rest else tiles.bundle(leaves[: tile.width])


def _is_prefix(part: bytes, whole: bytes, level: int, width: int) -> bool:
    if not whole.startswith(part):
        return False
    if level != tiles.ENTRIES:
        return len(part) == width * tiles.HASH_BYTES
    leaves, rest = tiles.scan_bundle(part)
    return not rest and len(leaves) == width
