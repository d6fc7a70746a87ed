"""HCP Terraform's convention: queries named from outside, an empty result is a pass; ``input.plan`` and ``input.run``.

Format: https://developer.hashicorp.com/terraform/cloud-docs/policy-enforcement/define-policies/opa and, for
``policies.hcl``, .../policy-enforcement/manage-policy-sets/opa-vcs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mandamus.kernel.attachment import Level
from mandamus.kernel.errors import Problem
from mandamus.policy import hcl
from mandamus.policy.bundle import Tree
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
from mandamus.policy.profile_terraform import HEAD, NEEDS_PLAN, PLAN, RUN

FILE = "policies.hcl"
_QUERY = re.compile(r'data((?:\.[A-Za-z_][A-Za-z0-9_]*|\["[^"\\.\]]+"\])+)')
_PART = re.compile(r'\.([A-Za-z_][A-Za-z0-9_]*)|\["([^"\\.\]]+)"\]')
_LEVELS: Mapping[str, Level | None] = {"advisory": Level.ADVISORY, "mandatory": None}
"""Mandatory is as strict as the set is attached: HCP lets those with the permission override it."""

_DOCUMENT = """
document.plan := plan

document.run := run

run.id := input.run.id

run.message := input.run.reason

run.is_destroy := is_destroy

run.speculative := plan_only

run.variables := {name: {"value": value} | some name, value in given}

run.project := {"name": project}

run.workspace := {"name": unit, "tags": labels, "environment": input.environment.name}

run.created_by := {"username": requester.user}

project := input.run.project if is_string(input.run.project)

project := input.run.workflow if not has_project

has_project if is_string(input.run.project)
"""


@dataclass(frozen=True)
class _Asked:
    rule: str
    level: Level | None
    file: str
    line: int


class Hcp:
    """See the module."""

    name = "hcp"
    suffixes = (FILE,)

    def modules(self, files: Mapping[str, str]) -> dict[str, str]:
        """See `Profile.modules`."""
        found = Tree.evaluated(files)
        return {**found, ADAPTER: HEAD + PLAN + RUN + _DOCUMENT} if found else {}

    def tests(self, files: Mapping[str, str]) -> dict[str, str]:
        """See `Profile.tests`."""
        return Tree.testing(files)

    def entries(
        self, trees: Mapping[str, Mapping[str, Any]], files: Mapping[str, str], options: Options
    ) -> list[Entry]:
        """See `Profile.entries`: queries of the options, and of every ``policies.hcl``."""
        problems: list[Problem] = []
        asked = [*_of_options(options, problems), *_of_files(files, problems)]
        known = {rule.full for rule in rules(trees)}
        for one in asked:
            if one.rule not in known and trees:
                message = f"no module of the set has data.{one.rule}"
                problems.append(problem(one.file, one.line, "query_unknown", message, "name a rule, with its package"))
        refuse(problems)
        strictest: dict[str, Level | None] = {}
        for one in asked:
            # The same rule at two levels is as strict as the stricter of them.
            strictest[one.rule] = max(strictest.get(one.rule, one.level), one.level, key=_strictness)
        return [Entry("plan", rule, asking(guard=NEEDS_PLAN), DENY, level) for rule, level in strictest.items()]

    def read(self, entry: Entry, given: Sequence[tuple[str, Any]]) -> list[Said]:
        """See `Profile.read`: a collection, of which every member is a violation."""
        found = members(entry, answer(entry, given)[ANSWER], required=True)
        return [Said(DENY, entry.rule, anything(member), entry.level) for member in found]


def _strictness(level: Level | None) -> int:
    """A rule without a level of its own is as strict as its set can be."""
    return Level.HARD.strictness + 1 if level is None else level.strictness


def _of_options(options: Options, problems: list[Problem]) -> Iterator[_Asked]:
    for query in options.queries:
        rule = _rule(query.query)
        if rule is None:
            problems.append(_no_query("", 1, query.query))
        else:
            yield _Asked(rule, query.level, "", 1)


def _of_files(files: Mapping[str, str], problems: list[Problem]) -> Iterator[_Asked]:
    for path, text in files.items():
        if path.rpartition("/")[2] != FILE:
            continue
        try:
            read = hcl.parse(text)
        except hcl.HclError as error:
            problems.append(
                problem(path, error.line, "hcl_invalid", str(error), 'write `policy "NAME" { query = ... }`')
            )
            continue
        for block in read.blocks:
            if block.name == "policy":
                yield from _of_block(path, block, problems)


def _of_block(path: str, block: hcl.Block, problems: list[Problem]) -> Iterator[_Asked]:
    query, level = block.values.get("query"), str(block.values.get("enforcement_level", "mandatory"))
    rule = _rule(query) if isinstance(query, str) else None
    if rule is None:
        problems.append(_no_query(path, block.lines.get("query", block.line), query))
    if level not in _LEVELS:
        line = block.lines["enforcement_level"]
        remedy = f"use one of {', '.join(_LEVELS)}"
        problems.append(problem(path, line, "level_unknown", f"there is no enforcement level {level!r}", remedy))
    elif rule is not None:
        yield _Asked(rule, _LEVELS[level], path, block.line)


def _no_query(path: str, line: int, query: object) -> Problem:
    message = "the policy has no query" if query is None else f"the query {query!r} names no rule"
    return problem(path, line, "query_invalid", message, "write it like data.terraform.policies.NAME.deny")


def _rule(query: str) -> str | None:
    """``data.a["b"].deny`` as ``a.b.deny``; None for what is no path of a rule."""
    match = _QUERY.fullmatch(query.strip())
    return ".".join(dotted or quoted for dotted, quoted in _PART.findall(match[1])) if match else None


HCP = Hcp()
