package mandamus.step

import data.lib.config
import data.lib.report

# METADATA
# title: Only allowed executors
# description: A step is of a kind that may not run here, for example a script in production. It is refused before its tool is started.
# custom:
#   rule: executors
#   control: NIST-800-53 CM-7
deny contains report.violation("executors", "NIST-800-53 CM-7", found) if {
	config.on.executors
	not executor_allowed
	found := {
		"address": input.step.name,
		"msg": sprintf("step %s is a %s step, which may not run in %s", [
			input.step.name,
			executor_named,
			input.environment.name,
		]),
		"remedy": "use another kind of step",
	}
}

executor_named := object.get(input.step, "executor", "nameless")

executor_allowed if {
	some pattern in config.settings.executors.allowed
	glob.match(pattern, null, input.step.executor)
}
