"""Every code block is what it looks like: workflows check, policies compile, commands exist."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import click
import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mandamus.bootstrap.house import open_house
from mandamus.cli.main import root
from mandamus.kernel.document import parse
from mandamus.kernel.errors import MandamusError
from mandamus.policy import tarball
from mandamus.policy.bundle import Tree
from mandamus.policy.signature import SigningKey
from mandamus.settings import Settings

LANGUAGES = {"console", "go", "hcl", "json", "mermaid", "python", "rego", "sh", "text", "yaml"}
PLATFORM = {"users", "groups", "environments", "notify"}
RUN = "run_01m890j829ef8t0cdbrb4gwr65"
"""Stands where a page leaves the id to the reader."""
POLICY = 'package mandamus.plan\n\ndeny contains "no" if input.run.inputs.never\n'

STORAGE = """package mandamus.plan

deny contains "public" if {
	some change in input.change_set.changes
	change.after.input.public == true
}
"""
"""The rule that the tests on the pages are about."""


def _of(blocks, language):
    return [block for block in blocks if block.language == language]


def _first_key(block):
    loaded = yaml.safe_load(block.text)
    return next(iter(loaded), None) if isinstance(loaded, dict) else None


def _make_set(folder, element):
    """The folder or the bundle that a platform file names, signed when it names a key."""
    path = folder / element["path"]
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.name.endswith(".tar.gz"):
        path.mkdir(exist_ok=True)
        (path / "shown.rego").write_text(POLICY)
        return
    private = ec.generate_private_key(ec.SECP256R1())
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    sign = SigningKey(private, "ES256", "shown") if "key" in element else None
    tarball.write(Tree(path, {"shown.rego": POLICY}, ()), path, revision="r", sign=sign)
    if sign:
        (folder / element["key"]).parent.mkdir(parents=True, exist_ok=True)
        (folder / element["key"]).write_bytes(public)


@pytest.fixture(scope="module")
def apply(tmp_path_factory):
    """What `mandamus env apply FILE` does, in one home; gives what is wrong, or an empty text."""
    home = tmp_path_factory.mktemp("blocks") / "home"

    def applied(file):
        try:
            house.configure.apply(house.who, file)
        except MandamusError as error:
            return error.message
        return ""

    with closing(open_house(Settings(), os.environ, home, None)) as house:
        yield applied


def test_go_programs_use_nothing_of_ours(blocks):
    """A program that is to be believed instead of ours imports Go's own packages and nothing else."""
    programs = [block.text for block in _of(blocks, "go")]
    imported = {name for text in programs for name in re.findall(r'^\t"([^"]+)"$', text, re.MULTILINE)}
    assert {name for name in imported if "." in name.partition("/")[0]} == {
        "golang.org/x/mod/sumdb/note",
        "golang.org/x/mod/sumdb/tlog",
    }


def test_every_block_says_its_language(blocks):
    """A block has a language, and one that a test here knows."""
    wrong = [f"{block.at}: {block.language or 'none'}" for block in blocks if block.language not in LANGUAGES]
    assert not wrong, "\n".join(wrong)


def test_a_titled_block_names_its_file_in_the_text_above(blocks):
    """A reader sees the path of a file before its content; the title itself is not shown everywhere."""
    wrong = []
    for block in blocks:
        above = "\n".join(line for number, line in block.page.prose if block.line - 8 <= number < block.line)
        if block.title and f"`{block.title}`" not in above:
            wrong.append(f"{block.at}: {block.title}")
    assert not wrong, "\n".join(wrong)


def test_workflows_check(blocks, tmp_path):
    """`mandamus check` finds nothing wrong with any workflow that is shown."""
    shown = {
        f"workflows/{n}.yaml": block for n, block in enumerate(_of(blocks, "yaml")) if _first_key(block) == "workflow"
    }
    (tmp_path / "workflows").mkdir()
    for path, block in shown.items():
        (tmp_path / path).write_text(block.text)
    command = [sys.executable, "-m", "mandamus", "check", "--output", "json", *shown]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    files = json.loads(done.stdout)["files"]
    wrong = [f"{shown[file['file']].at}: {problem}" for file in files for problem in file["problems"]]
    assert len(files) == len(shown) > 0
    assert not wrong, "\n".join(wrong)


