"""Writes the generated blocks of docs/reference from the code, so that a table there cannot say anything else.

Usage: python tools/reference.py            rewrites the blocks
       python tools/reference.py --check    only names the pages that would change, and then exits with 1

A block stands between ``<!-- generated: NAME -->`` and ``<!-- end: NAME -->``; everything else of a page is ours to
write.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
from annotated_types import Ge, Le
from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic.fields import FieldInfo

import mandamus
from mandamus.api import docs as docs_page
from mandamus.api import system
from mandamus.api.app import PREFIX as PREFIX_OF_API
from mandamus.api.app import VERSIONED
from mandamus.api.door import PUBLIC
from mandamus.audit.catalogue import VERBS
from mandamus.audit.kinds import Kind
from mandamus.cli.main import COMMANDS, root
from mandamus.cli.outcome import EXITS
from mandamus.evidence.controls import CONTROLS, Fact
from mandamus.identity.grants import BUILT_IN
from mandamus.kernel.access import HOME_WIDE, OWNER, PEOPLE_ONLY, Permission, permission_of
from mandamus.kernel.errors import Code, Exit
from mandamus.policy import schema
from mandamus.policy.check import FORBIDDEN
from mandamus.policy.model import Point
from mandamus.runs.lifecycle import RUN_CLOSED, STEP_CLOSED, STEP_PASSES, STEP_TABLE, RunState, StepState
from mandamus.serving.routes import permission_of as route_permission
from mandamus.settings import PREFIX, Settings

PAGES = Path(__file__).parents[1] / "docs" / "reference"
BLOCK = re.compile(r"(<!-- generated: (?P<name>[a-z-]+) -->\n).*?(\n<!-- end: (?P=name) -->)", re.DOTALL)

CHECKED = re.compile(r"\bauthorize\(who, Permission\.(\w+)[,)]")

COMMON = ("home", "server", "as", "ticket", "output", "debug")
"""Options every command has; the page lists them once."""


def written(text: str) -> str:
    """A page's text with every block as the code gives it now; raises ``KeyError`` for a block nobody makes."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found['name']]().strip()}\n{found[3]}", text)


def errors() -> str:
    """Every error code with its HTTP status and exit code."""
    rows = [(f"[`{code.text}`](#{code.text})", str(code.http_status), _exit(code.exit)) for code in Code]
    return _table(("code", "HTTP status", "exit code"), rows)


def exit_codes() -> str:
    """Every exit code with the error codes that lead to it."""
    rows = []
    for exit_ in Exit:
        codes = [f"[`{code.text}`](errors.md#{code.text})" for code in Code if code.exit is exit_]
        rows.append((f"`{int(exit_)}`", exit_.name.lower(), ", ".join(codes) or "none"))
    return _table(("exit code", "name", "error codes that lead to it"), rows)


def run_exits() -> str:
    """The exit code of each state that a command leaves a run in."""
    rows = [(f"`{state}`", f"`{int(exit_)}`") for state, exit_ in EXITS.items()]
    return _table(("run state", "exit code"), rows)


def settings() -> str:
    """Every setting: variable, type with its limits, default, meaning."""
    rows = [
        (f"`{PREFIX}{name.upper()}`", _type(found), _default(found), str(found.description))
        for name, found in Settings.model_fields.items()
    ]
    return _table(("variable", "type", "default", "meaning"), rows)


def permissions() -> str:
    """Every permission, who has it, and the verbs that ask for it."""
    verbs: dict[Permission, list[str]] = {permission: [] for permission in Permission}
    for name, verb in _verbs():
        for needed in _needed(verb):
            verbs[needed].append(f"`{name}`: {_first_line(verb)}")
    rows = [
        (
            f"`{each.value}`",
            "yes" if each in OWNER else "no",
            *("yes" if each in role else "no" for role in BUILT_IN.values()),
            ", ".join([*(["everywhere"] if each in HOME_WIDE else []), *(["people"] if each in PEOPLE_ONLY else [])]),
            "<br>".join(found),
        )
        for each, found in verbs.items()
    ]
    return _table(("permission", "owner", *BUILT_IN, "only", "verbs that need it"), rows)


