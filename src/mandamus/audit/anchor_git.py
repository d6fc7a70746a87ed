"""An anchor that is a branch of a git repository: a commit for each checkpoint, pushed when there is a remote."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from mandamus.audit.anchor import SUFFIX, Anchored, Kept, file_of, folder_of, other_checkpoint, same_tree, trouble
from mandamus.audit.model import Checkpoint
from mandamus.kernel.errors import MandamusError

TIMEOUT_S = 60.0
_STDERR_SHOWN = 300
_BRANCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
_IDENTITY = {
    "GIT_AUTHOR_NAME": "Mandamus",
    "GIT_AUTHOR_EMAIL": "mandamus@localhost",
    "GIT_COMMITTER_NAME": "Mandamus",
    "GIT_COMMITTER_EMAIL": "mandamus@localhost",
}


def is_branch(name: str) -> bool:
    """Whether a name can be that of the branch."""
    return bool(_BRANCH.fullmatch(name)) and ".." not in name and not name.endswith(".lock")


class GitAnchor:
    """A branch with the files ``<log>/<size>.checkpoint``. Index and files of a working copy stay as they are.

    ``environ`` is the environment of git: its PATH, and what a remote needs (HOME, an agent for ssh).
    """

    kind = "git"

    def __init__(self, repository: Path, branch: str, environ: Mapping[str, str]) -> None:
        self._repository = repository
        self._branch = branch
        self._ref = f"refs/heads/{branch}"
        self._environ = {**environ, **_IDENTITY, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}

    def put(self, checkpoint: Checkpoint) -> Anchored:
        """See `Anchor.put`; a commit that could not be pushed is pushed with the next one."""
        path = f"{folder_of(checkpoint.origin)}/{file_of(checkpoint.size)}"
        remote = self._remote()
        commit = self._head(self._ref)
        known = self._file(commit, path) if commit else None
        if commit is None or known is None:
            commit = self._commit(commit, path, checkpoint)
        elif not same_tree(known, checkpoint.note):
            raise other_checkpoint(f"{self._repository} {self._branch}:{path}", checkpoint)
        if remote:
            self._git("push", "--quiet", remote, f"{self._ref}:{self._ref}")
        return Anchored(commit)

    def kept(self, origin: str) -> Iterator[Kept]:
        """See `Anchor.kept`; with a remote, what is there counts, and not what the repository here says."""
        remote = self._remote()
        ref = self._ref
        if remote:
            ref = f"refs/remotes/{remote}/{self._branch}"
            if not self._git("ls-remote", remote, self._ref):
                return
            self._git("fetch", "--quiet", "--no-tags", remote, f"+{self._ref}:{ref}")
        commit = self._head(ref)
        if commit is None:
            return
        listed = self._git("ls-tree", "-z", "--name-only", commit, f"{folder_of(origin)}/").split(b"\0")
        paths = [path.decode() for path in listed if path.endswith(SUFFIX.encode())]
        yield from self._files(commit, paths)

    def _commit(self, parent: str | None, path: str, checkpoint: Checkpoint) -> str:
        blob = self._git("hash-object", "-w", "--stdin", data=checkpoint.note).decode().strip()
        with tempfile.TemporaryDirectory(prefix="mandamus-anchor-") as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            if parent:
                self._git("read-tree", parent, more=index)
            self._git("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", more=index)
            tree = self._git("write-tree", more=index).decode().strip()
        message = f"Checkpoint of {checkpoint.origin}: {checkpoint.size} leaves\n"
        parents = ["-p", parent] if parent else []
        commit = self._git("commit-tree", tree, *parents, data=message.encode()).decode().strip()
        # With the old value: of two that commit at once, one is refused and nothing is lost.
        self._git("update-ref", "-m", "anchor", self._ref, commit, parent or "0" * len(commit))
        return commit

    def _files(self, commit: str, paths: list[str]) -> Iterator[Kept]:
        for path in paths:
            data = self._file(commit, path)
            yield Kept(f"{self._repository} {self._branch}:{path}", data or b"")

    def _head(self, ref: str) -> str | None:
        found = self._git("for-each-ref", "--format=%(objectname)", ref).decode().split()
        return found[0] if found else None

    def _file(self, commit: str, path: str) -> bytes | None:
        listed = self._git("ls-tree", "-z", commit, path)
        if not listed:
            return None
        return self._git("cat-file", "blob", listed.split(b"\t")[0].split()[2].decode())

    def _remote(self) -> str:
        """The remote to push to: ``origin``, or the only one there is."""
        found = self._git("remote").decode().split()
        if len(found) > 1 and "origin" not in found:
            raise trouble(f"the anchor {self._repository}", "it has several remotes, and none is called origin")
        return "origin" if "origin" in found else "".join(found)

    def _git(self, *words: str, data: bytes = b"", more: Mapping[str, str] | None = None) -> bytes:
        # No hook of the repository runs: what one prints or refuses is no business of an anchor.
        command = ["git", "-C", str(self._repository), "-c", "core.hooksPath=/dev/null", *words]
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**self._environ, **(more or {})},
                start_new_session=True,
            )
        except OSError as error:
            raise self._trouble(words[0], f"git cannot be started: {error.strerror}") from error
        with process:
            try:
                out, err = process.communicate(data, timeout=TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise self._trouble(words[0], f"no end within {TIMEOUT_S:g} s") from None
        if process.returncode:
            said = err.decode(errors="replace").strip()[-_STDERR_SHOWN:]
            raise self._trouble(words[0], "".join(c if c.isprintable() else " " for c in said) or "it failed")
        return out

    def _trouble(self, word: str, why: str) -> MandamusError:
        return trouble(f"the anchor {self._repository}, git {word}", why)
