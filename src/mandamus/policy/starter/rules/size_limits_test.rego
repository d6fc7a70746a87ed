package size_limits_test

import data.lib.fixtures
import data.mandamus.plan

rule := "size_limits"

denies(change) if count(fixtures.denied(rule, plan.deny)) == 1 with input as fixtures.plan([change])

asks(change) if fixtures.asked(rule, plan.require_approval) == 1 with input as fixtures.plan([change])

test_too_many if {
	said := fixtures.denied(rule, plan.deny) with input as fixtures.plan([fixtures.change("a", {}) | some _ in numbers.range(1, 101)])
	said == {"bucket"}
}

test_as_many_as_may_be if {
	said := fixtures.denied(rule, plan.deny) with input as fixtures.plan([fixtures.change("a", {}) | some _ in numbers.range(1, 100)])
	said == set()
}

test_too_many_of_a_type if {
	said := fixtures.denied(rule, plan.deny) with input as fixtures.plan([fixtures.change("aws_nat_gateway", {}) |
		some _ in numbers.range(1, 4)
	])
	said == {"bucket"}
}

test_too_large if denies(fixtures.change("aws_db_instance", {"allocated_storage": 1001}))

test_large_enough if not denies(fixtures.change("aws_db_instance", {"allocated_storage": 1000}))

test_name if denies(fixtures.change("aws_instance", {"instance_type": "m5.24xlarge"}))

test_metal if denies(fixtures.change("aws_instance", {"instance_type": "m5.metal"}))

test_small_name if not denies(fixtures.change("aws_instance", {"instance_type": "t3.micro"}))

test_other_tool if denies(fixtures.request({"kind": "Deployment", "replicas": 51}))

test_kubernetes if denies(fixtures.change("kubernetes_manifest", {"manifest": {"spec": {"replicas": 51}}}))

test_unknown_asks if asks(fixtures.hiding("aws_instance", {}, ["/instance_type"]))

test_unknown_of_another_tool_asks if asks(fixtures.hiding("thing", {"input": {}}, ["/input/replicas"]))

test_unknown_denies_on_request if {
	denies(fixtures.hiding("aws_instance", {}, ["/instance_type"])) with data.starter.rules.size_limits.unknown as "deny"
}
