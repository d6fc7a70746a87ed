package requester_not_approver_test

import data.lib.fixtures
import data.mandamus.approval

rule := "requester_not_approver"

denied(said_) := said if {
	said := fixtures.denied(rule, approval.deny) with input as object.union(
		fixtures.at("approval", "dev"),
		{"approval": said_},
	)
}

test_requester if denied({"by": "ada", "verdict": "yes"}) == {"run_1"}

test_maker if denied({"by": "grace", "verdict": "yes"}) == {"run_1"}

test_somebody_else if denied({"by": "joan", "verdict": "yes"}) == set()

test_own_no if denied({"by": "ada", "verdict": "no"}) == set()

test_unknown_verdict if denied({"by": "ada"}) == {"run_1"}

test_unknown_person if denied({"verdict": "yes"}) == {"run_1"}

test_other_tool if {
	said := fixtures.denied(rule, approval.deny) with input as object.union(
		fixtures.at("approval", "prod"),
		{"step": {"executor": "http"}, "approval": {"by": "ada", "verdict": "yes"}},
	)
	said == {"run_1"}
}
