"""Verifies a published log offline: nothing but its files and the verifier key, no database."""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

from mandamus.audit import note, proof, tiles, tree
from mandamus.audit.chain import Chains, Newest
from mandamus.audit.model import Checkpoint, Finding, Report, Verdict
from mandamus.audit.pruned import Mark, newest
from mandamus.audit.quorum import QuorumPolicy
from mandamus.audit.ranges import LEAVES, PROBLEMS_MAX, Range, Verified, compare, verify_range
from mandamus.audit.source import SMALL_BYTES_MAX, Folder, Source, read_tile
from mandamus.audit.trust import Trust, parse_trust
from mandamus.kernel.errors import Code, MandamusError

CHECKPOINT_FILE = "checkpoint"
VKEY_FILE = "log.vkey"
WITNESSED_FILE = "checkpoint.witnessed"

_VERDICTS = {Code.AUDIT_UNTRUSTED: Verdict.UNTRUSTED, Code.AUDIT_INCOMPLETE: Verdict.INCOMPLETE}


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


def verify_log(log: Path | Source, trust: str, *, procs: int = 1, quorum: QuorumPolicy | None = None) -> Report:
    """Verify a log (C2SP tlog-tiles) against the trust root ``trust``; findings never raise.

    1. The checkpoint is signed by a trusted key, at a size of its time, and is of its log.
    2. The tree computed from the entries has the signed root; every tile holds exactly the hashes it should.
    3. Within every stream the sequence numbers are dense and each leaf names the hash of the one before.
    4. Entries that are not there are below the index to which a leaf of the log says it is pruned; hashes are there.

    A damaged entry is named by its leaf index and the bundle it stands in. ``procs`` processes share the work. With a
    ``quorum`` the checkpoint must be cosigned by enough witnesses, too, or continue ``checkpoint.witnessed``, which is;
    the report then says how many leaves that has.
    """
    return walk(log, trust, procs=procs, quorum=quorum).report


@dataclass(frozen=True)
class Start:
    """What a verification builds on: a checkpoint that was verified before, None when nothing was.

    ``newest`` are the chains' ends then, or None when they are not known.
    """

    checkpoint: Checkpoint | None = None
    newest: Newest | None = field(default_factory=dict)


@dataclass(frozen=True)
class Walked:
    """A report, and when all is well what the next verification can build on."""

    report: Report
    end: Start | None = None


def walk(
    log: Path | Source, trust: str, start: Start = Start(), procs: int = 1, quorum: QuorumPolicy | None = None
) -> Walked:
    """Verify what a log has beyond ``start``, once it is shown to continue it; see `verify_log`."""
    source = Folder(log) if isinstance(log, Path) else log
    try:
        root = parse_trust(trust)
        data = source.read(CHECKPOINT_FILE, SMALL_BYTES_MAX)
        if data is None:
            message = "there is no readable checkpoint, so nothing can be verified"
            return Walked(Report(0, (Finding(Verdict.INCOMPLETE, message, CHECKPOINT_FILE),)))
        checkpoint = note.read_checkpoint(data, root)
        walked = _Walk(source, checkpoint, start)
        walked.cosigned(data, root, quorum)
        walked.vkey(root)
        walked.go(procs)
    except MandamusError as error:
        return Walked(Report(0, (Finding(verdict_of(error), error.message, CHECKPOINT_FILE),)))
    problems = tuple(walked.problems[:PROBLEMS_MAX])
    since = start.checkpoint.size if start.checkpoint else 0
    report = Report(
        checkpoint.size, problems, checkpoint.origin, since, walked.pruned, walked.pruned_by, walked.witnessed
    )
    return Walked(report, None if problems else Start(checkpoint, walked.chains.known))


def uncosigned(checkpoint: bytes, quorum: QuorumPolicy | None) -> list[Finding]:
    """What is said of a checkpoint (a signed note) that not enough witnesses cosigned."""
    names = quorum.cosigners_of(note.parse(checkpoint)) if quorum else frozenset[str]()
    if quorum is None or quorum.met(names):
        return []
    message = f"the quorum {quorum.quorum} is not met: cosigned by {', '.join(sorted(names)) or 'no known witness'}"
    return [Finding(Verdict.UNTRUSTED, message, CHECKPOINT_FILE)]


