"""Reads the platform's own file: people, environments, projects; it never comes from a workflow's repository."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mandamus.audit.gate import Demand, Mode
from mandamus.audit.retention import RetentionClass
from mandamus.catalog import access, machines
from mandamus.catalog.access import Access, Named, read_access
from mandamus.catalog.machines import read_machines
from mandamus.catalog.model import Environment, Pool, Project
from mandamus.catalog.notify import Document, read_notify
from mandamus.catalog.retention import read_retention
from mandamus.catalog.secret import read_secret
from mandamus.catalog.sign_in import read_sign_in, read_step_up
from mandamus.catalog.workflow import INPUT_NAME, NAME
from mandamus.identity.declared_machines import Machines
from mandamus.identity.model import GROUP_NAME, RESERVED, USER_NAME, Group, Nature, Role, User
from mandamus.identity.sign_in import SignIn
from mandamus.kernel.attachment import Attached, Level
from mandamus.kernel.document import Finding, Kind, Node, parse
from mandamus.kernel.errors import Code
from mandamus.kernel.ids import Digest
from mandamus.kernel.reader import Reader, did_you_mean
from mandamus.secrets.model import SecretRef

PEOPLE_MAX = 10_000
APPROVERS_MAX = 100
APPROVAL_TTL_S_MIN = 60
APPROVAL_TTL_S_DEFAULT = 86_400

_KEYS = ("users", "groups", *access.KEYS, "environments", "projects", "retention", "notify", "sign_in", *machines.KEYS)
_USER_KEYS = ("name", "email", "active", "role", "projects")
_ENVIRONMENT_KEYS = (
    "protected",
    "vars",
    "secrets",
    "policies",
    "approvers",
    "approval_ttl",
    "pool",
    "witnesses",
    "step_up",
)
_PROJECT_KEYS = ("root", "policies")
_POLICY_KEYS = (
    "path",
    "name",
    "level",
    "override",
    "key",
    "profile",
    "rego",
    "builtin_errors",
    "namespaces",
    "queries",
    "kind",
)
_QUERY_KEYS = ("name", "query", "level")
PROFILES = ("mandamus", "conftest", "spacelift", "hcp", "scalr", "gatekeeper")
_REGO = ("auto", "v0", "v1")
_BUILTIN_ERRORS = ("error", "undefined")
_ROLES = tuple(role.value for role in Role)
_LEVELS = tuple(level.value for level in Level)
_POOL_KEYS = ("sandbox", "network", "allow_private")
_SANDBOXES = ("required", "none")
_RULE = "letters, digits, - and _"


@dataclass(frozen=True)
class Known:
    """What earlier files declared, so that this one may name it."""

    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    programs: Mapping[str, Nature] = field(default_factory=dict)
    roles: frozenset[str] = frozenset()


@dataclass(frozen=True)
class PolicySource:
    """A policy set as declared: a folder or an OPA bundle (``*.tar.gz``), and how it binds.

    ``options`` say how its text is to be read, in the form of `policy.model.Options`; ``key`` is the file of the key
    that a bundle's signature is verified with.
    """

    path: Path
    name: str
    level: Level = Level.HARD
    override: Mapping[str, int] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    key: Path | None = None

    def published(self, digest: Digest) -> Attached:
        """The attachment of what was published of it."""
        return Attached(digest, self.name, self.level, self.override)


def _attached(policies: tuple[PolicySource, ...], sets: tuple[Digest, ...]) -> tuple[Attached, ...]:
    if len(sets) != len(policies):
        raise AssertionError("one digest for each policy set")
    return tuple(source.published(digest) for source, digest in zip(policies, sets, strict=True))


@dataclass(frozen=True)
class Target:
    """An environment as declared: its policy sets are still folders, to be published before it is applied."""

    environment: Environment
    policies: tuple[PolicySource, ...]

    def published(self, sets: tuple[Digest, ...]) -> Environment:
        """The environment with the digests of its published policy sets, in the order of ``policies``."""
        return replace(self.environment, policies=_attached(self.policies, sets))


@dataclass(frozen=True)
class Registered:
    """A project as declared, its policy sets still folders."""

    project: Project
    policies: tuple[PolicySource, ...]

    def published(self, sets: tuple[Digest, ...]) -> Project:
        """The project with the digests of its published policy sets, in the order of ``policies``."""
        return replace(self.project, policies=_attached(self.policies, sets))


@dataclass(frozen=True)
class PlatformConfig:
    """One file's users, groups, environments, projects, retention classes and subscriptions, in its order."""

    users: tuple[User, ...]
    groups: tuple[Group, ...]
    environments: tuple[Target, ...]
    projects: tuple[Registered, ...] = ()
    retention: tuple[RetentionClass, ...] = ()
    notify: Mapping[str, Document] = field(default_factory=dict)
    access: Access = field(default_factory=Access)
    sign_in: tuple[SignIn | None, ...] = ()
    machines: Machines = field(default_factory=Machines)


