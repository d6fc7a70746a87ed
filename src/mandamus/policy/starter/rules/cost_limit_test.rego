package cost_limit_test

import data.lib.fixtures
import data.mandamus.plan

rule := "cost_limit"

prices := {
	"aws_instance": {"field": "instance_type", "by": {"t3.micro": 8, "m5.large": 600}},
	"aws_nat_gateway": {"each": 33},
	"google_container_node_pool": {"field": "machine_type", "by": {"e2-small": 400}, "times": "node_count"},
	"server": {"each": 1001},
}

denies(changes) if {
	said := fixtures.denied(rule, plan.deny) with input as fixtures.plan(changes)
		with data.starter.rules.cost_limit.prices as prices
	said == {"bucket"}
}

asks(changes) if {
	said := fixtures.asked(rule, plan.require_approval) with input as fixtures.plan(changes)
		with data.starter.rules.cost_limit.prices as prices
	said == 1
}

large(name) := object.union(fixtures.change("aws_instance", {"instance_type": "m5.large"}), {"address": name})

test_too_much if denies([large("a"), large("b")])

test_little_enough if not denies([large("a")])

test_what_is_there_costs_nothing_new if not denies([large("a"), object.union(large("b"), {"action": "update"})])

test_each if not denies([fixtures.change("aws_nat_gateway", {})])

test_times if {
	denies([fixtures.change("google_container_node_pool", {"machine_type": "e2-small", "node_count": 3})])
	not denies([fixtures.change("google_container_node_pool", {"machine_type": "e2-small", "node_count": 2})])
}

test_other_tool if denies([fixtures.request({"kind": "server"})])

test_no_price_no_count if not denies([fixtures.change("aws_s3_bucket", {})])

test_size_without_a_price_asks if asks([fixtures.change("aws_instance", {"instance_type": "x9.huge"})])

test_unknown_size_asks if asks([fixtures.hiding("aws_instance", {}, ["/instance_type"])])

test_unknown_times_asks if asks([fixtures.hiding(
	"google_container_node_pool",
	{"machine_type": "e2-small"},
	["/node_count"],
)])

test_unknown_denies_on_request if {
	said := fixtures.denied(rule, plan.deny) with input as fixtures.plan([fixtures.hiding("aws_instance", {}, ["/instance_type"])])
		with data.starter.rules.cost_limit.prices as prices
		with data.starter.rules.cost_limit.unknown as "deny"
	said == {"aws_instance.x"}
}
