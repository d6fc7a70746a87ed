package requester_not_approver_apply_test

import data.lib.fixtures
import data.mandamus.apply

rule := "requester_not_approver"

denied(approvals) := said if {
	said := fixtures.denied(rule, apply.deny) with input as object.union(
		fixtures.at("apply", "dev"),
		{"approvals": approvals},
	)
}

test_requester if denied([{"by": "joan"}, {"by": "ada"}]) == {"bucket"}

test_maker if denied([{"by": "grace"}]) == {"bucket"}

test_somebody_else if denied([{"by": "joan"}]) == set()

test_nobody if denied([]) == set()

test_unknown_makers if {
	said := fixtures.denied(rule, apply.deny) with input as object.union(
		json.remove(fixtures.at("apply", "dev"), ["run/makers"]),
		{"approvals": [{"by": "ada"}]},
	)
	said == {"bucket"}
}

test_other_tool if {
	said := fixtures.denied(rule, apply.deny) with input as object.union(
		fixtures.at("apply", "dev"),
		{"step": {"name": "call", "executor": "http"}, "approvals": [{"by": "ada"}]},
	)
	said == {"call"}
}
