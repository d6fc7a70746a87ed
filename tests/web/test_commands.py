"""Next to what it shows, the console shows commands: each of them is one."""

from __future__ import annotations

import re

import click
import pytest

from mandamus.cli.main import root
from mandamus.web.render import FOLDER

SHOWN = {
    (page.name, words)
    for page in FOLDER.glob("*.html")
    for words in re.findall(r'"mandamus ([^"]*)"', page.read_text())
}


@pytest.mark.parametrize(("page", "words"), sorted(SHOWN))
def test_a_command_that_is_shown_is_one(page, words):
    """Its name and its options are known to the command line."""
    command: click.Command = root
    rest = words.split()
    while rest and isinstance(command, click.Group) and (found := command.get_command(click.Context(command), rest[0])):
        command, rest = found, rest[1:]
    assert not isinstance(command, click.Group) or rest in ([], ["--help"]), words
    options = {name for option in command.params for name in option.opts} | {"--help"}
    assert {word for word in rest if word.startswith("-")} <= options, words


def test_the_scan_sees_commands():
    """There are some on most pages."""
    assert len(SHOWN) > 15
