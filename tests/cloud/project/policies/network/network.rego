package mandamus.plan

# Nothing that listens is open to the whole world.
deny contains {
	"msg": sprintf("%s lets the whole world in", [change.address]),
	"remedy": "ask again with open=false",
} if {
	some change in input.change_set.changes
	change.type == "aws_security_group"
	some rule in change.after.ingress
	some range in rule.cidr_blocks
	range == "0.0.0.0/0"
}

require_approval contains {"group": "platform", "count": 1, "msg": "a network changes"} if {
	some change in input.change_set.changes
	not change.action in {"noop", "read"}
}
