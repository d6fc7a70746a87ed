"""Where the files of a policy set come from: a folder, or an OPA bundle."""

from __future__ import annotations

from pathlib import Path

from mandamus.policy import bundle, profiles, signature, tarball
from mandamus.policy.bundle import Tree
from mandamus.policy.model import Options


def read(path: Path, options: Options | None = None, key: Path | None = None) -> Tree:
    """The files of a set, with those that its profile needs; what is wrong with them stands in the tree.

    With a key (`signature.read_key`) the set has to be a bundle that is signed by it. Raises ``policy_invalid`` for a
    profile that is none and ``value_invalid`` for a key that is none.
    """
    chosen = options or Options()
    further = profiles.find(chosen.profile).suffixes
    if path.name.endswith(tarball.SUFFIX) and not path.is_dir():
        keys = None if key is None else {signature.ANY: signature.read_key(key)}
        return tarball.read(path, keys, chosen, further)
    tree = bundle.read(path, chosen, further)
    if key is None:
        return tree
    unsigned = tree.problem("", "signature_missing", "is a folder, and only a bundle is signed", "give no key")
    return Tree(path, {}, (unsigned,), chosen)
