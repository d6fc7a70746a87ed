package lib.config_test

import data.lib.config
import data.lib.fixtures

dev := fixtures.at("plan", "dev")

test_an_environment_of_its_own if {
	config.settings.blast_radius.destroyed_max == 99 with input as dev
		with data.starter.environments as {"d*": {"blast_radius": {"destroyed_max": 99}}}
}

test_another_environment if {
	config.settings.blast_radius.destroyed_max == 10 with input as dev
		with data.starter.environments as {"test": {"blast_radius": {"destroyed_max": 99}}}
}

vars := object.union(dev, {"environment": {"vars": {"max": 99, "text": "99", "off": false}}})

test_vars_weaken_nothing_by_themselves if config.settings.blast_radius.destroyed_max == 10 with input as vars

test_vars_where_data_says_so if {
	config.settings.blast_radius.destroyed_max == 99 with input as vars
		with data.starter.from_vars as {"blast_radius.destroyed_max": "max"}
}

test_vars_of_another_type if {
	config.settings.blast_radius.destroyed_max == 10 with input as vars
		with data.starter.from_vars as {"blast_radius.destroyed_max": "text"}
}

test_switched_off_here if {
	not config.on.blast_radius with input as dev
		with data.starter.environments as {"dev": {"blast_radius": {"enabled": false}}}
}

test_only_false_switches_off if {
	config.on.blast_radius with input as dev
		with data.starter.environments as {"dev": {"blast_radius": {"enabled": "no"}}}
}

test_applies_to_patterns if {
	config.on.blast_radius with input as dev with data.starter.rules.blast_radius.applies_to as ["de*"]
	not config.on.blast_radius with input as dev with data.starter.rules.blast_radius.applies_to as ["prod"]
}

test_production if {
	config.production with input as fixtures.at("plan", "prod")
	config.production with input as object.union(dev, {"environment": {"protected": true}})
	not config.production with input as dev
}
