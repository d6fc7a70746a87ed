package mandamus.plan

import data.lib.changes
import data.lib.config
import data.lib.report

# METADATA
# title: Limited cost
# description: What is made costs more per month, by the price table in data.json, than one step may add. What has no price is not counted.
# custom:
#   rule: cost_limit
#   control: NIST-800-53 SC-6
deny contains report.violation("cost_limit", "NIST-800-53 SC-6", found) if {
	config.on.cost_limit
	set := config.settings.cost_limit
	added := sum([price | some [_, _, price] in costs])
	added > set.added_per_month_max
	found := {
		"address": input.step.name,
		"msg": sprintf("it would add %v %s a month, at most %v may be", [added, set.currency, set.added_per_month_max]),
		"remedy": "use fewer or smaller ones, or raise the limit for this environment",
	}
}

deny contains report.unknown("cost_limit", "NIST-800-53 SC-6", unsure) if {
	config.on.cost_limit
	config.unknown_denies.cost_limit
	some unsure in costs_unknown
}

require_approval contains report.ask_unknown("cost_limit", "NIST-800-53 SC-6", unsure) if {
	config.on.cost_limit
	not config.unknown_denies.cost_limit
	some unsure in costs_unknown
}

# What is made new of a type with prices: [place, pointer of the object, its attributes, the type's prices].
costly contains [i, "", change.after, table] if {
	some type, table in config.settings.cost_limit.prices
	some i in changes.by_type[type]
	change := input.change_set.changes[i]
	change.action in {"create", "import"}
}

costly contains [view.i, view.at, view.attrs, table] if {
	some view in changes.views
	view.at != ""
	some type, table in config.settings.cost_limit.prices
	object.get(view.attrs, "kind", object.get(view.attrs, "type", "")) == type
}

costs contains [i, at, price * cost_times(attrs, table)] if {
	some [i, at, attrs, table] in costly
	price := cost_of(attrs, table)
}

cost_of(_, table) := table.each

cost_of(attrs, table) := table.by[attrs[table.field]] if not table.each

# A field that says how many, such as a node count.
cost_times(attrs, table) := attrs[table.times] if is_number(attrs[table.times])

else := 1

costs_unknown contains {"address": changes.address(i), "what": sprintf("the price of %s", [what])} if {
	some [i, _, attrs, table] in costly
	not cost_of(attrs, table)
	what := object.get(attrs, object.get(table, "field", ""), "it")
}

costs_unknown contains {"address": changes.address(i), "what": table.times} if {
	some [i, at, attrs, table] in costly
	changes.hidden(i, at, table.times)
	times := object.get(attrs, table.times, null)
	not is_number(times)
}
