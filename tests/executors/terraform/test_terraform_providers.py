from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from mandamus.executors import terraform, terraform_folder, terraform_module
from mandamus.executors.terraform_artifact import Saved
from mandamus.kernel.errors import Code, MandamusError

PROVIDER = "registry.terraform.io/acme/fake"
MAIN = """
terraform {
  required_providers {
    fake = {
      source = "acme/fake"
    }
  }
}
resource "fake_thing" "x" {}
"""


@pytest.fixture
def mirror(tmp_path) -> Path:
    """A provider in a file system mirror; it is a program that ends at once, which is enough to be installed."""
    folder = tmp_path / "mirror" / PROVIDER / "1.0.0" / "linux_amd64"
    folder.mkdir(parents=True)
    program = folder / "terraform-provider-fake_v1.0.0"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    return tmp_path / "mirror"


@pytest.fixture
def mirrored(bench, toolbox, mirror, tmp_path):
    """The step with a CLI configuration that knows the mirror."""
    config = tmp_path / "cli.tfrc"
    config.write_text(f'provider_installation {{\n  filesystem_mirror {{\n    path = "{mirror}"\n  }}\n}}\n')
    options = {**toolbox.options, "terraform_cli_config": str(config)}
    bench.toolbox = dataclasses.replace(toolbox, options=options)
    bench.executor = terraform.build(bench.toolbox)
    bench.write("stack/main.tf", MAIN)
    return bench


def write_lock(bench, tmp_path) -> Path:
    """The lock file as terraform makes it for the mirror."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "CHECKPOINT_DISABLE": "1"}
    environ["TF_CLI_CONFIG_FILE"] = bench.toolbox.options["terraform_cli_config"]
    tool = bench.toolbox.options.get("terraform_path")
    if tool is None:
        pytest.skip("NO terraform OR tofu ON PATH: the lock file of these tests is made by it")
    subprocess.run(
        [tool, "init", "-input=false"], cwd=bench.source / "stack", env=environ, check=True, capture_output=True
    )
    shutil.rmtree(bench.source / "stack/.terraform")
    return bench.source / "stack/.terraform.lock.hcl"


def test_providers_without_a_lock_file_are_refused(mirrored):
    """What exactly would run must be in the project; the error says how to put it there."""
    with pytest.raises(MandamusError) as caught:
        mirrored.plan()
    assert caught.value.code is Code.SOURCE_INVALID
    assert "stack needs providers, but has no .terraform.lock.hcl" in caught.value.message
    assert "terraform -chdir=stack init" in caught.value.remedy
    assert not (mirrored.source / "stack/.terraform.lock.hcl").exists()


def test_a_mirror_of_the_cli_configuration_is_seen_inside(mirrored, tmp_path):
    """The provider is installed from the mirror, as locked; only its being no real provider stops the plan."""
    lock = write_lock(mirrored, tmp_path)
    before = lock.read_bytes()
    with pytest.raises(MandamusError) as caught:
        mirrored.plan()
    assert "Installed acme/fake v1.0.0" in mirrored.log
    assert "Failed to load plugin schemas" in caught.value.message
    assert lock.read_bytes() == before


def test_a_provider_that_is_not_the_locked_one_is_refused(mirrored, mirror, tmp_path):
    """The lock's checksum decides, also when the mirror serves something else under the same version."""
    write_lock(mirrored, tmp_path)
    (program,) = mirror.rglob("terraform-provider-fake*")
    program.write_text("#!/bin/sh\necho other\n")
    with pytest.raises(MandamusError) as caught:
        mirrored.plan()
    assert caught.value.code is Code.TOOL_FAILED
    assert "doesn't match any of the checksums" in caught.value.message


def test_providers_of_a_mirror_are_linked_again_for_the_apply(mirrored, mirror, tmp_path):
    """The apply needs no second ``init``; where the mirror is gone it runs one, and says what is missing."""
    folder = terraform_folder.at(mirrored.make("plan"), tmp_path / "first")
    terraform_folder.lay_out(folder, None)
    (target,) = (mirror / PROVIDER / "1.0.0").iterdir()
    place = folder.module / ".terraform/providers" / PROVIDER / "1.0.0"
    place.mkdir(parents=True)
    (place / target.name).symlink_to(target)
    links = folder.links()
    assert links == {f"{PROVIDER}/1.0.0/linux_amd64": str(target)}
    again = terraform_folder.at(mirrored.make("apply"), tmp_path / "second")
    terraform_folder.lay_out(again, None)
    assert again.link(links)
    assert again.links() == links
    assert not again.link({**links, "x": "/nowhere"})
    (place / "unpacked").mkdir()
    (place / "unpacked/provider").touch()
    assert folder.links() == {}


def test_a_linked_provider_that_was_exchanged_is_refused(mirrored, mirror, tmp_path):
    """Without ``init``, terraform itself compares what is linked with the lock before it runs any of it."""
    write_lock(mirrored, tmp_path)
    saved = Saved(plan=b"", lock={"providers": {PROVIDER: {}}, "version": ""}, lock_file=None, state=None)
    task = mirrored.make("apply")
    folder = terraform_folder.at(task, task.box)
    terraform_folder.lay_out(folder, None)
    (program,) = mirror.rglob("terraform-provider-fake*")
    assert folder.link({f"{PROVIDER}/1.0.0/linux_amd64": str(program.parent)})
    program.write_text("#!/bin/sh\ntouch ran\n")
    _, session, _ = mirrored.executor._begin(task, task.box)
    narrator = session.narrator(saved.steps)
    done = session.run("plan", "-json", "-input=false", on_stdout=narrator.feed, log_stdout=False)
    assert not done.ok
    assert "does not match any of the checksums" in mirrored.log
    assert not (folder.module / "ran").exists()


def test_the_lock_names_every_provider():
    """Version and hashes of each, sorted, whatever else stands in the file."""
    text = f"""# comment
provider "{PROVIDER}" {{
  version     = "1.0.0"
  constraints = "~> 1.0"
  hashes = [
    "zh:ab",
    "h1:cd=",
  ]
}}
"""
    assert terraform_module.providers(text.encode()) == {PROVIDER: {"version": "1.0.0", "hashes": ["h1:cd=", "zh:ab"]}}
    assert terraform_module.providers(None) == {}
    with pytest.raises(MandamusError):
        terraform_module.providers(b"\xff")


def test_a_lock_file_that_changed_stops_the_apply(bench):
    """The lock file is bound to the plan, byte for byte."""
    bench.write("stack/main.tf", 'resource "terraform_data" "x" {}\n')
    lock = bench.write("stack/.terraform.lock.hcl", "# as planned\n")
    planned = bench.plan()
    lock.write_text("# another\n")
    with pytest.raises(MandamusError) as caught:
        bench.apply(planned)
    assert caught.value.code is Code.DIGEST_MISMATCH
    lock.write_text("# as planned\n")
    assert bench.apply(planned).ok


def test_a_cli_configuration_that_is_not_there_is_named(bench, toolbox):
    """A wrong setting is said as one, not as a failure of terraform."""
    bench.write("stack/main.tf", "")
    bench.executor = terraform.build(dataclasses.replace(toolbox, options={"terraform_cli_config": "/nowhere.tfrc"}))
    with pytest.raises(MandamusError) as caught:
        bench.plan()
    assert caught.value.code is Code.TOOL_MISSING
    assert "terraform_cli_config names /nowhere.tfrc" in caught.value.message
