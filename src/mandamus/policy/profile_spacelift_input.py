"""Our input as the documents that Spacelift's policy types know, in Rego."""

from __future__ import annotations

DOCUMENT = """
document.spacelift := {"request": request, "run": run, "stack": stack, "commit": commit}

document.terraform := plan

document.request := request

document.run := run

document.stack := stack

document.stacks := [stack]

document.workflow := []

document.commit := commit

document.reviews := reviews

document.session := session

document.push := push

document.pull_request := null

document.in_progress := []

request.timestamp_ns := timestamp_ns

run.id := run_given.id

run.type := run_type

run.state := run_state

run.branch := given.branch

run.commit := commit

run.triggered_by := requester.user

run.creator_session := {"login": requester.user, "name": requester.user, "teams": object.get(requester, "groups", [])}

run.created_at := timestamp_ns

run.updated_at := timestamp_ns

run.command := null

run.drift_detection := false

run.flags := []

run.user_provided_metadata := []

run.changes := [run_change(change) | some change in input.change_set.changes; change_word[change.action]] if {
	is_array(input.change_set.changes)
}

run_type := "PROPOSED" if plan_only

run_type := "TRACKED" if not plan_only

run_state := "UNCONFIRMED" if input.point in {"plan", "approval", "apply"}

run_state := "QUEUED" if not input.point in {"plan", "approval", "apply"}

run_change(change) := {
	"action": change_word[change.action],
	"phase": "plan",
	"entity": {
		"address": change.address,
		"name": change.name,
		"type": change.type,
		"entity_vendor": object.get(input, ["step", "executor"], "terraform"),
		"entity_type": "resource",
		"data": {"values": object.get(change, "after", null)},
	},
}

# A replacement deletes, which is the more that is said of it.
change_word := {
	"create": "added",
	"import": "added",
	"update": "changed",
	"move": "changed",
	"run": "changed",
	"unknown": "changed",
	"delete": "deleted",
	"replace": "deleted",
	"forget": "deleted",
}

commit.branch := given.branch

commit.hash := given.commit

commit.message := given.message

commit.author := given.author

push.branch := given.branch

push.hash := given.commit

push.message := given.message

push.author := given.author

push.tag := given.tag

push.affected_files := given.affected_files if is_array(given.affected_files)

stack.id := unit

stack.name := unit

stack.labels := labels

stack.branch := input.environment.vars.branch

stack.repository := input.environment.vars.repository

stack.administrative := false

stack.autodeploy := true

document.spaces := [{"id": input.environment.name, "name": input.environment.name, "labels": labels}]

session.login := input.who.user

session.name := input.who.user

session.teams := object.get(input.who, "groups", [])

session.member := true if input.who.user

# Of one person the newest review counts, and it speaks for every group they approved for.
reviews := {"current": {"approvals": approvals, "rejections": rejections}, "older": []}

earlier := [review | some review in object.get(input, "approvals", []); not review.by == current.by]

approvals := array.concat(
	[review_of(author, [review.group | some review in earlier; review.by == author; review.group != ""]) |
		some author in {review.by | some review in earlier}
	],
	[review_of(current.by, object.get(current, "groups", [])) | current.verdict == "yes"],
)

rejections := [review_of(current.by, object.get(current, "groups", [])) | current.verdict == "no"]

default current := {}

current := input.approval if is_object(input.approval)

review_of(author, teams) := {
	"author": author,
	"request": {"timestamp_ns": timestamp_ns},
	"session": {"login": author, "name": author, "teams": teams},
	"state": run_state,
}

# What the reviews would be if so many people without a team had said yes.
hypothetical[k] := {"current": {"approvals": yeses, "rejections": []}, "older": []} if {
	some k in numbers.range(0, 10)
	yeses := [review_of(sprintf("reviewer-%d", [i]), []) | some i in numbers.range(1, k); i <= k; k > 0]
}
"""

_CHANGED = """some resource in input.terraform.resource_changes
	some action in resource.change.actions"""

ALIASES = {
    "affected_resources": f"""affected_resources contains resource if {{
	{_CHANGED}
	action in {{"create", "update", "delete"}}
}}""",
    "created_resources": f"""created_resources contains resource if {{
	{_CHANGED}
	action == "create"
}}""",
    "deleted_resources": f"""deleted_resources contains resource if {{
	{_CHANGED}
	action == "delete"
}}""",
    "updated_resources": f"""updated_resources contains resource if {{
	{_CHANGED}
	action == "update"
}}""",
    "recreated_resources": """recreated_resources contains resource if {
	some resource in input.terraform.resource_changes
	"delete" in resource.change.actions
	"create" in resource.change.actions
}""",
}
"""What Spacelift puts beside every plan policy: names for the resources of the plan."""
