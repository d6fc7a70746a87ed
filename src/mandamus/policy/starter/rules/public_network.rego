package mandamus.plan

import data.lib.changes
import data.lib.config
import data.lib.network
import data.lib.report

# METADATA
# title: No network open to everybody
# description: A security group, firewall or the like lets the whole internet in, on a port that is not allowed.
# custom:
#   rule: public_network
#   control: NIST-800-53 SC-7
deny contains report.violation("public_network", "NIST-800-53 SC-7", found) if {
	config.on.public_network
	some opening in network.openings
	some source in opening.sources
	network.public(source)
	some range in opening.ranges
	not network.allowed(range)
	found := {
		"address": changes.address(opening.i),
		"msg": sprintf("%s opens %s to %s", [changes.address(opening.i), network.named(range), source]),
		"remedy": "name the networks that need it, or put a gateway in front",
	}
}

deny contains report.unknown("public_network", "NIST-800-53 SC-7", unsure) if {
	config.on.public_network
	config.unknown_denies.public_network
	some unsure in network.unknown
}

require_approval contains report.ask_unknown("public_network", "NIST-800-53 SC-7", unsure) if {
	config.on.public_network
	not config.unknown_denies.public_network
	some unsure in network.unknown
}