class _Walk:
    """One pass over a log's files."""

    def __init__(self, source: Source, checkpoint: Checkpoint, start: Start) -> None:
        self.source = source
        self.checkpoint = checkpoint
        self.old = start.checkpoint
        self.problems: list[Finding] = []
        self.witnessed: int | None = None
        self.chains = Chains(start.newest, open_=start.newest is None)
        self.nodes: dict[int, tuple[int, list[bytes]]] = {}
        self.pruned = 0
        self.pruned_by: int | None = None

    @property
    def size(self) -> int:
        return self.checkpoint.size

    @property
    def begin(self) -> int:
        """How many leaves were verified before."""
        return self.old.size if self.old else 0

    def cosigned(self, data: bytes, root: Trust, quorum: QuorumPolicy | None) -> None:
        """Enough witnesses must have cosigned the checkpoint, or the one beside it, which it then must continue."""
        wrong = uncosigned(data, quorum)
        earlier = self.source.read(WITNESSED_FILE, SMALL_BYTES_MAX) if wrong else None
        if earlier is None or uncosigned(earlier, quorum):
            self.problems += wrong
            return
        seen = note.read_checkpoint(earlier, root)
        with suppress(LookupError):
            known = seen.origin == self.checkpoint.origin and seen.size <= self.size
            if not known or tree.frontier(seen.size, proof.subtrees(self._hashes)).root() != seen.root:
                message = f"the log does not continue the one of {seen.size} leaves that witnesses cosigned"
                self._add(Verdict.TAMPERED, message, WITNESSED_FILE)
        self.witnessed = seen.size

    def vkey(self, root: Trust) -> None:
        """The file beside the log is for convenience only; it may name keys that came later, but not only those."""
        data = self.source.read(VKEY_FILE, SMALL_BYTES_MAX)
        if data is None:
            return
        try:
            named = parse_trust(data.decode())
        except (MandamusError, UnicodeDecodeError):
            self._add(Verdict.TAMPERED, "it does not name keys", VKEY_FILE)
            return
        if f"{named.text}\n".encode() != data or not any(root.knows(key.verifier) for key in named.keys):
            self._add(Verdict.TAMPERED, "it is not the trusted key", VKEY_FILE)

    def go(self, procs: int) -> None:
        """Show that the log continues what was verified before; then verify every entry and tile behind it."""
        frontier = self._continued()
        if frontier is not None and (self.old is None or self.begin < self.size):
            self._entries(frontier, procs)

    def _continued(self) -> tree.Frontier | None:
        """The right edge of the whole bundles that were verified before, or None when the log does not continue them.

        The subtrees' hashes are read from the tiles. They are the right ones when they give the old root; then
        everything that is computed with them continues the old tree.
        """
        if self.old is None:
            return tree.Frontier()
        if self.size < self.begin:
            message = f"the log has {self.size} leaves, and had {self.begin} before: it was rolled back"
            self._add(Verdict.TAMPERED, message, CHECKPOINT_FILE)
            return None
        subtree = proof.subtrees(self._hashes)
        try:
            root = tree.frontier(self.begin, subtree).root()
            edge = tree.frontier(self.begin // tiles.WIDTH, lambda low, high: subtree(low << 8, high << 8))
        except LookupError:
            return None
        same = root == self.old.root and (self.begin < self.size or self.old.root == self.checkpoint.root)
        if not same:
            message = f"the log does not continue the one of {self.begin} leaves that was verified before"
            self._add(Verdict.TAMPERED, message, CHECKPOINT_FILE)
        return edge if same else None

    def _hashes(self, level: int, low: int, high: int) -> list[bytes]:
        """The items of a tile, for `proof.subtrees`."""
        width = min(high, self.size >> 8 * level) - low
        tile = tiles.Tile(level, low // tiles.WIDTH, width)
        data = read_tile(self.source, tile)
        if data is None or len(data) != width * tiles.HASH_BYTES:
            verdict = Verdict.INCOMPLETE if data is None else Verdict.TAMPERED
            self._add(verdict, f"the {width} hashes it should hold cannot be read", tile.path)
            raise LookupError(tile.path)
        return tiles.split_hashes(data)

    def _entries(self, edge: tree.Frontier, procs: int) -> None:
        """Fold the ranges into the root, follow the chains through all of them, compare the upper hash tiles."""
        first = edge.size * tiles.WIDTH
        whole, rest, gone, found = True, list[bytes](), 0, list[Mark]()
        self.nodes = {level: (edge.size >> 8 * (level - 1), []) for level in tiles.levels(self.size) if level}
        for made in self._ranges(first, procs):
            # Bundles are pruned from the first on: one that is missing behind one that is there was taken away.
            if made.gone and not (whole and made.low == first + gone * tiles.WIDTH):
                self._missing(made.low // tiles.WIDTH, made.gone)
                whole = False
            whole = whole and made.whole
            self.problems += made.problems
            found += made.marks
            if not whole:
                continue
            gone += made.gone
            for index, wrong in self.chains.join(made.segment):
                bundle = tiles.bundle_of(index, self.size)
                self._add(Verdict.TAMPERED, f"leaf {index}: {wrong}", bundle.path, index)
            for root in made.roots:
                for level, _, node in edge.append(root):
                    self.nodes[level + 1][1].append(node)
            rest = made.rest
        root = tree.fold([*edge.roots, *tree.compact(rest)]) if edge.size or rest else tree.EMPTY_ROOT
        if whole and root != self.checkpoint.root:
            self._add(Verdict.TAMPERED, "the entries do not have the root that the checkpoint signs", CHECKPOINT_FILE)
        self._gone(first, gone, found)
        self._upper_tiles()

    def _gone(self, first: int, count: int, found: Sequence[Mark]) -> None:
        """Bundles of which only hashes are there must be below what the log says is pruned, as must be what is named.

        A leaf whose predecessor in its chain was not seen continues one that is pruned: its hash stands in a tile.
        """
        mark = newest(found, self.checkpoint.origin)
        end = first + count * tiles.WIDTH
        limit = max(first, min(end, mark.min_index // tiles.WIDTH * tiles.WIDTH if mark else 0))
        self._missing(limit // tiles.WIDTH, (end - limit) // tiles.WIDTH)
        if limit > first and mark is not None:
            self.pruned, self.pruned_by = limit, mark.index
        loose = dict(self.chains.loose)
        for tile in tiles.tiles_of(0, first, limit) if loose else ():
            for hashed in self._hashes(0, tile.low, tile.low + tile.width):
                loose.pop(hexlify(hashed), None)
        # Of what an earlier log of the same home pruned, this one never had a hash.
        if limit < end or any(each.origin != self.checkpoint.origin for each in found):
            return
        for index, wrong in loose.values():
            self._add(Verdict.TAMPERED, f"leaf {index}: {wrong}", tiles.bundle_of(index, self.size).path, index)

    def _missing(self, number: int, count: int) -> None:
        for tile in (tiles.Tile(tiles.ENTRIES, number + at, tiles.WIDTH) for at in range(min(count, PROBLEMS_MAX))):
            self._add(Verdict.INCOMPLETE, "the file is missing or cannot be read", tile.path, tile.low)

    def _ranges(self, first: int, procs: int) -> Iterator[Verified]:
        parts = [
            Range(self.source, low, min(self.size, (low // LEAVES + 1) * LEAVES), self.begin)
            for low in (first, *range((first // LEAVES + 1) * LEAVES, self.size, LEAVES))
        ]
        if min(procs, len(parts)) < 2:
            yield from map(verify_range, parts)
            return
        try:
            with ProcessPoolExecutor(min(procs, len(parts)), get_context("spawn")) as pool:
                yield from pool.map(verify_range, parts)
        except BrokenProcessPool as error:
            raise MandamusError(
                Code.AUDIT_INCOMPLETE,
                "a process that shared the work was ended from outside",
                remedy="verify again, with `--procs 1` when memory is short",
                retryable=True,
            ) from error

    def _upper_tiles(self) -> None:
        for level, (first, nodes) in self.nodes.items():
            for tile in tiles.tiles_of(level, self.begin, self.size):
                known = max(0, first - tile.low)
                expected = nodes[tile.low + known - first :][: tile.width - known]
                if known + len(expected) == tile.width:
                    self.problems += compare(self.source, tile, expected, known)

    def _add(self, verdict: Verdict, message: str, file: str, leaf: int | None = None) -> None:
        self.problems.append(Finding(verdict, message, file, leaf))
