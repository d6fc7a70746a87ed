package opaque_approval_test

import data.lib.fixtures
import data.mandamus.plan

rule := "opaque_approval"

script := {
	"address": "smoke",
	"type": "script",
	"name": "smoke",
	"action": "run",
	"mode": "task",
	"destructive": false,
	"confidence": "opaque",
	"unknown": [],
	"after": {"run": "true", "env": {}, "shell": "sh", "dir": "."},
}

asked(input_) := said if said := fixtures.asked(rule, plan.require_approval) with input as input_

test_script_in_production if asked(fixtures.plan([script])) == 1

test_script_elsewhere if asked(fixtures.in_environment("dev", [script])) == 0

test_request if asked(fixtures.plan([fixtures.request({})])) == 1

test_request_that_only_reads if {
	asked(fixtures.plan([object.union(fixtures.request({}), {"after": {"method": "GET"}})])) == 0
}

test_provisioner_of_terraform if {
	asked(fixtures.plan([object.union(fixtures.change("null_resource", {}), {"confidence": "opaque"})])) == 1
}

test_exact_plan if asked(fixtures.plan([fixtures.change("aws_instance", {})])) == 0

test_unknown_of_an_opaque_tool_that_lists_nothing if {
	asked(object.union(fixtures.plan([]), {"change_set": {"fidelity": "opaque"}})) == 1
}

test_excepted_step if {
	said := fixtures.asked(rule, plan.require_approval) with input as fixtures.plan([script])
		with data.starter.rules.opaque_approval.except_steps as ["buck*"]
	said == 0
}
