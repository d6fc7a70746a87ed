package mandamus.plan

# Storage that strangers can read is refused, whichever tool would make it.
deny contains violation if {
	some change in input.change_set.changes
	change.action in {"create", "update", "replace"}
	startswith(change.after.input.acl, "public")
	violation := {
		"msg": sprintf("%s would be %s", [change.address, change.after.input.acl]),
		"remedy": "ask again with public=false",
	}
}

# Infrastructure is looked at by one person of the platform team.
require_approval contains {"group": "platform", "count": 1, "msg": "infrastructure changes"} if {
	input.step.executor == "terraform"
	some change in input.change_set.changes
	not change.action in {"noop", "read"}
}
