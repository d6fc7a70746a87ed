package mandamus.plan

import data.lib.changes
import data.lib.config
import data.lib.report

# METADATA
# title: Limited size
# description: One step makes more objects, or larger ones, than the limits in data.json allow.
# custom:
#   rule: size_limits
#   control: NIST-800-53 SC-6
deny contains report.violation("size_limits", "NIST-800-53 SC-6", found) if {
	config.on.size_limits
	some found in size_found
}

deny contains report.unknown("size_limits", "NIST-800-53 SC-6", unsure) if {
	config.on.size_limits
	config.unknown_denies.size_limits
	some unsure in size_unknown
}

require_approval contains report.ask_unknown("size_limits", "NIST-800-53 SC-6", unsure) if {
	config.on.size_limits
	not config.unknown_denies.size_limits
	some unsure in size_unknown
}

size_found contains {"address": input.step.name, "msg": msg, "remedy": "plan it in smaller steps"} if {
	creates := count([1 | some change in input.change_set.changes; change.action == "create"])
	creates > config.settings.size_limits.creates_max
	msg := sprintf("%d objects would be made, at most %d may be", [creates, config.settings.size_limits.creates_max])
}

size_found contains {"address": input.step.name, "msg": msg, "remedy": "use fewer"} if {
	some type, limit in config.settings.size_limits.creates_max_by_type
	creates := count([1 | some i in changes.by_type[type]; input.change_set.changes[i].action == "create"])
	creates > limit
	msg := sprintf("%d of type %s would be made, at most %d may be", [creates, type, limit])
}

size_found contains {"address": address, "msg": msg, "remedy": sprintf("use %v or less", [limit])} if {
	some [field, value] in changes.said
	limit := size_numbers[field]
	is_number(value)
	value > limit
	some address in changes.saying(field, value)
	msg := sprintf("%s: %s is %v, at most %v is allowed", [address, field, value, limit])
}

size_found contains {"address": address, "msg": msg, "remedy": "use a smaller one"} if {
	some [field, value] in changes.said
	patterns := size_names[field]
	is_string(value)
	some pattern in patterns
	glob.match(pattern, null, value)
	some address in changes.saying(field, value)
	msg := sprintf("%s: %s is %s, which is too large", [address, field, value])
}

size_numbers := config.settings.size_limits.numbers_max

size_names := config.settings.size_limits.names

size_pointers := {field: sprintf("/%s", [field]) | some field in object.keys(size_numbers) | object.keys(size_names)}

size_unknown contains {"address": changes.address(i), "what": field} if {
	some i in changes.unsure
	unknown := input.change_set.changes[i].unknown
	some field, pointer in size_pointers
	pointer in unknown
}

size_unknown contains {"address": changes.address(view.i), "what": substring(pointer, 1, -1)} if {
	some view in changes.views
	view.at != ""
	some pointer in input.change_set.changes[view.i].unknown
	startswith(pointer, view.at)
	trim_prefix(pointer, view.at) in size_pointers
}
