package mandamus.apply

import data.lib.config
import data.lib.report

# METADATA
# title: Nothing is applied on its requester's own yes
# description: The yes of who asked for a run is looked for once more right before it is applied.
# custom:
#   rule: requester_not_approver
#   control: NIST-800-53 AC-5
deny contains report.violation("requester_not_approver", "NIST-800-53 AC-5", found) if {
	config.on.requester_not_approver
	some approval in input.approvals
	approval.by in array.concat([input.run.requester.user], object.get(input.run, "makers", []))
	found := {
		"address": input.step.name,
		"msg": sprintf("%s said yes to a run of their own", [approval.by]),
		"remedy": "let somebody else look at it",
	}
}
