package mandamus.plan

import data.lib.changes
import data.lib.config
import data.lib.report

# METADATA
# title: No storage open to everybody
# description: A bucket, disk image, snapshot or database can be reached or read by strangers.
# custom:
#   rule: public_storage
#   control: NIST-800-53 AC-3
deny contains report.violation("public_storage", "NIST-800-53 AC-3", found) if {
	config.on.public_storage
	some [i, field, value] in storage_open
	found := {
		"address": changes.address(i),
		"msg": sprintf("%s can be reached by strangers: %s is %v", [changes.address(i), field, value]),
		"remedy": sprintf("set %s so that only known identities get in", [field]),
	}
}

deny contains report.unknown("public_storage", "NIST-800-53 AC-3", unsure) if {
	config.on.public_storage
	config.unknown_denies.public_storage
	some unsure in storage_unknown
}

require_approval contains report.ask_unknown("public_storage", "NIST-800-53 AC-3", unsure) if {
	config.on.public_storage
	not config.unknown_denies.public_storage
	some unsure in storage_unknown
}

storage_open contains [i, field, value] if {
	some type, fields in storage_types
	some i in changes.by_type[type]
	some field, open in fields
	value := input.change_set.changes[i].after[field]
	value in open
}

# Lists, and what stands in blocks.
storage_open contains [i, field, value] if {
	some [type, field, open] in storage_listed
	some i in changes.by_type[type]
	some value in changes.values(input.change_set.changes[i].after, field)
	value in open
}

storage_types := config.settings.public_storage.types

storage_listed := {[type, field, open] |
	some type, fields in storage_types
	some field, open in fields
	not true in open
	not false in open
}

storage_open contains [view.i, field, value] if {
	some view in storage_views
	some field, open in config.settings.public_storage.fields
	some value in changes.values(view.attrs, field)
	value in open
}

storage_unknown contains {"address": changes.address(i), "what": field} if {
	some i in changes.unsure
	some field, _ in storage_types[input.change_set.changes[i].type]
	changes.hidden(i, "", field)
}

storage_unknown contains {"address": changes.address(view.i), "what": field} if {
	some view in storage_views
	count(input.change_set.changes[view.i].unknown) > 0
	some field, _ in config.settings.public_storage.fields
	changes.hidden(view.i, view.at, field)
}

# All of what a tool is given may be unknown.
storage_unknown contains {"address": changes.address(view.i), "what": field} if {
	some view in storage_views
	count(input.change_set.changes[view.i].unknown) > 0
	some field in data.starter.nested
	not view.attrs[field]
	changes.hidden(view.i, view.at, field)
}

# What other tools make counts as storage by its type, its name, or the kind it gives itself.
storage_views := [view |
	some view in changes.views
	some word in config.settings.public_storage.words
	contains(view.text, word)
]
