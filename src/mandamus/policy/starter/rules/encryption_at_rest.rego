package mandamus.plan

import data.lib.changes
import data.lib.config
import data.lib.report

# METADATA
# title: Encrypted at rest
# description: Storage is made, or changed, without encryption at rest; on request also without a key of the customer's own.
# custom:
#   rule: encryption_at_rest
#   control: NIST-800-53 SC-28
deny contains report.violation("encryption_at_rest", "NIST-800-53 SC-28", found) if {
	config.on.encryption_at_rest
	some [i, field] in encryption_off
	found := {
		"address": changes.address(i),
		"msg": sprintf("%s is not encrypted at rest: %s is off", [changes.address(i), field]),
		"remedy": sprintf("set %s", [field]),
	}
}

deny contains report.unknown("encryption_at_rest", "NIST-800-53 SC-28", unsure) if {
	config.on.encryption_at_rest
	config.unknown_denies.encryption_at_rest
	some unsure in encryption_unknown
}

require_approval contains report.ask_unknown("encryption_at_rest", "NIST-800-53 SC-28", unsure) if {
	config.on.encryption_at_rest
	not config.unknown_denies.encryption_at_rest
	some unsure in encryption_unknown
}

# One of these fields must be on.
encryption_needs contains [type, fields] if some type, fields in config.settings.encryption_at_rest.types

encryption_needs contains [type, fields] if {
	config.settings.encryption_at_rest.customer_keys
	some type, fields in config.settings.encryption_at_rest.keys
}

encryption_off contains [i, concat(" or ", fields)] if {
	some [type, fields] in encryption_needs
	some i in changes.by_type[type]
	not encryption_on(i, fields)
	not encryption_hidden(i, fields)
}

# Every block that is there must have it on.
encryption_off contains [i, field] if {
	some type, fields in config.settings.encryption_at_rest.blocks
	some i in changes.by_type[type]
	some field in fields
	some block in encryption_blocks(input.change_set.changes[i].after, field)
	not encryption_is_on(block)
	not changes.hidden(i, "", field)
}

# Of what other tools make only that is known to be off which says so itself.
encryption_off contains [view.i, field] if {
	some view in changes.views
	some field in config.settings.encryption_at_rest.fields
	some value in changes.values(view.attrs, field)
	value in config.settings.encryption_at_rest.off
}

encryption_on(i, fields) if {
	some field in fields
	encryption_is_on(input.change_set.changes[i].after[field])
}

encryption_on(i, fields) if {
	some field in fields
	contains(field, ".")
	some value in changes.values(input.change_set.changes[i].after, field)
	encryption_is_on(value)
}

encryption_is_on(value) if {
	value != null
	not value in encryption_words
}

encryption_words := {word | some word in config.settings.encryption_at_rest.off}

# The last name of a path in every block that the names before it lead to; false where a block does not have it.
encryption_blocks(after, field) := values if {
	not contains(field, ".")
	values := [object.get(after, field, false)]
}

encryption_blocks(after, field) := values if {
	contains(field, ".")
	parts := split(field, ".")
	holder := concat(".", array.slice(parts, 0, count(parts) - 1))
	values := [encryption_in(block, parts[count(parts) - 1]) | some block in changes.values(after, holder)]
}

encryption_in(block, name) := object.get(block, name, false) if is_object(block)

else := false

encryption_hidden(i, fields) if {
	some field in fields
	changes.hidden(i, "", field)
}

encryption_unknown contains {"address": changes.address(i), "what": concat(" or ", fields)} if {
	some i in changes.unsure
	some [type, fields] in encryption_needs
	type == input.change_set.changes[i].type
	not encryption_on(i, fields)
	encryption_hidden(i, fields)
}

encryption_unknown contains {"address": changes.address(i), "what": field} if {
	some i in changes.unsure
	some field in config.settings.encryption_at_rest.blocks[input.change_set.changes[i].type]
	changes.hidden(i, "", field)
}

encryption_unknown contains {"address": changes.address(view.i), "what": field} if {
	some view in changes.views
	count(input.change_set.changes[view.i].unknown) > 0
	some field in config.settings.encryption_at_rest.fields
	changes.hidden(view.i, view.at, field)
}
