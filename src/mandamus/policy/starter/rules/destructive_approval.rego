package mandamus.plan

import data.lib.config
import data.lib.report

# METADATA
# title: Two people for what destroys
# description: A change that destroys something needs more than one yes.
# custom:
#   rule: destructive_approval
#   control: NIST-800-53 CM-3
require_approval contains report.ask("destructive_approval", "NIST-800-53 CM-3", msg) if {
	config.on.destructive_approval
	destroyed := [change.address |
		some change in input.change_set.changes
		change.destructive
	]
	count(destroyed) > 0
	msg := sprintf("%d destroyed: %s", [count(destroyed), concat(", ", array.slice(sort(destroyed), 0, 5))])
}
