package mandamus.plan

import data.lib.changes
import data.lib.config
import data.lib.report

# METADATA
# title: Tags that everything carries
# description: Something that can carry tags or labels lacks one that is required, or has a value that is not on the list.
# custom:
#   rule: required_tags
#   control: NIST-800-53 CM-8
deny contains report.violation("required_tags", "NIST-800-53 CM-8", found) if {
	config.on.required_tags
	some view in tags_doubtful
	some name in config.settings.required_tags.required
	tags_missing(tags_of(view.attrs), name)
	not tags_hidden(view, name)
	found := {
		"address": changes.address(view.i),
		"msg": sprintf("%s has no tag %s", [changes.address(view.i), name]),
		"remedy": sprintf("add %s to its tags or labels", [name]),
	}
}

deny contains report.violation("required_tags", "NIST-800-53 CM-8", found) if {
	config.on.required_tags
	some name, allowed in config.settings.required_tags.values
	some view in tags_views
	small := lower(name)
	some [given, value] in tags_of(view.attrs)
	given == small
	not value in allowed
	found := {
		"address": changes.address(view.i),
		"msg": sprintf("%s: tag %s is %v", [changes.address(view.i), name, value]),
		"remedy": sprintf("use one of %s", [concat(", ", allowed)]),
	}
}

deny contains report.unknown("required_tags", "NIST-800-53 CM-8", unsure) if {
	config.on.required_tags
	config.unknown_denies.required_tags
	some unsure in tags_unknown
}

require_approval contains report.ask_unknown("required_tags", "NIST-800-53 CM-8", unsure) if {
	config.on.required_tags
	not config.unknown_denies.required_tags
	some unsure in tags_unknown
}

tags_unknown contains {"address": changes.address(view.i), "what": sprintf("tag %s", [name])} if {
	some view in tags_doubtful
	some name in config.settings.required_tags.required
	tags_missing(tags_of(view.attrs), name)
	tags_hidden(view, name)
}

# Most carry all of them plainly, which is quickly seen.
tags_doubtful := [view |
	some view in array.concat(tags_not_plain, tags_below)
	not tags_plain(view.attrs)
	tags_can(view)
	not tags_excepted(input.change_set.changes[view.i].type)
]

tags_not_plain := [{"i": i, "at": "", "attrs": after} |
	some i in changes.made
	after := input.change_set.changes[i].after
	not tags_plain(after)
]

tags_plain(attrs) if {
	some field in config.settings.required_tags.fields
	tags := attrs[field]
	every name in config.settings.required_tags.required {
		not tags[name] in {"", null}
	}
}

# Whatever has a field for tags.
tags_views := [view |
	some view in tags_places
	tags_can(view)
	not tags_excepted(input.change_set.changes[view.i].type)
]

tags_places := array.concat(
	[{"i": i, "at": "", "attrs": input.change_set.changes[i].after} | some i in changes.made],
	tags_below,
)

tags_below := [view | some view in changes.views; view.at != ""]

tags_can(view) if {
	some field in config.settings.required_tags.fields
	_ = view.attrs[field]
}

tags_can(view) if _ = view.attrs.metadata.labels

tags_can(view) if {
	view.i in changes.unsure
	some field in config.settings.required_tags.fields
	sprintf("%s/%s", [view.at, field]) in input.change_set.changes[view.i].unknown
}

tags_excepted(type) if {
	some pattern in config.settings.required_tags.except_types
	glob.match(pattern, null, type)
}

# All tags as pairs, also where Kubernetes has them; names are compared in small letters.
tags_of(attrs) := {[lower(name), value] |
	some field in config.settings.required_tags.fields
	some place in [object.get(attrs, field, null), object.get(attrs, ["metadata", field], null)]
	is_object(place)
	some name, value in place
}

tags_missing(tags, name) if not tags_has(tags, lower(name))

tags_has(tags, small) if {
	some [name, value] in tags
	name == small
	not value in {"", null}
}

tags_hidden(view, name) if {
	some field in config.settings.required_tags.fields
	some pointer in input.change_set.changes[view.i].unknown
	lower(pointer) in tags_pointers(view.at, field, lower(name))
}

tags_pointers(at, field, name) := {sprintf("%s/%s", [at, field]), sprintf("%s/%s/%s", [at, field, name]), at}
