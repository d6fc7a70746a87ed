from __future__ import annotations

import base64
import dataclasses

import pytest

from mandamus.executors.model import Applied, Command, Exit, Task
from mandamus.kernel import canonical
from mandamus.kernel.errors import MandamusError

PLATFORM = "platform-canary-91c4"
MARKED = "marked-canary-77ab"
LEAKY = """
variable "marked" {
  type      = string
  sensitive = true
  default   = "default-canary-5d1e"
}
variable "plain" { type = string }
variable "fail" {
  type    = bool
  default = false
}
resource "terraform_data" "holder" {
  input = { secret = var.marked, plain = var.plain, text = "postgres://u:${var.marked}@db" }
}
resource "terraform_data" "copy" {
  input = terraform_data.holder.output
}
resource "terraform_data" "say" {
  input = nonsensitive(var.marked)
  provisioner "local-exec" {
    command = "echo said $S $B; test $F = false"
    environment = {
      S = nonsensitive(var.marked)
      B = nonsensitive(base64encode(var.marked))
      F = var.fail
    }
  }
}
output "copied" { value = terraform_data.copy.output.plain }
output "marked" {
  value     = var.marked
  sensitive = true
}
"""


class Watching:
    """A runner that notes every command line and environment, and runs them."""

    def __init__(self, runner) -> None:
        self._runner = runner
        self.commands: list[Command] = []

    def check(self, policy) -> None:
        """As the real one does."""
        self._runner.check(policy)

    def run(self, task: Task, command: Command, **options) -> Exit:
        """Note and run."""
        self.commands.append(command)
        return self._runner.run(task, command, **options)


@pytest.fixture
def watching(bench, toolbox):
    seen = Watching(toolbox.runner)
    bench.executor = type(bench.executor)(dataclasses.replace(toolbox, runner=seen))
    return seen


def visible(bench, planned, applied: Applied | None = None) -> str:
    """Everything that anyone but the tool gets to see of a step."""
    parts = [
        planned.change_set.to_bytes().decode(),
        planned.native.decode(),
        bench.log,
        repr(bench.told),
        repr(planned),
    ]
    if applied is not None:
        error = applied.error.to_json() if applied.error else None
        parts += [str(canonical.dumps(dict(applied.outputs))), str(error), str(dict(applied.summary)), repr(applied)]
    return "\n".join(parts)


def forms(secret: str) -> list[str]:
    """What a secret looks like when it gets out."""
    return [secret, base64.b64encode(secret.encode()).decode(), secret.encode().hex()]


def test_no_secret_is_seen_anywhere(bench, watching):
    """Change set, native plan, log, progress, outputs and command lines hold neither kind of secret, in no form."""
    bench.write("stack/main.tf", LEAKY)
    variables = {"marked": MARKED, "plain": f"has {PLATFORM} in it"}
    planned = bench.plan(variables, secrets={"p": PLATFORM})
    seen = visible(bench, planned)
    applied = bench.apply(planned, variables, secrets={"p": PLATFORM})
    assert applied.ok
    seen += visible(bench, planned, applied)
    seen += repr([command.argv for command in watching.commands])
    second = bench.plan(variables, secrets={"p": PLATFORM})
    seen += visible(bench, second)
    for secret in (PLATFORM, MARKED, "default-canary-5d1e"):
        for form in forms(secret):
            assert form not in seen, form
    assert "said redacted:" in seen
    assert MARKED.encode() in planned.blob, "the saved plan holds what terraform put there; it is stored encrypted"
    assert PLATFORM not in repr([dict(command.env) for command in watching.commands])


def test_no_secret_is_seen_when_it_fails(bench, watching):
    """Errors, diagnostics with their snippet of code, and a partial failure's summary are redacted too."""
    bench.write("stack/main.tf", LEAKY)
    variables = {"marked": MARKED, "plain": PLATFORM, "fail": True}
    planned = bench.plan(variables, secrets={"p": PLATFORM})
    applied = bench.apply(planned, variables, secrets={"p": PLATFORM})
    assert not applied.ok
    assert "said redacted:" in applied.error.message
    seen = visible(bench, planned, applied)
    assert not [form for secret in (PLATFORM, MARKED) for form in forms(secret) if form in seen]


def test_no_secret_is_seen_in_a_failing_plan(bench):
    """A validation message that quotes the value does not bring it out."""
    rule = 'validation {\n    condition     = var.plain == ""\n    error_message = "bad: ${var.plain}"\n  }'
    bench.write("stack/main.tf", f'variable "plain" {{\n  type = string\n  {rule}\n}}\n')
    with pytest.raises(MandamusError) as caught:
        bench.plan({"plain": PLATFORM}, secrets={"p": PLATFORM})
    assert "bad: redacted:" in caught.value.message
    assert PLATFORM not in bench.log + str(caught.value.to_json())


def test_a_mark_keeps_equality_and_is_named(bench):
    """Equal secrets have equal marks, wherever they turn up; the pointers name every place, marked or recognised."""
    bench.write("stack/main.tf", LEAKY)
    variables = {"marked": MARKED, "plain": "p"}
    assert bench.run(variables).ok
    bench.write("stack/main.tf", LEAKY + 'resource "terraform_data" "more" { input = terraform_data.holder.output }\n')
    changes = {change.address: change for change in bench.plan(variables).change_set.changes}
    holder, more = changes["terraform_data.holder"].after, changes["terraform_data.more"]
    assert holder["input"]["secret"] == holder["output"]["secret"] == more.after["input"]["secret"]
    assert holder["input"]["secret"].startswith("redacted:")
    assert holder["input"]["plain"] == more.after["input"]["plain"] == "p"
    assert set(more.sensitive) == {"/input/secret", "/input/text"}
    assert "/output/secret" in changes["terraform_data.holder"].sensitive


def test_the_variables_reach_terraform_as_a_private_file(bench, watching):
    """Values are in no command line and no environment; the file is readable for us alone and gone after the plan."""
    bench.write("stack/main.tf", 'variable "v" {}\n')
    bench.plan({"v": "a-value-of-some-kind"})
    assert "a-value-of-some-kind" not in repr([(command.argv, dict(command.env)) for command in watching.commands])
    assert not list(bench.task.box.rglob("*"))
