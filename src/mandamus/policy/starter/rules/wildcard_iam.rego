package mandamus.plan

import data.lib.config
import data.lib.iam
import data.lib.report

# METADATA
# title: No wildcard in access rights
# description: A policy allows every action, everything of a service on everything, or everybody; or a role does that by its name.
# custom:
#   rule: wildcard_iam
#   control: NIST-800-53 AC-6
deny contains report.violation("wildcard_iam", "NIST-800-53 AC-6", found) if {
	config.on.wildcard_iam
	some [address, what] in iam.wildcards
	found := {
		"address": address,
		"msg": sprintf("%s allows %s", [address, what]),
		"remedy": "name the actions, the resources and the identities that are needed",
	}
}

deny contains report.unknown("wildcard_iam", "NIST-800-53 AC-6", unsure) if {
	config.on.wildcard_iam
	config.unknown_denies.wildcard_iam
	some unsure in iam.unknown
}

require_approval contains report.ask_unknown("wildcard_iam", "NIST-800-53 AC-6", unsure) if {
	config.on.wildcard_iam
	not config.unknown_denies.wildcard_iam
	some unsure in iam.unknown
}