def test_platform_files_can_be_applied(blocks, apply, tmp_path):
    """`mandamus env apply` takes every platform file that is shown."""
    wrong = []
    for number, block in enumerate(_of(blocks, "yaml")):
        if _first_key(block) in PLATFORM:
            folder = tmp_path / str(number)
            declared = yaml.safe_load(block.text)
            projects = declared.get("projects") or {}
            for target in [*(declared.get("environments") or {}).values(), *projects.values()]:
                for element in (target or {}).get("policies", []):
                    _make_set(folder, element if isinstance(element, dict) else {"path": element})
            for project in projects.values():
                (folder / project["root"]).mkdir(parents=True, exist_ok=True)
            folder.mkdir(exist_ok=True)
            (folder / "platform.yaml").write_text(block.text)
            fault = apply(folder / "platform.yaml")
            wrong += [f"{block.at}: {fault}"] if fault else []
    assert not wrong, "\n".join(wrong)


def test_policies_compile(blocks, apply, tmp_path):
    """OPA itself takes every policy that is shown, each as a set of its own; so does the check before publishing."""
    shown = {f"p{n}": block for n, block in enumerate(_of(blocks, "rego"))}
    for name, block in shown.items():
        (tmp_path / name).mkdir()
        tests = block.text.startswith("package mandamus.plan_test")
        (tmp_path / name / ("shown_test.rego" if tests else "shown.rego")).write_text(block.text)
        if tests:
            (tmp_path / name / "tested.rego").write_text(STORAGE)
    environments = {name: {"policies": [name]} for name in shown}
    (tmp_path / "platform.yaml").write_text(yaml.safe_dump({"environments": environments}))
    fault = apply(tmp_path / "platform.yaml")
    assert not fault, "\n".join([*(f"{name} is {block.at}" for name, block in shown.items()), fault])


def test_commands_can_be_parsed(blocks):
    """Every `mandamus` command that is shown exists, with every option and argument it is given."""
    wrong = []
    for block in [*_of(blocks, "console"), *_of(blocks, "sh")]:
        for words in _commands(block):
            try:
                _parse(words)
            except (click.ClickException, MandamusError) as error:
                wrong.append(f"{block.at}: {shlex.join(words)}: {error}")
    assert not wrong, "\n".join(wrong)


def test_other_blocks_can_be_read(blocks):
    """JSON, YAML, Python and shell blocks are at least well-formed."""
    readers = {"json": json.loads, "python": lambda text: compile(text, "shown", "exec"), "sh": _check_shell}
    readers["yaml"] = lambda text: yaml.safe_load(text) if "${{ github" in text else parse(text.encode(), "shown")
    wrong = []
    for block in blocks:
        try:
            readers.get(block.language, str)(block.text)
        except Exception as error:  # noqa: BLE001 - whatever a reader raises is the finding
            wrong.append(f"{block.at}: {error}")
    assert not wrong, "\n".join(wrong)


def test_the_short_verifier_agrees_with_ours(page, tmp_path, log_of):
    """The few lines of Python in the audit log's page find a sound log sound, and one changed byte not."""
    (script,) = _of(page("docs/reference/audit-log.md").blocks, "python")
    log_of(tmp_path / "log", events=300)
    command = [sys.executable, "-c", script.text]
    fine = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert fine.returncode == 0, fine.stderr
    assert "leaves fit" in fine.stdout
    entries = max((tmp_path / "log/tile/entries").rglob("*"), key=lambda path: (path.is_file(), str(path)))
    data = bytearray(entries.read_bytes())
    data[len(data) // 2] ^= 1
    entries.write_bytes(data)
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode != 0


def _commands(block):
    """The words of each `mandamus` command of a block, without what a shell makes of redirections."""
    text = block.text.replace("\\\n", " ")
    if block.language == "console":
        text = "\n".join(line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ "))
    lexer = shlex.shlex(text, posix=True, punctuation_chars="();<>|&\n")
    lexer.whitespace, lexer.whitespace_split = " \t", True
    words = []
    for word in [*lexer, "\n"]:
        if not set(word) <= set("();<>|&\n"):
            words.append(RUN if word in {"RUN", "$RUN"} else word)
            continue
        while words and ("=" in words[0] or words[0] == "sudo"):
            words = words[1:]
        if words and Path(words[0]).name == "mandamus":
            yield words
        words = []


def _parse(words, command=root, parent=None):
    """Parse without running anything; a file that only the reader has may be missing."""
    try:
        context = command.make_context(words[0], list(words[1:]), parent=parent)
    except click.exceptions.Exit:
        return
    except click.BadParameter as error:
        if "does not exist" in str(error):
            return
        raise
    rest = [*context._protected_args, *context.args]
    if isinstance(command, click.Group) and rest:
        name, inner, rest = command.resolve_command(context, rest)
        _parse([name, *rest], inner, context)


def _check_shell(text):
    done = subprocess.run(["/bin/sh", "-n"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
