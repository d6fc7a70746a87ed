"""The page on the API is run as it stands, against a real server."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
import zipfile
from contextlib import closing

import pytest

from mandamus.bootstrap.house import open_house
from mandamus.settings import Settings

PAGE = "docs/how-to/use-the-api.md"
PLATFORM = "users: {OWNER: {}}\nprojects: {storage: {root: .}}\nenvironments: {dev: {policies: [policy]}}\n"
POLICY = 'package mandamus.plan\n\ndeny contains "no" if input.run.inputs.never\n'
WORKFLOW = """workflow: hello
inputs:
  name: {type: string}
steps:
  greet:
    script: {run: 'echo "hello $NAME"', env: {NAME: "${{ inputs.name }}"}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a file ``token``, made by the command that the page shows, and the URL of a server beside it."""
    folder = tmp_path_factory.mktemp("use-the-api")
    files = {"workflows/hello.yaml": WORKFLOW, "policy/rules.rego": POLICY, "mandamus.yaml": "# a project\n"}
    for name, text in {**files, "platform.yaml": PLATFORM.replace("OWNER", getpass.getuser())}.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    with closing(open_house(Settings(), os.environ, folder / "home", None)) as house:
        house.configure.apply(house.who, folder / "platform.yaml")
        (folder / "token").write_text(house.tokens.create(house.who, "deploys of the ledger").secret + "\n")
    words = [sys.executable, "-m", "mandamus", "--home", str(folder / "home"), "up", "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        (folder / "server").write_text(process.stdout.readline().strip())
        yield folder
        process.terminate()
        assert process.wait(60) == 0


def played(folder, *words, text=None):
    """What a program printed, that ran in the folder with the server's URL in ``SERVER``."""
    environ = {**os.environ, "SERVER": (folder / "server").read_text()}
    done = subprocess.run(
        words, input=text, cwd=folder, env=environ, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_shell_of_the_page_asks_follows_and_proves(page, folder):
    """All its blocks as one script: who one is, the run to its end, its output, and a bundle of evidence."""
    script = "\n".join(block.text for block in page(PAGE).blocks if block.language == "sh")
    said = played(folder, "sh", "-eu", text=script)
    assert f'"user":"{getpass.getuser()}"' in said
    assert 'event: end\ndata: {"state":"succeeded"}' in said
    assert "hello you\n" in said
    assert zipfile.ZipFile(folder / "proof.zip").testzip() is None
    assert (folder / "header").stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_the_python_of_the_page_asks_and_follows(page, folder):
    """The program as it stands."""
    (program,) = [block.text for block in page(PAGE).blocks if block.language == "python"]
    lines = played(folder, sys.executable, "-c", program).splitlines()
    assert lines[0] == "0 run.requested"
    assert lines[-3:] == ["succeeded", "hello you", ""]
