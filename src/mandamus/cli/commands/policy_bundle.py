"""``mandamus policy bundle``"""

from __future__ import annotations

from pathlib import Path

import click

from mandamus.cli.render import Painted
from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel import canonical
from mandamus.kernel.errors import Code, Exit, MandamusError, Problem, raise_problems
from mandamus.policy import bundle, check, signature, sources, tarball
from mandamus.policy.model import Options, RegoVersion
from mandamus.policy.pool import WorkerPool
from mandamus.policy.profiles import PROFILES
from mandamus.policy.signature import Key, SigningKey

_EXITS = {"signature_invalid": Exit.TAMPERED, "signature_missing": Exit.UNTRUSTED}


class _Writing(click.Group):
    """A group whose first command is meant where none is named: ``bundle DIR`` writes one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the name of the command in front of what belongs to it."""
        named = set(args) & (set(self.commands) | {"--help"})
        return super().parse_args(ctx, args if named or not args else ["write", *args])


@click.group("bundle", cls=_Writing)
@common
def command() -> None:
    """Exchange policy sets as OPA bundles: write one from a folder, or verify one.

    \b
    Example:
      mandamus policy bundle policies/base -o base.tar.gz --sign key.pem --key-id ops
      mandamus policy bundle verify base.tar.gz --key public.pem
    """  # noqa: D301 - \b keeps click from joining the lines


_ALGORITHM = click.option(
    "--algorithm",
    type=click.Choice(signature.ALGORITHMS),
    default=None,
    help="The algorithm of the signature; by default the usual one for the key. HS256 and its like take a secret.",
)
_SCOPE = click.option("--scope", metavar="TEXT", default="", help="The scope that the signature is for.")
_PROFILE = click.option(
    "--profile",
    type=click.Choice(list(PROFILES)),
    default="mandamus",
    show_default=True,
    help="How the set is written.",
)
_FILE = click.Path(dir_okay=False, path_type=Path)


@command.command("write")
@click.argument("directory", metavar="DIR", type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--file", "file", metavar="FILE.tar.gz", required=True, type=_FILE, help="The file to write.")
@click.option("--sign", metavar="KEYFILE", type=_FILE, help="Sign with this private key (PEM), or this secret.")
@click.option("--key-id", metavar="ID", default="", help="The name under which others know the key.")
@_ALGORITHM
@_SCOPE
@_PROFILE
@common
@pass_session
def write(
    session: Session,
    *,
    directory: Path,
    file: Path,
    sign: Path | None,
    key_id: str,
    algorithm: str | None,
    scope: str,
    profile: str,
) -> Exit:
    """Check the policy set in a folder and write it as an OPA bundle; needs no home.

    The revision in the bundle is the digest under which the set is published here. The same set gives the same bytes.
    Never overwrites a file.

    \b
    Example:
      mandamus policy bundle write policies/base -o base.tar.gz --sign key.pem --key-id ops
    """  # noqa: D301 - \b keeps click from joining the lines
    key = _signing_key(sign, key_id, algorithm or "", scope)
    tree = sources.read(directory, Options(profile=profile))
    with session.policy_engine() as pool:
        found = check.check(tree, pool)
        raise_problems(Code.POLICY_INVALID, list(found.problems), remedy="mend every line above; nothing was written")
        older = found.older | _older(tree, pool)
    digest = canonical.digest(bundle.pack(tree.files, found.entries, tree.options, found.modules, found.older))
    size = tarball.write(tree, file, revision=digest, sign=key, older=older)
    if session.wants_json:
        session.screen.json(
            {"file": str(file), "revision": digest, "bytes": size, "files": list(tree.files), "signed": key is not None}
        )
        return Exit.OK
    session.screen.data(f"{file}: {digest}, {len(tree.files)} files, {size} bytes{', signed' if key else ''}")
    return Exit.OK


@command.command("verify")
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--key", metavar="KEYFILE", type=_FILE, help="The public key or certificate (PEM), or the secret.")
@_ALGORITHM
@_SCOPE
@_PROFILE
@common
@pass_session
def verify(session: Session, *, file: Path, key: Path | None, algorithm: str | None, scope: str, profile: str) -> Exit:
    """Verify an OPA bundle and show what it holds; needs no home.

    Every problem is listed at once. With a key the bundle has to be signed by it, without one it has to be unsigned.
    Exit codes: 0 ok, 2 no sound bundle, 10 not as it was signed, 12 not signed, or no key is given.

    \b
    Example:
      mandamus policy bundle verify base.tar.gz --key public.pem
    """  # noqa: D301 - \b keeps click from joining the lines
    keys: dict[str, Key] | None = None
    if key is not None:
        keys = {signature.ANY: signature.read_key(key, algorithm or "", scope)}
    found = tarball.examine(file, keys, Options(profile=profile), PROFILES[profile].suffixes)
    problems = found.tree.problems
    if session.wants_json:
        session.screen.json(
            {
                "file": str(file),
                "ok": not problems,
                "revision": found.manifest.revision,
                "roots": list(found.manifest.roots),
                "signed_by": found.signed_by,
                "files": list(found.tree.files),
                "problems": [vars(problem) for problem in problems],
            }
        )
        return _exit(problems)
    for problem in problems:
        session.screen.data(str(problem))
    if not problems:
        signed = "not signed" if keys is None else f"signed by {found.signed_by or 'the key'}"
        session.screen.data(f"{file}: ", Painted("ok", "green"), f", {len(found.tree.files)} files, {signed}")
        session.screen.say(f"revision {found.manifest.revision or 'none'}")
    return _exit(problems)


def _exit(problems: tuple[Problem, ...]) -> Exit:
    return _EXITS.get(problems[0].code, Exit.USAGE) if problems else Exit.OK


def _signing_key(path: Path | None, key_id: str, algorithm: str, scope: str) -> SigningKey | None:
    if path is None:
        return None
    if not key_id:
        raise MandamusError(
            Code.USAGE,
            "a signature names the key it is made with",
            remedy="add --key-id ID, as those who verify know it",
        )
    return signature.read_signing_key(path, key_id, algorithm, scope)


def _older(tree: bundle.Tree, pool: WorkerPool) -> set[str]:
    """The modules that OPA has to read as Rego v0."""
    modules = {name: text for name, text in tree.files.items() if name.endswith(".rego")}
    if tree.options.rego is RegoVersion.V0:
        return set(modules)
    return set(pool.inspect(modules, b"").unparsed)
