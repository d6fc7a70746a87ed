package mandamus.apply

import data.lib.calendar
import data.lib.config
import data.lib.report

# METADATA
# title: Office hours
# description: Nothing is applied outside the hours, and on the holidays, of the calendar in data.json.
# custom:
#   rule: office_hours
#   control: NIST-800-53 CM-3
deny contains report.violation("office_hours", "NIST-800-53 CM-3", found) if {
	config.on.office_hours
	not office_open
	set := config.settings.office_hours
	found := {
		"address": input.step.name,
		"msg": sprintf("%s, %s %s (%s) is outside office hours", [
			input.environment.name,
			calendar.weekday(set.zone),
			calendar.clock(set.zone),
			set.zone,
		]),
		"remedy": "retry the run within office hours",
	}
}

office_open if {
	set := config.settings.office_hours
	not calendar.date(set.zone) in set.holidays
	[from, to] := set.hours[calendar.weekday(set.zone)]
	calendar.clock(set.zone) >= from
	calendar.clock(set.zone) < to
}