def events() -> str:
    """Every kind of audit event with the data fields it may carry, and the form of each."""
    rows = [
        (f"`{kind.text}`", kind.doc, "; ".join(f"`{name}`: {form.words}" for name, form in sorted(kind.fields.items())))
        for kind in Kind
    ]
    return _table(("kind", "what happened", "data fields with their forms"), rows)


def recorded() -> str:
    """What each verb leaves in the log, or why it leaves nothing."""
    rows = [(f"`{verb}`", _promise(promise)) for verb, promise in VERBS.items()]
    return _table(("verb", "what an allowed call records"), rows)


def builtins() -> str:
    """Every Rego builtin that a policy set may not use."""
    return _table(("builtin", "instead"), [(f"`{name}`", instead) for name, instead in FORBIDDEN.items()])


def policy_input() -> str:
    """Every field of the input of each decision point."""
    return "\n\n".join(
        f"## `{point}`\n\n"
        + _table(
            ("path", "type", "meaning"),
            [(f"`{path}`", kind, meaning) for path, kind, meaning in schema.rows(point)],
        )
        for point in Point
    )


def run_states() -> str:
    """The states of a run."""
    return _table(("state", "closed"), [(f"`{state}`", _yes(state in RUN_CLOSED)) for state in RunState])


def step_states() -> str:
    """The states of a step."""
    rows = [(f"`{state}`", _yes(state in STEP_CLOSED), _yes(state in STEP_PASSES)) for state in StepState]
    return _table(("state", "closed", "lets the next steps begin"), rows)


def step_table() -> str:
    """Every legal transition of a step."""
    rows = [(f"`{state}`", f"`{event}`", f"`{after}`") for (state, event), after in STEP_TABLE.items()]
    return _table(("state", "event", "next state"), rows)


def common_options() -> str:
    """The options every command has."""
    return _options(param for param in _load("demo").params if param.name in COMMON)


def commands() -> str:
    """Every command with its arguments, options and example; behind a group stand its own."""
    return "\n\n".join(part for name in COMMANDS for part in _commands(f"mandamus {name}", _load(name)))


def api() -> str:
    """Every operation of the API with what it needs; the first line of its own words."""
    app = FastAPI()
    for routes in VERSIONED:
        routes.add_to(app, PREFIX_OF_API)
    for routes in (docs_page.routes, system.routes):
        routes.add_to(app)
    rows = []
    for found in app.routes:
        if isinstance(found, APIRoute):
            needs = "nothing" if found.path in PUBLIC else f"`{route_permission(found).value}`"
            method = ", ".join(sorted(found.methods))
            rows.append((f"`{method} {found.path}`", f"`{found.operation_id}`", needs, _first_line(found.endpoint)))
    return _table(("operation", "name, and the client's method", "needs", "what it does"), rows)


def controls() -> str:
    """Every control with what shows it, and what a bundle cannot show."""
    rows = [
        (each.framework, each.id, each.requires, ", ".join(fact.word for fact in each.facts), each.beside)
        for each in CONTROLS
    ]
    return _table(("framework", "control", "requires", "shown by", "what a bundle cannot show, and where it is"), rows)


def facts() -> str:
    """Every fact with its files and leaves."""
    rows = [(fact.word, fact.shows, fact.where, ", ".join(f"`{kind}`" for kind in fact.kinds)) for fact in Fact]
    return _table(("what", "it shows", "files in the bundle", "leaves"), rows)


BLOCKS: Mapping[str, Callable[[], str]] = {
    "api": api,
    "controls": controls,
    "facts": facts,
    "errors": errors,
    "exit-codes": exit_codes,
    "run-exits": run_exits,
    "settings": settings,
    "permissions": permissions,
    "events": events,
    "recorded": recorded,
    "builtins": builtins,
    "policy-input": policy_input,
    "run-states": run_states,
    "step-states": step_states,
    "step-table": step_table,
    "common-options": common_options,
    "commands": commands,
}


