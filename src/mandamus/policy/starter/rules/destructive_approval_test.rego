package destructive_approval_test

import data.lib.fixtures
import data.mandamus.plan

rule := "destructive_approval"

asked(input_) := said if said := fixtures.asked(rule, plan.require_approval) with input as input_

test_two_people if asked(fixtures.plan([fixtures.gone(1)])) == 2

test_nothing_destroyed if asked(fixtures.plan([fixtures.change("aws_instance", {})])) == 0

test_not_where_it_does_not_matter if asked(fixtures.in_environment("dev", [fixtures.gone(1)])) == 0

test_unknown_action_counts_as_destructive if {
	change := object.union(fixtures.change("thing", {}), {"action": "unknown", "destructive": true})
	asked(fixtures.plan([change])) == 2
}

test_other_tool if {
	asked(fixtures.plan([{"address": "DROP TABLE a", "action": "delete", "destructive": true, "mode": "statement"}])) == 2
}

test_of_a_group if {
	said := plan.require_approval with input as fixtures.plan([fixtures.gone(1)])
		with data.starter.rules.destructive_approval.group as "platform"
	some member in said
	member.group == "platform"
	member.count == 2
}
