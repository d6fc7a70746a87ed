from __future__ import annotations

import json
import os
import subprocess
import sys

import click
import pytest

from mandamus.cli import main as door
from mandamus.kernel.errors import Exit

HEAVY = ("sqlalchemy", "dbos", "pydantic", "cryptography", "asyncio", "structlog", "httpx2", "alembic")


def _command(name: str) -> click.Command:
    context = click.Context(door.root)
    return door.root.get_command(context, name)


def _leaves(command: click.Command, name: str):
    if isinstance(command, click.Group):
        for each in command.list_commands(click.Context(command)):
            yield from _leaves(command.get_command(click.Context(command), each), f"{name} {each}")
    else:
        yield name, command


ALL = [found for name in door.COMMANDS for found in _leaves(_command(name), name)]


def _python(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    given = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environ}
    return subprocess.run([sys.executable, *words], env=given, capture_output=True, text=True, timeout=60, check=False)


def test_help_names_every_command(bare):
    """Help lists every command with the first line of the command's own help, without loading it."""
    told = bare("--help")
    assert told.code == 0
    for name, summary in door.SUMMARIES.items():
        assert f"{name} " in told.out
        assert summary in told.out
        assert _command(name).help.splitlines()[0] == summary
    assert door.SUMMARIES.keys() == door.COMMANDS.keys()


def test_help_loads_almost_nothing():
    """Help is instant because it imports neither the database nor the engine; of a command, only that command."""
    code = "import sys\nfrom mandamus.__main__ import main\ntry: main()\nexcept SystemExit: print(*sys.modules)"
    for words in (["--help"], ["runs", "--help"], ["approve", "--help"], ["--version"], ["nonsense"]):
        loaded = _python("-c", code, *words).stdout.splitlines()[-1].split()
        assert "mandamus.cli.main" in loaded
        assert not {name for name in HEAVY if name in loaded}, words
    assert "mandamus.cli.commands.demo" not in loaded


@pytest.mark.parametrize(("name", "command"), ALL, ids=[name for name, _ in ALL])
def test_every_command_explains_itself(bare, name, command):
    """Each command has help with an example, every option has help, and all take the options common to all."""
    told = bare(*name.split(), "--help")
    assert told.code == 0
    assert f"Usage: mandamus {name}" in told.out
    assert "Example:" in told.out
    options = {word for option in command.params for word in option.opts}
    assert {"--output", "--home", "--debug", "--as"} <= options
    silent = [option.name for option in command.params if isinstance(option, click.Option) and not option.help]
    assert not silent


def test_every_exit_code_is_in_the_help(bare):
    """Whoever scripts it finds the whole table in one place."""
    told = " ".join(bare("--help").out.split())
    codes = told[told.index("Exit codes:") : told.index("Options:")]
    assert {int(word) for word in codes.replace(",", " ").split() if word.isdigit()} == {code.value for code in Exit}


def test_a_mistyped_command_is_met_with_the_nearest(bare):
    """The error says which command was probably meant."""
    told = bare("aprove")
    assert told.code == Exit.USAGE
    assert (
        told.err
        == "error[usage]: No such command 'aprove'. Did you mean 'approve'?\nremedy: see `mandamus --help`\n".replace(
            "`mandamus --help`", f"`mandamus --home {bare.home} --help`"
        )
    )