def main(arguments: Sequence[str]) -> int:
    """Rewrite every page, or name those that would change."""
    stale = [page for page in sorted(PAGES.glob("*.md")) if written(page.read_text()) != page.read_text()]
    for page in stale:
        print(page)
        if "--check" not in arguments:
            page.write_text(written(page.read_text()))
    return int(bool(stale) and "--check" in arguments)


def _load(name: str) -> click.Command:
    found = root.get_command(click.Context(root), name)
    assert found is not None  # noqa: S101 - the name comes from the table itself
    return found


def _commands(path: str, command: click.Command) -> Iterator[str]:
    yield _command(path, command)
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None  # noqa: S101 - the name comes from the group itself
            yield from _commands(f"{path} {name}", found)


def _command(path: str, command: click.Command) -> str:
    text, _, example = inspect.cleandoc(command.help or "").partition("\b\nExample:\n")
    usage = " ".join([path, *command.collect_usage_pieces(click.Context(command))])
    parts = [f"### `{path}`", f"```text\n{usage}\n```", text.strip()]
    own = [param for param in command.params if isinstance(param, click.Option) and param.name not in COMMON]
    if own:
        parts.append(_options(own))
    if example.strip():
        parts.append("```console\n" + "\n".join(f"$ {line.strip()}" for line in example.strip().split("\n")) + "\n```")
    return "\n\n".join(parts)


def _options(params: Iterable[click.Parameter]) -> str:
    rows = []
    for param in params:
        record = param.get_help_record(click.Context(root)) if isinstance(param, click.Option) else None
        if isinstance(param, click.Option) and record is not None:
            needed = "needed. " if param.required else ""
            rows.append((f"`{record[0].replace('  ', ' ')}`", needed + str(param.help)))
    return _table(("option", "meaning"), rows)


def _verbs() -> Iterator[tuple[str, Callable[..., Any]]]:
    for found in pkgutil.walk_packages(mandamus.__path__, "mandamus."):
        spec = importlib.util.find_spec(found.name)
        assert spec is not None  # noqa: S101 - it was found just now
        if "Permission." not in Path(str(spec.origin)).read_text():  # without that word no verb asks for one
            continue
        module = importlib.import_module(found.name)
        for name, made in vars(module).items():
            if inspect.isclass(made) and made.__module__ == module.__name__:
                verbs = ((verb, each) for verb, each in vars(made).items() if inspect.isfunction(each))
                yield from ((f"{name}.{verb}", each) for verb, each in verbs if not verb.startswith("_"))


def _needed(verb: Callable[..., Any]) -> list[Permission]:
    """The permission a verb is bound to, or the one it checks itself because a transaction comes before ``who``."""
    bound = permission_of(verb)
    if bound is not None:
        return [bound]
    return [Permission[name] for name in CHECKED.findall(inspect.getsource(verb))]


def _first_line(verb: Callable[..., Any]) -> str:
    return (inspect.getdoc(verb) or "").split("\n\n")[0].replace("\n", " ").replace("``", "`")


def _promise(promise: Kind | str) -> str:
    return f"`{promise.text}`" if isinstance(promise, Kind) else f"nothing: {promise}"


def _exit(exit_: Exit) -> str:
    return f"[`{int(exit_)}`](exit-codes.md)"


def _type(found: FieldInfo) -> str:
    name = {"Path | None": "path", "str": "text", "bool": "true or false", "int": "whole number"}
    if get_origin(found.annotation) is Literal:
        return " or ".join(f"`{word}`" for word in get_args(found.annotation))
    text = str(found.annotation).removeprefix("<class '").removesuffix("'>").replace("pathlib._local.", "")
    limits = [f"from {each.ge}" for each in found.metadata if isinstance(each, Ge)]
    limits += [f"to {each.le}" for each in found.metadata if isinstance(each, Le)]
    return " ".join([name.get(text.replace("pathlib.", ""), text), *limits])


def _default(found: FieldInfo) -> str:
    return "empty" if found.default in ("", None) else f"`{str(found.default).lower()}`"


def _yes(holds: bool) -> str:  # noqa: FBT001 - a word for a truth
    return "yes" if holds else "no"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
