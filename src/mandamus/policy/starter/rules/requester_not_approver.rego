package mandamus.approval

import data.lib.config
import data.lib.report

# METADATA
# title: Nobody approves what they asked for
# description: Who asked for a run, or made a part of what it runs, does not say yes to it. The platform refuses that by itself; the set says so too, so that it stands in the record.
# custom:
#   rule: requester_not_approver
#   control: NIST-800-53 AC-5
deny contains report.violation("requester_not_approver", "NIST-800-53 AC-5", found) if {
	config.on.requester_not_approver
	verdict := object.get(input.approval, "verdict", "")
	not verdict in {"no", "reject", "rejected"}
	who := object.get(input.approval, "by", "somebody nameless")
	not approver_is_another
	found := {
		"address": object.get(input.run, "id", ""),
		"msg": sprintf("%s asked for this run or made a part of it", [who]),
		"remedy": "let somebody else look at it",
	}
}

approver_is_another if {
	by := input.approval.by
	by != ""
	by != input.run.requester.user
	not by in object.get(input.run, "makers", [])
}
