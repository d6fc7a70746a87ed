package mandamus.plan

import data.lib.report
import data.lib.shape

# METADATA
# title: A configuration that can be read
# description: data.json has a rule, a setting or a value that the set does not know, so a rule may not say what its owner meant. Every plan is refused until it is mended.
# custom:
#   rule: configuration
#   control: NIST-800-53 CM-6
deny contains report.violation("configuration", "NIST-800-53 CM-6", found) if {
	some problem in shape.problems
	found := {
		"address": "data.json",
		"msg": sprintf("data.json: %s", [problem]),
		"remedy": "mend data.json, then publish the set again",
	}
}