@pytest.mark.parametrize(
    "words",
    [
        ["--output", "xml", "runs", "list"],
        ["runs", "list", "--limit", "0"],
        ["runs", "list", "--limit", "x"],
        ["runs", "list", "--state", "happy"],
        ["runs", "show"],
        ["runs", "show", "run_x"],
        ["runs", "show", "run_\x1b[31m"],
        ["runs", "logs", "run_" + "0" * 26],
        ["runs", "settle", "run_" + "0" * 26, "s", "--as", "maybe", "--reason", "x"],
        ["approve", "nonsense"],
        ["run"],
        ["run", "deploy"],
        ["env", "show"],
        ["frobnicate"],
        ["--nope"],
    ],
)
def test_bad_usage_is_exit_2_in_four_parts(bare, words):
    """What cannot be understood ends with 2, code, message and remedy, and for scripts as one JSON document."""
    told = bare(*words)
    assert told.code == Exit.USAGE
    assert told.err.startswith("error[")
    assert "\nremedy: " in told.err
    assert "Traceback" not in told.err
    assert "\x1b" not in told.err
    scripted = bare(*words, "--output", "json")
    assert scripted.code == Exit.USAGE
    if "xml" not in words:
        assert scripted.json["error"]["remedy"]


@pytest.mark.parametrize(
    "words", [["runs", "list"], ["runs", "show", "run_" + "0" * 26], ["env", "list"], ["audit", "verify"]]
)
def test_a_home_that_is_not_there_is_not_made(bare, words):
    """Looking makes nothing: only `init` and `env apply` make a home."""
    told = bare(*words)
    assert told.code == Exit.FAILED
    assert told.err.startswith(f"error[not_found]: there is no home in {bare.home}")
    assert f"mandamus --home {bare.home} init" in told.err
    assert not bare.home.exists()


def test_options_stand_before_or_after(bare):
    """An option common to all counts wherever it stands, and the last one wins."""
    before = bare("--output", "json", "runs", "list")
    after = bare("runs", "list", "--output", "json")
    assert before.json["error"]["code"] == after.json["error"]["code"] == "not_found"
    other = bare("runs", "list", "--home", str(bare.home) + "2")
    assert f"{bare.home}2" in other.err


def test_the_home_is_found_in_order(bare, tmp_path):
    """Option, then MANDAMUS_HOME, then XDG_DATA_HOME when absolute, then HOME; else a clear error."""

    def where() -> str:
        return bare("runs", "list", home=False).err.splitlines()[0]

    bare.environ = {"HOME": "/h", "XDG_DATA_HOME": "/x", "MANDAMUS_HOME": str(tmp_path / "m")}
    assert where().endswith(f"no home in {tmp_path / 'm'}")
    del bare.environ["MANDAMUS_HOME"]
    assert where().endswith("no home in /x/mandamus")
    bare.environ["XDG_DATA_HOME"] = "relative"
    assert where().endswith("no home in /h/.local/share/mandamus")
    bare.environ = {}
    assert where().startswith("error[usage]: there is no place for a home")


def test_nobody_reading_is_no_error(bare):
    """`mandamus ... | head` ends without a traceback."""
    code = "import sys; sys.argv[1:] = ['--help']; from mandamus.__main__ import main; main()"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(write)
    assert done.stderr == b""
    assert done.returncode in {0, 1}


def test_completion_knows_commands_options_and_states(bare):
    """The shells' completion (docs/reference/cli.md) offers names without loading what they name."""

    def offered(words: str) -> set[str]:
        told = _python(
            "-m", "mandamus", _MANDAMUS_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(words.count(" "))
        )
        return {line.partition(",")[2] for line in told.stdout.splitlines()}

    assert offered("mandamus ap") == {"approve"}
    assert {"list", "show", "settle"} <= offered("mandamus runs ")
    assert offered("mandamus runs list --state w") == {"waiting"}
    assert offered("mandamus --ou") == {"--output"}
    source = _python("-m", "mandamus", _MANDAMUS_COMPLETE="bash_source")
    assert "complete" in source.stdout


def test_the_version_is_the_packages(bare):
    """``--version`` names program and version."""
    assert bare("--version").out.startswith("mandamus 0.")


def test_json_of_a_usage_error_is_the_only_output(bare):
    """Standard output is one document and nothing else, also when the command line is not understood."""
    told = bare("runs", "--output=json", "nope")
    assert json.loads(told.out)["error"]["code"] == "usage"
