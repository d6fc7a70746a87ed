"""The files of ``mandamus init``: a newcomer's first project is right as it is."""

from __future__ import annotations

import pytest

from mandamus.catalog import platform, scaffold, service, source
from mandamus.kernel.errors import Code, MandamusError


@pytest.mark.parametrize("terraform", [False, True])
def test_its_workflows_check_clean(tmp_path, validators, terraform):
    """Every workflow is read without a problem, from a project that is found and can be kept."""
    written = scaffold.write(tmp_path, scaffold.files("ada", terraform=terraform))
    workflows = [path for path in written if path.parent.name == "workflows"]
    assert [path.stem for path in workflows] == (["hello", "bucket"] if terraform else ["hello"])
    for path in workflows:
        assert source.find_root(path) == tmp_path
        made = service.check_file(tmp_path, path, validators)
        assert made.name == path.stem
    assert source.read_file(source.snapshot(tmp_path), "workflows/hello.yaml") == workflows[0].read_bytes()


def test_its_greeting_runs_as_it_is(tmp_path, validators):
    """The default input fits its own pattern, and the values of the steps can be filled in."""
    scaffold.write(tmp_path, scaffold.files("ada"))
    made = service.check_file(tmp_path, tmp_path / "workflows" / "hello.yaml", validators)
    scope = {"inputs": made.bind({})}
    greet, part = made.steps
    assert greet.resolve(scope)["env"] == {"NAME": "world"}
    assert (part.runs(scope), part.runs({"inputs": made.bind({"name": "Ada"})})) == (False, True)


@pytest.mark.parametrize("owner", ["ada", "root", "ada.l@example.com", "007", "true", "no"])
def test_its_platform_file_can_be_applied(tmp_path, owner):
    """Whoever begins the project, their name is a user there, and both environments name a policy."""
    scaffold.write(tmp_path, scaffold.files(owner))
    path = tmp_path / scaffold.PLATFORM_FILE
    made = platform.read(path.read_bytes(), str(path), tmp_path)
    assert [user.name for user in made.users] == [owner]
    dev, prod = (target.environment for target in made.environments)
    assert (dev.protected, prod.protected) == (False, True)
    assert prod.approvers == {"platform": 1}
    assert [[source.path for source in target.policies] for target in made.environments] == [
        [tmp_path / "policies/base"]
    ] * 2


def test_nothing_is_overwritten(tmp_path):
    """When one of the files is there, also as a dead link, nothing at all is written."""
    (tmp_path / "policies" / "base").mkdir(parents=True)
    (tmp_path / "policies" / "base" / "plan.rego").symlink_to("nowhere")
    with pytest.raises(MandamusError) as caught:
        scaffold.write(tmp_path, scaffold.files("ada"))
    assert caught.value.code is Code.CONFLICT
    assert caught.value.context["files"] == ["policies/base/plan.rego"]
    assert not (tmp_path / scaffold.PLATFORM_FILE).exists()


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("storage", "storage"),
        ("My Project (2)", "my-project-2"),
        ("2026", "project"),
        ("ünï", "n"),
        ("x" * 80, "x" * 63),
    ],
)
def test_a_project_is_registered_by_the_name_of_its_folder(tmp_path, folder, name):
    """As near to it as a name can be, so that a server runs its workflows without a further file."""
    place = tmp_path / folder
    place.mkdir()
    scaffold.write(place, scaffold.files("ada", project=scaffold.project_name(place)))
    path = place / scaffold.PLATFORM_FILE
    (found,) = platform.read(path.read_bytes(), str(path), place).projects
    assert (found.project.name, found.project.root) == (name, str(place))