def read(data: bytes, file: str, folder: Path, known: Known | None = None) -> PlatformConfig:
    """Parse and check a platform file; relative paths in it stand in ``folder``.

    Raises ``document_invalid`` when it is no YAML we accept, else ``environment_invalid`` with every problem found.
    """
    root = parse(data, file)
    reading = _Reading(Reader(), folder, known or Known())
    config = reading.config(root)
    reading.reader.raise_for(Code.ENVIRONMENT_INVALID, "correct the file, then run `mandamus env apply` again")
    return config


class _Reading:
    def __init__(self, reader: Reader, folder: Path, known: Known) -> None:
        self.reader = reader
        self._folder = folder
        self._users = set(known.users)
        self._groups = set(known.groups)
        self._known = known
        self._sizes: dict[str, int] = {}

    def config(self, root: Node) -> PlatformConfig:
        fields = self.reader.table(root, "a platform file", _KEYS)
        if root.kind is Kind.MAP and not root.fields:
            remedy = "add a section, such as users or environments"
            self.reader.add(root, Finding.WRONG_VALUE, "the file declares nothing", remedy)
        users = self._entries(fields, "users", self._user)
        self._users |= {user.name for user in users}
        groups = self._entries(fields, "groups", self._group)
        self._groups |= {group.name for group in groups}
        self._sizes = {group.name: len(set(group.members)) for group in groups}
        environments = self._entries(fields, "environments", self._environment)
        projects = self._entries(fields, "projects", self._project)
        retention = read_retention(self.reader, fields["retention"]) if "retention" in fields else ()
        notify = read_notify(self.reader, fields["notify"], self._folder) if "notify" in fields else {}
        named = Named(self._users, self._known.programs, self._groups, self._known.roles)
        may = read_access(self.reader, fields, named)
        by = (read_sign_in(self.reader, fields["sign_in"], self._folder),) if "sign_in" in fields else ()
        return PlatformConfig(
            tuple(users),
            tuple(groups),
            tuple(environments),
            tuple(projects),
            retention,
            notify,
            may,
            by,
            read_machines(self.reader, fields),
        )

    def _entries(self, fields: Mapping[str, Node], key: str, make: Any) -> list[Any]:
        if key not in fields:
            return []
        found = self.reader.mapping(fields[key], f"`{key}`")
        if len(found) > PEOPLE_MAX:
            self.reader.add(fields[key], Finding.LIMIT, f"more than {PEOPLE_MAX} {key}", "split the file")
            return []
        return [make(name, fields[key], node) for name, node in found.items()]

    def _name(self, name: str, parent: Node, form: re.Pattern[str], what: str, rule: str) -> None:
        if not form.fullmatch(name):
            message = f"`{name[:60]}` is no name for {what}"
            self.reader.add(parent.key_at(name), Finding.WRONG_VALUE, message, f"use {rule}")

    def _user(self, name: str, parent: Node, node: Node) -> User:
        self._name(name, parent, USER_NAME, "a user", "letters, digits and . _ @ + -, beginning with a letter or digit")
        if name in RESERVED:
            message = f"`{name}` is the platform's own name"
            self.reader.add(parent.key_at(name), Finding.WRONG_VALUE, message, "choose another name")
        if node.kind is Kind.SCALAR and node.value is None:
            return User(name)
        fields = self.reader.table(node, f"user `{name}`", _USER_KEYS)
        return User(
            name,
            self._text(fields, "name"),
            self._text(fields, "email"),
            self.reader.boolean(fields["active"], "`active`", default=True) if "active" in fields else True,
            Role(self._choice(fields, "role", _ROLES, Role.MEMBER.value)),
            self._names_of_projects(fields["projects"]) if "projects" in fields else None,
        )

    def _names_of_projects(self, node: Node) -> tuple[str, ...]:
        names = [self.reader.text(each, "a project", late=False) for each in self.reader.sequence(node, "`projects`")]
        return tuple(dict.fromkeys(names))

    def _text(self, fields: Mapping[str, Node], key: str) -> str:
        return self.reader.text(fields[key], f"`{key}`", late=False) if key in fields else ""

    def _group(self, name: str, parent: Node, node: Node) -> Group:
        self._name(name, parent, GROUP_NAME, "a group", f"lower-case {_RULE}, beginning with a letter, at most 63")
        members = []
        for element in self.reader.sequence(node, f"group `{name}`"):
            member = self.reader.text(element, f"a member of `{name}`", late=False)
            if member in members:
                self.reader.add(element, Finding.WRONG_VALUE, f"`{member}` stands twice in `{name}`", "delete one")
            elif member and member not in self._users:
                remedy = did_you_mean(member, sorted(self._users), f"add `{member}` under `users`")
                self.reader.add(element, Finding.UNKNOWN_NAME, f"there is no user `{member}`", remedy)
            members.append(member)
        return Group(name, tuple(members))

    def _environment(self, name: str, parent: Node, node: Node) -> Target:
        self._name(name, parent, NAME, "an environment", f"lower-case {_RULE}, beginning with a letter, at most 63")
        if node.kind is Kind.SCALAR and node.value is None:
            return Target(Environment(name), ())
        fields = self.reader.table(node, f"environment `{name}`", _ENVIRONMENT_KEYS)
        ttl_s = APPROVAL_TTL_S_DEFAULT
        if "approval_ttl" in fields:
            ttl_s = self.reader.duration_s(
                fields["approval_ttl"], "`approval_ttl`", minimum=APPROVAL_TTL_S_MIN, default=ttl_s
            )
        made = Environment(
            name=name,
            protected=self.reader.boolean(fields["protected"], "`protected`") if "protected" in fields else False,
            vars=self._vars(fields["vars"]) if "vars" in fields else {},
            secrets=self._secrets(fields["secrets"]) if "secrets" in fields else {},
            approvers=self._counts(fields["approvers"]) if "approvers" in fields else {},
            approval_ttl_s=ttl_s,
            pool=self._pool(fields["pool"]) if "pool" in fields else Pool(),
            witnesses=self._demand(fields["witnesses"]) if "witnesses" in fields else None,
            step_up=read_step_up(self.reader, fields["step_up"]) if "step_up" in fields else None,
        )
        return Target(made, self._policies(fields["policies"]) if "policies" in fields else ())

    def _vars(self, node: Node) -> dict[str, Any]:
        found = self.reader.mapping(node, "`vars`")
        for name, child in found.items():
            self._name(name, node, INPUT_NAME, "a variable", "letters, digits and _, not beginning with a digit")
            for scalar in child.scalars():
                if scalar.late:
                    message = f"variable `{name}` cannot hold an expression"
                    self.reader.add(scalar, Finding.EXPRESSION_REFUSED, message, "write the value itself")
        return {name: child.plain() for name, child in found.items()}

    def _secrets(self, node: Node) -> dict[str, SecretRef]:
        made = {}
        for name, child in self.reader.mapping(node, "`secrets`").items():
            self._name(name, node, INPUT_NAME, "a secret", "letters, digits and _, not beginning with a digit")
            ref = read_secret(self.reader, child, f"secret `{name}`", self._folder)
            if ref is not None:
                made[name] = ref
        return made

    def _project(self, name: str, parent: Node, node: Node) -> Registered:
        self._name(name, parent, NAME, "a project", f"lower-case {_RULE}, beginning with a letter, at most 63")
        fields = self.reader.table(node, f"project `{name}`", _PROJECT_KEYS, required=("root",))
        root = self._path(fields["root"], "`root`") if "root" in fields else None
        if root is not None and not root.is_dir():
            self.reader.add(fields["root"], Finding.WRONG_VALUE, f"{root} is no folder", "name the project's folder")
        policies = self._policies(fields["policies"]) if "policies" in fields else ()
        return Registered(Project(name, str(root or "")), policies)

    def _path(self, node: Node, what: str) -> Path | None:
        text = self.reader.text(node, what, late=False)
        return (self._folder / text).resolve() if text else None

    def _policies(self, node: Node) -> tuple[PolicySource, ...]:
        made: list[PolicySource] = []
        for element in self.reader.sequence(node, "`policies`"):
            source = self._policy(element)
            if source is None:
                continue
            if source.path in [known.path for known in made]:
                message = f"{os.path.relpath(source.path, self._folder)} stands twice in `policies`"
                self.reader.add(element, Finding.WRONG_VALUE, message, "delete one")
            elif source.name in [known.name for known in made]:
                message = f"two policy sets are called `{source.name}`"
                self.reader.add(element, Finding.WRONG_VALUE, message, "give one another `name`")
            made.append(source)
        return tuple(made)

    def _policy(self, node: Node) -> PolicySource | None:
        """A path, or a table that says how the set at the path binds and how it is to be read."""
        if node.kind is not Kind.MAP:
            path = self._set_path(node, "an element of `policies`")
            return None if path is None else PolicySource(path, _set_name(path))
        fields = self.reader.table(node, "an element of `policies`", _POLICY_KEYS, required=("path",))
        path = self._set_path(fields["path"], "`path`") if "path" in fields else None
        level = Level(self._choice(fields, "level", _LEVELS, Level.HARD.value))
        override = self._counts(fields["override"]) if "override" in fields else {}
        if level is Level.SOFT and "override" not in fields:
            message = "a soft-mandatory set needs owners who may override it"
            self.reader.add(node, Finding.WRONG_VALUE, message, "add `override: {GROUP: {count: N}}`")
        if path is None:
            return None
        name = self.reader.text(fields["name"], "`name`", late=False) if "name" in fields else _set_name(path)
        key = self._path(fields["key"], "`key`") if "key" in fields else None
        return PolicySource(path, name, level, override, self._options(fields), key)

    def _set_path(self, node: Node, what: str) -> Path | None:
        path = self._path(node, what)
        if path is not None and not (path.is_dir() or (path.is_file() and path.name.endswith(".tar.gz"))):
            remedy = "name a folder of .rego files, or an OPA bundle such as base.tar.gz"
            self.reader.add(node, Finding.WRONG_VALUE, f"{path} is no folder", remedy)
        return path

    def _choice(self, fields: Mapping[str, Node], key: str, choices: tuple[str, ...], default: str) -> str:
        return self.reader.choice(fields[key], f"`{key}`", choices, default=default) if key in fields else default

    def _options(self, fields: Mapping[str, Node]) -> dict[str, Any]:
        """In the form of `policy.model.Options`, for a set that is to be read in another way than our own."""
        errors = self._choice(fields, "builtin_errors", _BUILTIN_ERRORS, "")
        return {
            "profile": self._choice(fields, "profile", PROFILES, PROFILES[0]),
            "rego": self._choice(fields, "rego", _REGO, _REGO[0]),
            "builtin_errors": errors or None,
            "namespaces": self._texts(fields, "namespaces"),
            "queries": [self._query(each) for each in self._elements(fields, "queries")],
            "kind": self._text(fields, "kind"),
        }

    def _elements(self, fields: Mapping[str, Node], key: str) -> list[Node]:
        return list(self.reader.sequence(fields[key], f"`{key}`")) if key in fields else []

    def _texts(self, fields: Mapping[str, Node], key: str) -> list[str]:
        return [self.reader.text(each, f"an element of `{key}`", late=False) for each in self._elements(fields, key)]

    def _query(self, node: Node) -> dict[str, Any]:
        fields = self.reader.table(node, "an element of `queries`", _QUERY_KEYS, required=("query",))
        query = self._text(fields, "query")
        level = self._choice(fields, "level", _LEVELS, "")
        return {"name": self._text(fields, "name") or query, "query": query, "level": level or None}

    def _counts(self, node: Node) -> dict[str, int]:
        """A number of people by group."""
        made = {}
        for group, child in self.reader.mapping(node, "a map from group to count").items():
            if group not in self._groups:
                remedy = did_you_mean(group, sorted(self._groups), f"add `{group}` under `groups`")
                self.reader.add(node.key_at(group), Finding.UNKNOWN_NAME, f"there is no group `{group}`", remedy)
            fields = self.reader.table(child, f"`{group}`", ("count",), required=("count",))
            if "count" not in fields:
                continue
            count = self.reader.integer(fields["count"], "`count`", minimum=1, maximum=APPROVERS_MAX, default=1)
            size = self._sizes.get(group)
            if size is not None and size < count:
                message = f"`count` is {count}, but `{group}` has {size} member{'' if size == 1 else 's'}"
                self.reader.add(fields["count"], Finding.WRONG_VALUE, message, "add members, or ask for fewer")
            made[group] = count
        return made

    def _pool(self, node: Node) -> Pool:
        fields = self.reader.table(node, "`pool`", _POOL_KEYS)
        sandbox = "required"
        if "sandbox" in fields:
            sandbox = self.reader.choice(fields["sandbox"], "`sandbox`", _SANDBOXES, default=sandbox)
        network = self.reader.boolean(fields["network"], "`network`") if "network" in fields else False
        private: tuple[str, ...] = ()
        if "allow_private" in fields:
            elements = self.reader.sequence(fields["allow_private"], "`allow_private`")
            private = tuple(self._network(element) for element in elements)
        return Pool(sandbox, network, private)

    def _demand(self, node: Node) -> Demand:
        """``none``, ``require``, or ``{grace: 30m}``."""
        if node.kind is not Kind.MAP:
            modes = (Mode.NONE.value, Mode.REQUIRE.value)
            return Demand(Mode(self.reader.choice(node, "`witnesses`", modes, default=Mode.REQUIRE.value)))
        fields = self.reader.table(node, "`witnesses`", (Mode.GRACE.value,), required=(Mode.GRACE.value,))
        grace_s = self.reader.duration_s(fields["grace"], "`grace`", minimum=60) if "grace" in fields else 0
        return Demand(Mode.GRACE, grace_s)

    def _network(self, node: Node) -> str:
        text = self.reader.text(node, "an element of `allow_private`", late=False)
        if not text:
            return text
        try:
            network = ipaddress.ip_network(text)
        except ValueError:
            message = f"`{text[:60]}` is no network"
            self.reader.add(node, Finding.WRONG_VALUE, message, "write it as CIDR, such as 127.0.0.0/8 or 10.1.2.0/24")
            return text
        if not (network.is_private or network.is_loopback or network.is_link_local):
            message = f"{text} is not a private network"
            self.reader.add(node, Finding.WRONG_VALUE, message, "public addresses need no permission; delete it")
        return str(network)


def _set_name(path: Path) -> str:
    return path.name.removesuffix(".tar.gz")
