"""An auditor who follows the page alone, with what the operators handed over, sees what the page shows."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from mandamus.bootstrap.house import open_house
from mandamus.catalog import scaffold
from mandamus.runs.model import Request
from mandamus.settings import Settings

PAGE = "docs/how-to/verify-this-system.md"
ROOT = Path(__file__).parents[2]
PLATFORM = "users: {ada: {}}\nenvironments:\n  dev: {policies: [policies/base], vars: {region: north}}\n"


@pytest.fixture
def handed_over(tmp_path):
    """The folder of the auditor: the key, a copy of the log, and a sample of two of three runs."""
    project, home, desk = tmp_path / "project", tmp_path / "home", tmp_path / "desk"
    for name, text in scaffold.files(getpass.getuser(), terraform=False).items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    (project / "workflows" / "say.yaml").write_text('workflow: say\nsteps:\n  one: {script: {run: "true"}}\n')
    (project / "policies" / "base").mkdir(parents=True, exist_ok=True)
    rule = 'package mandamus.plan\n\ndeny contains "no" if input.run.reason == "forbidden"\n'
    (project / "policies" / "base" / "base.rego").write_text(rule)
    (project / "platform.yaml").write_text(PLATFORM)
    with closing(open_house(Settings(), os.environ, home, None)) as house:
        house.configure.apply(house.who, project / "platform.yaml")
        for reason in ("first", "second", "forbidden"):
            run = house.runs.request(house.who, project, Request("workflows/say.yaml", "dev", {}, reason=reason))
            house.drive(run.id, lambda _notice: None)
    desk.mkdir()
    words = ["evidence", "sample", "--from", "2000-01-01", "--to", "2099-12-31", "--n", "2", "--seed", "7391", "-o"]
    command = [sys.executable, "-m", "mandamus", "--home", str(home), *words, str(desk / "audit")]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    shutil.copytree(home / "log", desk / "log")
    shutil.copy(home / "log" / "log.vkey", desk)
    shutil.rmtree(home)
    return desk


def _typed(text):
    """Each command of a console block with what it prints."""
    commands = []
    for line in text.splitlines():
        if line.startswith("$ "):
            commands.append((line[2:], []))
        else:
            commands[-1][1].append(line)
    return commands


def _steady(text):
    return re.sub(r"\d+ leaves of \S+", "N leaves of ORIGIN", text).strip()


@pytest.mark.slow
def test_an_auditor_can_follow_the_page(page, handed_over):
    """Every block in order, on a desk without home or network, prints what the page shows."""
    environ = {"PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}", "HOME": "/nonexistent", "LANG": "C.UTF-8"}
    if "PYTHONPATH" in os.environ:
        environ["PYTHONPATH"] = os.environ["PYTHONPATH"]
    typed = 0
    for block in page(PAGE).blocks:
        if block.title:
            (handed_over / block.title).write_text(block.text)
            continue
        for command, shown in _typed(block.text):
            done = subprocess.run(
                ["/bin/bash", "-c", command], cwd=handed_over, env=environ, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{block.at}: {command}\n{done.stdout}{done.stderr}"
            if shown:
                assert _steady(done.stdout) == _steady("\n".join(shown)), f"{block.at}: {command}\n{done.stderr}"
            typed += 1
    assert typed > 8
    drawn = (handed_over / "drawn.txt").read_text().split()
    assert len(drawn) == 2
    assert all((handed_over / f"{run}.html").stat().st_size > 1000 for run in drawn)
    # And the short proof can fail.
    shutil.copy(handed_over / "audit" / f"{drawn[0]}.zip", handed_over / "sound.zip")
    script = (handed_over / "prove.py").read_text().replace('b"\\x00" + leaf', 'b"\\x00" + leaf + b" "')
    failed = subprocess.run(
        [sys.executable, "-c", script, "sound.zip"], cwd=handed_over, capture_output=True, check=False
    )
    assert failed.returncode != 0
