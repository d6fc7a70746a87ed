"""Scalr's convention: each file of ``package terraform`` is a policy of its own with a set ``deny`` of texts.

Its input is ``input.tfplan`` and ``input.tfrun``; ``scalr-policy.hcl`` beside or above a file says how strictly it
binds. Format: https://docs.scalr.io/docs/policy-as-code.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mandamus.kernel.attachment import Level
from mandamus.kernel.errors import Problem
from mandamus.policy import hcl
from mandamus.policy.model import DENY, Entry, Options, Said
from mandamus.policy.profile_foreign import (
    ADAPTER,
    ANSWER,
    answer,
    anything,
    asking,
    members,
    problem,
    refuse,
    rules,
)
from mandamus.policy.profile_isolated import policies_of, renamed
from mandamus.policy.profile_terraform import HEAD, NEEDS_PLAN, PLAN, RUN

FILE = "scalr-policy.hcl"
PACKAGE = "terraform"
_LEVELS = {"advisory": Level.ADVISORY, "soft-mandatory": Level.SOFT, "hard-mandatory": Level.HARD}
_TEST = re.compile(r"[._]test\.rego$")

_DOCUMENT = """
document.tfplan := plan

document.tfrun := run

run.id := input.run.id

run.message := input.run.reason

run.is_destroy := is_destroy

run.is_dry := plan_only

run.workspace := {"name": unit, "tags": [{"name": label} | some label in labels], "auto_apply": false}

run.environment := {"id": input.environment.name, "name": input.environment.name}

run.created_by := {
	"username": requester.user,
	"name": requester.user,
	"teams": [{"name": team} | some team in object.get(requester, "groups", [])],
}

run.vcs.branch := given.branch

run.vcs.commit.sha := given.commit

run.vcs.pull_request := null
"""


@dataclass(frozen=True)
class _Listed:
    """One policy as a ``scalr-policy.hcl`` lists it."""

    level: Level | None
    enabled: bool


class Scalr:
    """See the module."""

    name = "scalr"
    suffixes = (FILE,)

    def modules(self, files: Mapping[str, str]) -> dict[str, str]:
        """See `Profile.modules`: every policy in a package of its own, as Scalr evaluates them one by one."""
        policies = policies_of(files, PACKAGE, _is_module)
        found = {
            path: renamed(text, PACKAGE, policies[path]) if path in policies else text
            for path, text in files.items()
            if _is_module(path)
        }
        return {**found, ADAPTER: HEAD + PLAN + RUN + _DOCUMENT} if found else {}

    def tests(self, files: Mapping[str, str]) -> dict[str, str]:  # noqa: ARG002 - the profile's signature
        """See `Profile.tests`: a test sees one policy under its own package, so none belongs to the whole."""
        return {}

    def entries(
        self,
        trees: Mapping[str, Mapping[str, Any]],
        files: Mapping[str, str],
        options: Options,  # noqa: ARG002 - the profile's signature
    ) -> list[Entry]:
        """See `Profile.entries`."""
        policies = policies_of(files, PACKAGE, _is_module)
        listed = _listed(files, policies)
        made = []
        for path, name in policies.items():
            full = f"{PACKAGE}.{name}.deny"
            policy = listed.get(path, _Listed(None, enabled=True))
            if policy.enabled and path in trees and any(rule.full == full for rule in rules({path: trees[path]})):
                made.append(Entry("plan", full, asking(guard=NEEDS_PLAN), DENY, policy.level))
        return made

    def read(self, entry: Entry, given: Sequence[tuple[str, Any]]) -> list[Said]:
        """See `Profile.read`: a collection, of which every member is a violation."""
        found = members(entry, answer(entry, given)[ANSWER], required=True)
        return [Said(DENY, entry.rule, anything(member), entry.level) for member in found]


def _is_module(path: str) -> bool:
    return path.endswith(".rego") and not _TEST.search(path)


def _listed(files: Mapping[str, str], policies: Mapping[str, str]) -> dict[str, _Listed]:
    """What the nearest ``scalr-policy.hcl`` says of each policy file; a policy that none lists binds."""
    problems: list[Problem] = []
    found: dict[str, _Listed] = {}
    depth_first = sorted(
        (path for path in files if posixpath.basename(path) == FILE), key=lambda path: -path.count("/")
    )
    for path in depth_first:
        folder = posixpath.dirname(path)
        beneath = [one for one in policies if not folder or one.startswith(f"{folder}/")]
        for block in _blocks(path, files[path], problems):
            stem = block.labels[0] if block.labels else ""
            named = [one for one in beneath if posixpath.basename(one) == f"{stem}.rego"]
            if not named:
                message = f"there is no policy file {stem}.rego with `package {PACKAGE}`"
                problems.append(problem(path, block.line, "policy_unknown", message, "name a policy by its file"))
            for one in named:
                found.setdefault(one, _of_block(path, block, problems))
    refuse(problems)
    return found


def _blocks(path: str, text: str, problems: list[Problem]) -> Iterator[hcl.Block]:
    try:
        yield from (block for block in hcl.parse(text).blocks if block.name == "policy")
    except hcl.HclError as error:
        remedy = 'write `policy "NAME" { enforcement_level = ... }`'
        problems.append(problem(path, error.line, "hcl_invalid", str(error), remedy))


def _of_block(path: str, block: hcl.Block, problems: list[Problem]) -> _Listed:
    enabled, level = block.values.get("enabled", True), str(block.values.get("enforcement_level", "hard-mandatory"))
    if not isinstance(enabled, bool):
        message = f"`enabled` is {enabled!r}, not true or false"
        problems.append(problem(path, block.lines["enabled"], "hcl_invalid", message, "write true or false"))
    if level not in _LEVELS:
        line = block.lines["enforcement_level"]
        remedy = f"use one of {', '.join(_LEVELS)}"
        problems.append(problem(path, line, "level_unknown", f"there is no enforcement level {level!r}", remedy))
    return _Listed(_LEVELS.get(level, Level.HARD), enabled is not False)


SCALR = Scalr()
