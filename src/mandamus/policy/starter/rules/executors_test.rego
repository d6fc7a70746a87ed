package executors_test

import data.lib.fixtures
import data.mandamus.step

rule := "executors"

denied(environment, executor, allowed) := said if {
	said := fixtures.denied(rule, step.deny) with input as object.union(
		fixtures.at("step", environment),
		{"step": {"executor": executor}},
	)
		with data.starter.rules.executors.allowed as allowed
}

test_script_refused if denied("prod", "script", ["terraform"]) == {"bucket"}

test_terraform_allowed if denied("prod", "terraform", ["terraform"]) == set()

test_every_one_by_default if {
	said := fixtures.denied(rule, step.deny) with input as fixtures.at("step", "prod")
	said == set()
}

test_not_where_it_does_not_matter if denied("dev", "script", ["terraform"]) == set()

test_other_tool if denied("prod", "ansible", ["terraform", "script"]) == {"bucket"}

test_unknown_executor if {
	said := fixtures.denied(rule, step.deny) with input as json.remove(fixtures.at("step", "prod"), ["step/executor"])
	said == {"bucket"}
}
