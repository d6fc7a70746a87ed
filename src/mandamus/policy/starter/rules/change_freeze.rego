package mandamus.apply

import data.lib.calendar
import data.lib.config
import data.lib.report

# METADATA
# title: Change freeze
# description: Nothing is applied during a freeze of the calendar in data.json.
# custom:
#   rule: change_freeze
#   control: NIST-800-53 CM-3
deny contains report.violation("change_freeze", "NIST-800-53 CM-3", found) if {
	config.on.change_freeze
	set := config.settings.change_freeze
	some freeze in set.freezes
	calendar.within(set.zone, freeze)
	found := {
		"address": input.step.name,
		"msg": sprintf("%s is frozen: %s", [input.environment.name, object.get(freeze, "name", "change freeze")]),
		"remedy": sprintf("ask again after %v", [object.get(freeze, "to", "the freeze")]),
	}
}
