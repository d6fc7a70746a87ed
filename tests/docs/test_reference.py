"""The reference says everything there is, and nothing that is not."""

from __future__ import annotations

import dataclasses
import inspect
import re

import click
import pytest

from mandamus.audit.catalogue import VERBS
from mandamus.audit.kinds import Kind
from mandamus.catalog import machines, notify, platform, workflow
from mandamus.catalog.inputs import InputType
from mandamus.cli.main import COMMANDS, root
from mandamus.kernel.access import Permission
from mandamus.kernel.attachment import Level
from mandamus.kernel.changeset import Action, Change, ChangeSet, Confidence
from mandamus.kernel.document import Finding
from mandamus.kernel.errors import Code, Exit
from mandamus.policy.model import RULES, Fault, Point
from mandamus.runs import approval
from mandamus.runs.lifecycle import RunState, StepEvent, StepState
from mandamus.runs.model import Binding
from mandamus.settings import PREFIX, Settings

THERE_IS = {
    "errors": [code.text for code in Code],
    "exit-codes": [str(int(code)) for code in Exit] + [state.value for state in RunState],
    "settings": [PREFIX + name.upper() for name in Settings.model_fields],
    "permissions": [permission.value for permission in Permission],
    "events": [kind.text for kind in Kind] + sorted({field for kind in Kind for field in kind.fields}),
    "states": [*RunState, *StepState, *StepEvent],
    "policy": [
        *Point,
        *Level,
        *RULES,
        *Fault,
        "file_invalid",
        "link_refused",
        "data_invalid",
        "builtin_forbidden",
        "input_unknown",
        "rule_never_fires",
    ],
    "change-set": [
        *Action,
        *Confidence,
        *(field.name for made in (ChangeSet, Change, Binding) for field in dataclasses.fields(made)),
    ],
    "workflow": [
        *Finding,
        *InputType,
        *workflow._WORKFLOW_KEYS,
        *workflow._INPUT_KEYS,
        *workflow._STEP_KEYS,
    ],
    "platform": [
        *platform._KEYS,
        *platform._USER_KEYS,
        *platform._ENVIRONMENT_KEYS,
        *platform._POOL_KEYS,
        *platform._POLICY_KEYS,
        *platform._PROJECT_KEYS,
        *platform._LEVELS,
        *notify.KEYS,
        *notify.WEBHOOK_KEYS,
        *machines.KEYS,
        *machines.EXCHANGE_KEYS,
        *machines.PROVISIONING_KEYS,
    ],
}
"""By page: the words it must explain."""


@pytest.mark.parametrize("name", THERE_IS)
def test_everything_there_is_stands_on_its_page(page, name):
    """Each code, field, key, state, setting and permission stands in code marks on the page it belongs to."""
    found = page(f"docs/reference/{name}.md")
    words = {word for _, line in found.prose for word in re.findall(r"`([^`]+)`", line)}
    words |= {part for word in words for part in re.split(r"[.,: ]+", word)}
    missing = [str(each) for each in THERE_IS[name] if str(each) not in words]
    assert not missing, f"{found.name} says nothing of {', '.join(missing)}"


def test_every_error_has_a_heading(page):
    """An error's heading is its code, so that a link to it never breaks."""
    assert {code.text for code in Code} <= page("docs/reference/errors.md").anchors


def test_the_pages_are_as_the_code_would_write_them(pages, reference):
    """Generated blocks equal what `tools/reference.py` writes now."""
    stale = [each.name for each in pages if reference.written(each.text) != each.text]
    assert not stale, f"run `.venv/bin/python tools/reference.py`: {', '.join(stale)} would change"


def test_every_block_that_can_be_generated_is_used(pages, reference):
    """A block the script can write stands in some page."""
    used = {found["name"] for each in pages for found in reference.BLOCK.finditer(each.text)}
    assert used == set(reference.BLOCKS)


def test_every_command_and_option_is_listed(page):
    """Each command has a heading of its own and each of its options stands on the page."""
    found = page("docs/reference/commands.md")
    missing = []
    for path, command in _commands():
        if f"### `{path}`" not in found.text:
            missing.append(path)
        options = [name for param in command.params for name in param.opts if name.startswith("--")]
        missing += [f"{path} {name}" for name in options if not re.search(rf"[` ]{name}\b", found.text)]
    assert not missing, ", ".join(missing)


def test_every_verb_stands_with_its_permission(page):
    """Whoever looks up a permission finds each verb that asks for it, in whichever module the verb lives."""
    found = page("docs/reference/permissions.md").text
    missing = [verb for verb in VERBS if f"`{verb}`: " not in found]
    assert not missing, ", ".join(missing)


def test_refusals_are_those_of_the_program(page):
    """The messages by which an approver finds what to do are those the program says."""
    rows = [line for _, line in page("docs/how-to/approve.md").prose if line.startswith("| `")]
    said = inspect.getsource(approval)
    strange = [message for row in rows if (message := row.split("`")[1]) not in said]
    assert rows
    assert not strange, "nobody says " + ", ".join(strange)


def _commands() -> list[tuple[str, click.Command]]:
    made = []
    for name in COMMANDS:
        command = root.get_command(click.Context(root), name)
        assert command is not None
        made.append((f"mandamus {name}", command))
        if isinstance(command, click.Group):
            made += [(f"mandamus {name} {sub}", each) for sub, each in command.commands.items()]
    return made
