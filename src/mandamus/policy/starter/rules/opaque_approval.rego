package mandamus.plan

import data.lib.config
import data.lib.report

# METADATA
# title: A yes for what nobody can foresee
# description: A script, a request, or a provisioner runs where it matters, and no plan says what it will do.
# custom:
#   rule: opaque_approval
#   control: NIST-800-53 CM-3
require_approval contains report.ask("opaque_approval", "NIST-800-53 CM-3", msg) if {
	config.on.opaque_approval
	not opaque_excepted
	some address in opaque
	msg := sprintf("nobody can say what %s changes", [address])
}

opaque contains change.address if {
	some change in input.change_set.changes
	change.confidence == "opaque"
	not opaque_only_reads(change)
}

opaque contains input.step.name if {
	input.change_set.fidelity == "opaque"
	count(input.change_set.changes) == 0
}

opaque_excepted if {
	some pattern in config.settings.opaque_approval.except_steps
	glob.match(pattern, null, input.step.name)
}

opaque_only_reads(change) if {
	change.type == "http"
	change.after.method in config.settings.opaque_approval.reading_methods
}
