package mandamus.trigger

import data.lib.config
import data.lib.report

# METADATA
# title: Production only from a protected branch
# description: A run in production says which branch it comes from, and the branch is on the list. One that does not say is refused.
# custom:
#   rule: production_branch
#   control: NIST-800-53 CM-5
deny contains report.violation("production_branch", "NIST-800-53 CM-5", found) if {
	config.on.production_branch
	not branch_excepted
	not branch_allowed
	found := {
		"address": input.run.workflow,
		"msg": sprintf("%s: %s is %v, which is no protected branch", [
			input.environment.name,
			config.settings.production_branch.from,
			branch_said,
		]),
		"remedy": sprintf("run it from %s", [concat(" or ", config.settings.production_branch.branches)]),
	}
}

deny contains report.violation("production_branch", "NIST-800-53 CM-5", found) if {
	config.on.production_branch
	not branch_excepted
	not branch_believed
	found := {
		"address": input.run.workflow,
		"msg": sprintf("%s may not say which branch a run comes from", [input.run.requester.user]),
		"remedy": sprintf("let %s ask for it", [concat(" or ", config.settings.production_branch.stated_by_groups)]),
	}
}

branch_said := object.get(input, split(config.settings.production_branch.from, "."), "unknown")

branch_allowed if {
	is_string(branch_said)
	branch := trim_prefix(branch_said, "refs/heads/")
	some pattern in config.settings.production_branch.branches
	glob.match(pattern, null, branch)
}

# An input is what the requester typed. With groups named here, only their word counts.
branch_believed if config.settings.production_branch.stated_by_groups == []

branch_believed if {
	some group in input.run.requester.groups
	group in config.settings.production_branch.stated_by_groups
}

# A run that can never apply anything changes nothing.
branch_excepted if {
	config.settings.production_branch.except_plan_only
	input.run.plan_only == true
}
