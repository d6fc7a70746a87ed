"""The files of ``mandamus init``: a project that checks clean and runs as it is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from mandamus.catalog.source import PROJECT_FILE
from mandamus.catalog.workflow import NAME
from mandamus.kernel.errors import Code, MandamusError

_PROJECT = """\
# The folder that holds this file is a project: what its workflows name must lie inside it.
"""

_HELLO = """\
# A workflow: inputs that are checked before anything runs, and steps in the order their `needs` give.
workflow: hello

inputs:
  name: {type: string, pattern: "^[A-Za-z ]{1,40}$", default: world}

steps:
  greet:
    timeout: 1m
    script:
      # Values reach a script by its environment, never by pasting into its text.
      run: echo "hello, $NAME"
      env: {NAME: "${{ inputs.name }}"}

  part:
    needs: [greet]
    if: ${{ inputs.name != "world" }}
    script:
      run: echo "goodbye, $NAME"
      env: {NAME: "${{ inputs.name }}"}
"""

_BUCKET = """\
# A change of infrastructure: planned by terraform, judged by policy, approved by people, applied as it was approved.
workflow: bucket

inputs:
  name: {type: string, pattern: "^[a-z0-9-]{3,40}$"}
  public: {type: boolean, default: false}

steps:
  bucket:
    timeout: 10m
    terraform:
      dir: ../terraform/bucket
      vars: {name: "${{ inputs.name }}", public: "${{ inputs.public }}"}

  tell:
    needs: [bucket]
    script:
      run: echo "made $BUCKET"
      env: {BUCKET: "${{ steps.bucket.outputs.name }}"}
"""

_MODULE = """\
# terraform_data needs no provider and no cloud: put your own resources here.
variable "name" {
  type = string
}

variable "public" {
  type    = bool
  default = false
}

resource "terraform_data" "bucket" {
  input = {
    name   = var.name
    public = var.public
  }
}

output "name" {
  value = terraform_data.bucket.output.name
}
"""

_POLICY = """\
# Rules for every plan in an environment that lists this folder under `policies`. Plain Rego (OPA 1.x).
package mandamus.plan

# Nothing is deleted or replaced where it matters.
deny contains {
	"msg": sprintf("%s would be destroyed in %s", [change.address, input.environment.name]),
	"remedy": "plan a change that keeps it",
} if {
	input.environment.protected
	some change in input.change_set.changes
	change.destructive
}

# A bucket the whole world can read is a mistake.
deny contains {
	"msg": sprintf("%s is public", [change.address]),
	"remedy": "set public: false",
} if {
	some change in input.change_set.changes
	change.after.input.public == true
}

# Other people look at what changes infrastructure; without a `group` those are the environment's own approvers.
require_approval contains {"msg": "infrastructure changes", "count": 1} if {
	input.environment.protected
	input.step.executor == "terraform"
}
"""

_PLATFORM = """\
# The platform's own configuration. Apply it with `mandamus env apply platform.yaml`; a run never reads it, so keep it
# where the people who write workflows cannot change it alone.
users:
  OWNER: {}

groups:
  # Nobody approves what they made, and whoever applies this file is a maker: add the people who will approve.
  platform: [OWNER]

projects:
  # A server runs the workflows of the folders that are named here.
  PROJECT: {root: .}

environments:
  dev:
    # vars: {hook: "https://hooks.example.com/dev"}   # read as ${{ env.vars.hook }}
    # secrets: {token: {env: DEPLOY_TOKEN}}           # read as ${{ secrets.token }} under env, headers and vars
    policies: [policies/base]
    pool: {sandbox: required, network: false}

  prod:
    protected: true
    policies: [policies/base]
    approvers: {platform: {count: 1}}
    approval_ttl: 24h
    pool: {sandbox: required, network: false}
"""

PLATFORM_FILE = "platform.yaml"
PROJECT = "project"
NAME_LENGTH_MAX = 63


def files(owner: str, *, project: str = PROJECT, terraform: bool = False) -> Mapping[str, str]:
    """Text by path, relative to the project's folder.

    ``owner`` is the user the platform file begins with, ``project`` the name it registers the folder by.
    """
    made = {
        PROJECT_FILE: _PROJECT,
        "workflows/hello.yaml": _HELLO,
        "policies/base/plan.rego": _POLICY,
        PLATFORM_FILE: _PLATFORM.replace("OWNER", f'"{owner}"').replace("PROJECT", project),
    }
    if terraform:
        made["workflows/bucket.yaml"] = _BUCKET
        made["terraform/bucket/main.tf"] = _MODULE
    return made


def project_name(folder: Path) -> str:
    """A name for the project in a folder: as near to the folder's own as a name can be."""
    found = "-".join(re.findall("[a-z0-9]+", folder.resolve().name.lower()))[:NAME_LENGTH_MAX].strip("-")
    return found if NAME.fullmatch(found) else PROJECT


def write(folder: Path, made: Mapping[str, str]) -> list[Path]:
    """Write the files and give their paths; raises ``conflict``, and writes nothing, when one is already there."""
    there = [path for path in made if (folder / path).exists() or (folder / path).is_symlink()]
    if there:
        raise MandamusError(
            Code.CONFLICT,
            f"{folder} already has {', '.join(there)}",
            remedy="run `mandamus init` in another folder, or move these files away",
            context={"files": there},
        )
    written = []
    for path, text in made.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
        written.append(target)
    return written
