"""The Rego that shows our input as the documents that Terraform's policy conventions know."""

from __future__ import annotations

HEAD = """package mandamus.adapter

"""

PLAN = """
# The plan's own JSON; of any other tool the change set in the same shape, so that no tool passes unseen.
plan := input.native.terraform if has_plan

plan := made_plan if not has_plan

# A rule of its own: in `not f(input.x)` a missing x makes the whole undefined, not true.
has_plan if is_object(input.native.terraform)

made_plan := {
	"format_version": "1.2",
	"resource_changes": [resource_change(change) | some change in input.change_set.changes],
	"resource_drift": [resource_change(change) | some change in object.get(input.change_set, "drift", [])],
	"output_changes": {},
	"planned_values": {},
	"configuration": {},
	"variables": {},
} if is_array(input.change_set.changes)

resource_change(change) := {
	"address": change.address,
	"module_address": object.get(change, "module", null),
	"mode": object.get(change, "mode", "managed"),
	"type": change.type,
	"name": change.name,
	"index": object.get(change, "index", null),
	"provider_name": object.get(change, "provider", null),
	"change": {
		"actions": object.get(actions_of, change.action, [change.action]),
		"before": object.get(change, "before", null),
		"after": object.get(change, "after", null),
		"after_unknown": {},
		"before_sensitive": {},
		"after_sensitive": {},
	},
}

actions_of := {
	"create": ["create"],
	"update": ["update"],
	"replace": ["delete", "create"],
	"delete": ["delete"],
	"read": ["read"],
	"noop": ["no-op"],
	"forget": ["forget"],
}

destroys if {
	changed := [change | some change in input.change_set.changes; not change.action in {"noop", "read"}]
	count(changed) > 0
	every change in changed {
		change.action == "delete"
	}
}
"""
"""``data.mandamus.adapter.plan``, and whether it only deletes."""

NEEDS_PLAN = "data.mandamus.adapter.plan; "
"""For an entry that is trouble without it."""

RUN = """
# What the house knows of a run. A workspace or stack is a workflow in an environment.
default unit := ""

unit := sprintf("%s-%s", [input.run.workflow, input.environment.name])

unit := input.environment.name if not input.run.workflow

default run_given := {}

run_given := input.run if is_object(input.run)

requester := object.get(run_given, "requester", {})

timestamp_ns := time.parse_rfc3339_ns(input.now)

# Labels or tags stand in the environment's variables, as a list or as a text with commas.
labels := [trim_space(label) | some label in split(input.environment.vars.labels, ",")] if {
	is_string(input.environment.vars.labels)
}

labels := input.environment.vars.labels if is_array(input.environment.vars.labels)

default labels := []

# Where a change comes from is an input of the workflow, when it says so.
given[name] := value if some name, value in object.get(run_given, "inputs", {})

plan_only := object.get(run_given, "plan_only", false)

default is_destroy := false

is_destroy if destroys
"""
"""What of a run can be told to everybody."""
