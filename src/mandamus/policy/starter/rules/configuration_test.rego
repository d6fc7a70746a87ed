package configuration_test

import data.lib.fixtures
import data.lib.shape
import data.mandamus.plan

fires if fixtures.denied("configuration", plan.deny) == {"data.json"} with input as fixtures.plan([])

test_as_it_is if shape.problems == set()

test_nothing_said if not fires

test_misspelt_setting if fires with data.starter.rules.blast_radius as object.union(
	data.starter.rules.blast_radius,
	{"destroyed": 1},
)

test_missing_setting if fires with data.starter.rules.blast_radius.destroyed_max as null

test_wrong_type if fires with data.starter.rules.blast_radius.destroyed_max as "10"

test_unknown_word if fires with data.starter.rules.blast_radius.unknown as "maybe"

test_unknown_rule_of_an_environment if fires with data.starter.environments as {"dev": {"blast": {"enabled": false}}}

test_setting_of_an_environment if not fires with data.starter.environments as {"dev": {"blast_radius": {"enabled": false}}}

test_unknown_variable if fires with data.starter.from_vars as {"blast_radius.max": "max"}

test_without_data if fires with data.starter as {"rules": {"blast": {"on": true}}}

test_other_tool if {
	said := fixtures.denied("configuration", plan.deny) with input as fixtures.plan([fixtures.request({})])
		with data.starter.typed as "aws_"
	said == {"data.json"}
}
