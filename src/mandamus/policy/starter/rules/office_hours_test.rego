package office_hours_test

import data.lib.fixtures
import data.mandamus.apply

rule := "office_hours"

denied(environment, now) := said if {
	said := fixtures.denied(rule, apply.deny) with input as object.union(fixtures.at("apply", environment), {"now": now})
}

test_at_night if denied("prod", "2026-07-01T03:00:00Z") == {"bucket"}

test_by_day if denied("prod", "2026-07-01T08:00:00Z") == set()

test_at_the_end if denied("prod", "2026-07-01T18:00:00Z") == {"bucket"}

test_on_sunday if denied("prod", "2026-07-05T12:00:00Z") == {"bucket"}

test_not_where_it_does_not_matter if denied("dev", "2026-07-05T12:00:00Z") == set()

test_holiday if {
	denied("prod", "2026-07-01T12:00:00Z") == {"bucket"} with data.starter.rules.office_hours.holidays as ["2026-07-01"]
}

test_summer_time if {
	denied("prod", "2026-07-01T06:30:00Z") == set() with data.starter.rules.office_hours.zone as "Europe/Berlin"
	denied("prod", "2026-02-03T06:30:00Z") == {"bucket"} with data.starter.rules.office_hours.zone as "Europe/Berlin"
}

test_unknown_hours_are_closed if {
	denied("prod", "2026-07-01T12:00:00Z") == {"bucket"} with data.starter.rules.office_hours.hours.Wednesday as []
}

test_other_tool if {
	said := fixtures.denied(rule, apply.deny) with input as object.union(
		fixtures.at("apply", "prod"),
		{"now": "2026-07-05T12:00:00Z", "step": {"name": "call", "executor": "http"}},
	)
	said == {"call"}
}
