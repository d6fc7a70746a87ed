package mandamus.plan

import data.lib.changes
import data.lib.config
import data.lib.report

# METADATA
# title: Limited blast radius
# description: One step destroys more objects, or a larger share of those there are, than a mistake may cost.
# custom:
#   rule: blast_radius
#   control: NIST-800-53 CM-4
deny contains report.violation("blast_radius", "NIST-800-53 CM-4", found) if {
	config.on.blast_radius
	set := config.settings.blast_radius
	blast_count > set.destroyed_max
	found := {
		"address": input.step.name,
		"msg": sprintf("%d objects would be destroyed, at most %d may be in one step", [blast_count, set.destroyed_max]),
		"remedy": "plan it in smaller steps",
	}
}

deny contains report.violation("blast_radius", "NIST-800-53 CM-4", found) if {
	config.on.blast_radius
	set := config.settings.blast_radius
	blast_count >= set.share_from
	blast_count * 100 > blast_there * set.share_percent_max
	found := {
		"address": input.step.name,
		"msg": sprintf(
			"%d of %d objects would be destroyed, at most %d percent may be in one step",
			[blast_count, blast_there, set.share_percent_max],
		),
		"remedy": "plan it in smaller steps",
	}
}

deny contains report.unknown("blast_radius", "NIST-800-53 CM-4", unsure) if {
	config.on.blast_radius
	config.unknown_denies.blast_radius
	some unsure in blast_unknown
}

require_approval contains report.ask_unknown("blast_radius", "NIST-800-53 CM-4", unsure) if {
	config.on.blast_radius
	not config.unknown_denies.blast_radius
	some unsure in blast_unknown
}

blast_count := count([1 |
	some change in input.change_set.changes
	change.destructive
])

# What is there now: whatever is not made new and not only run or read.
blast_there := count([1 |
	some change in input.change_set.changes
	not change.action in {"create", "run", "read", "import"}
	not change.mode == "data"
])

blast_unknown contains {"address": input.step.name, "what": "the whole plan"} if input.change_set.complete == false

blast_unknown contains {"address": change.address, "what": "what happens to it"} if {
	some change in input.change_set.changes
	change.action == "unknown"
	is_object(change.after)
}

blast_unknown contains {"address": changes.address(i), "what": "what becomes of it"} if some i in changes.unseen
