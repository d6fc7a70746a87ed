package blast_radius_test

import data.lib.fixtures
import data.mandamus.plan

rule := "blast_radius"

step(destroyed, kept) := fixtures.plan(array.concat(
	[fixtures.gone(i) | some i in numbers.range(1, destroyed)],
	[fixtures.kept(i) | some i in numbers.range(1, kept)],
))

says(input_) := said if said := [member.msg | some member in plan.deny; member.meta.rule == rule] with input as input_

test_too_many if says(step(11, 100)) == ["11 objects would be destroyed, at most 10 may be in one step"]

test_at_the_limit if says(step(10, 100)) == []

test_too_large_a_share if says(step(5, 6)) == ["5 of 11 objects would be destroyed, at most 25 percent may be in one step"]

test_a_few_are_no_share if says(step(3, 1)) == []

test_other_tool if {
	change := {"address": "DELETE", "action": "run", "destructive": true, "after": {}, "mode": "task"}
	count(says(fixtures.plan([change | some _ in numbers.range(1, 11)]))) == 2
}

test_unknown_action_asks if {
	change := object.union(fixtures.change("aws_instance", {}), {"action": "unknown"})
	said := fixtures.asked(rule, plan.require_approval) with input as fixtures.plan([change])
	said == 1
}

test_what_shows_nothing_asks if {
	said := fixtures.asked(rule, plan.require_approval) with input as fixtures.plan([fixtures.change("thing", null)])
	said == 1
}

test_half_a_plan_asks if {
	said := fixtures.asked(rule, plan.require_approval) with input as object.union(
		fixtures.plan([]),
		{"change_set": {"complete": false}},
	)
	said == 1
}

test_a_whole_plan_asks_nobody if {
	said := fixtures.asked(rule, plan.require_approval) with input as fixtures.plan([fixtures.change("thing", {})])
	said == 0
}

test_unknown_denies_on_request if {
	said := fixtures.denied(rule, plan.deny) with input as fixtures.plan([fixtures.change("thing", null)])
		with data.starter.rules.blast_radius.unknown as "deny"
	said == {"thing.x"}
}
