"""The demo is the main job on real input: it ends in the facts it promises, and fails when the story does not hold."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import partial

import pytest

from mandamus.bootstrap.house import open_house
from mandamus.demo import story
from mandamus.kernel.errors import Code, MandamusError
from mandamus.settings import Settings


def mandamus(*words, cwd):
    command = [sys.executable, "-m", "mandamus", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=100)


@pytest.fixture
def project(tmp_path):
    """A copy of the demo's project, to change."""
    copy = tmp_path / "changed"
    shutil.copytree(story.PROJECT, copy)
    return copy


@pytest.fixture
def play(tmp_path):
    """The story, told in an empty folder from the project given."""
    opener = partial(open_house, Settings(), dict(os.environ))
    return lambda project: story.tell(opener, tmp_path / "stage", lambda _line: None, project)


def test_the_last_line_is_the_story_as_facts(tmp_path):
    """``mandamus demo --output json`` ends in one JSON line with every fact, and leaves nothing behind."""
    done = mandamus("demo", "--output", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts.pop("applied").startswith("sha256:")
    leaf = facts.pop("tamper")["leaf"]
    assert isinstance(leaf, int)
    assert facts == {
        "story": "complete",
        "denied": {"rule": "mandamus.plan.deny", "file": "storage.rego", "line": 4},
        "refused_self_approval": True,
        "approved_by": "grace",
        "evidence": "verified",
    }
    assert "Traceback" not in done.stderr


def test_keep_leaves_the_home(tmp_path):
    """With ``--keep`` the home stays and is named, and its log verifies with the published key alone."""
    done = mandamus("demo", "--keep", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    kept = next(line for line in done.stdout.splitlines() if line.startswith("kept: ")).split()[1]
    try:
        log = f"{kept}/home/log"
        assert mandamus("audit", "verify", "--log", log, "--trust", f"{log}/log.vkey", cwd=tmp_path).returncode == 0
    finally:
        shutil.rmtree(kept)


def test_without_the_deny_rule_the_demo_fails(play, project):
    """The denial is the policy's doing: take the rule away, and the story says that it broke."""
    rules = project / "policies" / "storage" / "storage.rego"
    text = rules.read_text()
    begin, end = text.index("deny contains"), text.index("# Infrastructure")
    rules.write_text(text[:begin] + text[end:])
    with pytest.raises(MandamusError) as raised:
        play(project)
    assert raised.value.code is Code.CONFLICT
    assert "not denied" in raised.value.message


def test_without_the_approval_rule_the_demo_fails(play, project):
    """So is the approval: without the rule nobody is asked, and the story says that it broke."""
    rules = project / "policies" / "storage" / "storage.rego"
    rules.write_text(rules.read_text().replace('input.step.executor == "terraform"', "false"))
    with pytest.raises(MandamusError) as raised:
        play(project)
    assert "does not wait" in raised.value.message


def test_with_another_approver_the_demo_fails(play, project):
    """Grace's yes counts because she is in the group that is asked."""
    platform = project / "platform.yaml"
    platform.write_text(platform.read_text().replace("platform: [grace]", "platform: [ada]"))
    with pytest.raises(MandamusError) as raised:
        play(project)
    assert raised.value.code is Code.APPROVAL_REFUSED


def test_the_starter_set_judges_the_demo_too(play, project):
    """A bucket that is not encrypted is refused by the starter set, so the corrected request comes to no approval."""
    module = project / "terraform" / "bucket" / "main.tf"
    module.write_text(module.read_text().replace("encrypted = true", "encrypted = false"))
    with pytest.raises(MandamusError) as raised:
        play(project)
    assert raised.value.code is Code.CONFLICT
    assert "does not wait" in raised.value.message
