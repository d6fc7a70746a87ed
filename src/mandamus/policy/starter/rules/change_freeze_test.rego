package change_freeze_test

import data.lib.fixtures
import data.mandamus.apply

rule := "change_freeze"

denied(environment, now, freezes, zone) := said if {
	said := fixtures.denied(rule, apply.deny) with input as object.union(fixtures.at("apply", environment), {"now": now})
		with data.starter.rules.change_freeze.freezes as freezes
		with data.starter.rules.change_freeze.zone as zone
}

turn := [{"name": "turn of the year", "from": "12-20", "to": "01-02"}]

summer := [{"name": "fair", "from": "2026-07-01", "to": "2026-07-02"}]

moments := [{"name": "migration", "from": "2026-07-01T10:00:00Z", "to": "2026-07-01T12:00:00+02:00"}]

test_december if denied("prod", "2026-12-24T12:00:00Z", turn, "UTC") == {"bucket"}

test_january if denied("prod", "2027-01-02T23:59:59Z", turn, "UTC") == {"bucket"}

test_afterwards if denied("prod", "2027-01-03T00:00:00Z", turn, "UTC") == set()

test_days if denied("prod", "2026-07-02T20:00:00Z", summer, "UTC") == {"bucket"}

test_days_in_another_zone if denied("prod", "2026-06-30T22:30:00Z", summer, "Europe/Berlin") == {"bucket"}

test_moments if denied("prod", "2026-07-01T10:00:00.5Z", moments, "UTC") == set()

test_moment_within if {
	denied("prod", "2026-07-01T10:30:00Z", [{"from": "2026-07-01T10:00:00Z", "to": "2026-07-01T11:00:00Z"}], "UTC") == {"bucket"}
}

test_not_where_it_does_not_matter if denied("dev", "2026-12-24T12:00:00Z", turn, "UTC") == set()

test_unknown_form_freezes if denied("prod", "2026-07-01T12:00:00Z", [{"from": "soon", "to": "later"}], "UTC") == {"bucket"}

test_other_tool if {
	said := fixtures.denied(rule, apply.deny) with input as object.union(
		fixtures.at("apply", "prod"),
		{"now": "2026-12-24T12:00:00Z", "step": {"name": "call", "executor": "http"}},
	)
	said == {"call"}
}
