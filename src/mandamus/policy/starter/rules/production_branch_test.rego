package production_branch_test

import data.lib.fixtures
import data.mandamus.trigger

rule := "production_branch"

run(environment, inputs) := object.union(fixtures.at("trigger", environment), {"run": {"inputs": inputs}})

denied(input_) := said if said := fixtures.denied(rule, trigger.deny) with input as input_

test_another_branch if denied(run("prod", {"branch": "feature/x"})) == {"bucket"}

test_main if denied(run("prod", {"branch": "main"})) == set()

test_release if denied(run("prod", {"branch": "refs/heads/release/1.2"})) == set()

test_unknown_branch if denied(run("prod", {})) == {"bucket"}

test_no_text_is_no_branch if denied(run("prod", {"branch": ["main"]})) == {"bucket"}

test_not_where_it_does_not_matter if denied(run("dev", {"branch": "feature/x"})) == set()

test_plan_only if denied(object.union(run("prod", {}), {"run": {"plan_only": true}})) == set()

test_another_field if {
	said := fixtures.denied(rule, trigger.deny) with input as object.union(
		run("prod", {}),
		{"environment": {"vars": {"branch": "main"}}},
	)
		with data.starter.rules.production_branch.from as "environment.vars.branch"
	said == set()
}

test_word_of_anybody if {
	said := fixtures.denied(rule, trigger.deny) with input as run("prod", {"branch": "main"})
		with data.starter.rules.production_branch.stated_by_groups as ["ci"]
	said == {"bucket"}
}

test_word_of_the_pipeline if {
	said := fixtures.denied(rule, trigger.deny) with input as run("prod", {"branch": "main"})
		with data.starter.rules.production_branch.stated_by_groups as ["developers"]
	said == set()
}

test_other_tool if {
	denied(object.union(run("prod", {"branch": "x"}), {"run": {"workflow": "playbook"}})) == {"playbook"}
}
