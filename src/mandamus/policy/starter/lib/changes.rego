# The change set, looked at once: what is made, by type, and how to find a value in it.
package lib.changes

import data.lib.config

_made_by := {"create", "update", "replace", "import", "run", "unknown"}

# Places in input.change_set.changes of what this run makes or changes; data sources are only read.
made := {i | some i in _makes; is_object(input.change_set.changes[i].after)}

# The same, but nothing says what becomes of it.
unseen := _makes - made

_makes := {i |
	some i, change in input.change_set.changes
	_made_by[change.action]
	not change.mode == "data"
}

# By type. A rule of its own holds the whole: asked key by key, OPA would go through all changes for each key.
by_type := _grouped

_grouped[type] contains i if {
	some i in made
	type := input.change_set.changes[i].type
}

# Changes of tools and providers whose types no table knows.
untyped contains i if {
	some type, places in by_type
	not _typed(type)
	some i in places
}

_typed(type) if strings.any_prefix_match(type, data.starter.typed)

# What these say, as objects to look at: the attributes, and what stands under the names where tools put the object
# itself (`input` of terraform_data, `json` of a request, `manifest` and its `spec`), two levels deep.
# `at` is the JSON pointer of `attrs` in `after`; `text` is what names the kind of thing.
views := array.concat(_outer, array.concat(_inner, _innermost))

_outer := [view |
	some i in untyped
	change := input.change_set.changes[i]
	view := _view(i, "", change.after, sprintf("%s %s", [change.type, change.name]))
]

_inner := [view | some outer in _outer; some view in _below(outer)]

_innermost := [view | some outer in _inner; some view in _below(outer)]

_below(outer) := [view |
	some key, given in object.filter(outer.attrs, data.starter.nested)
	some place in _places(_read(given))
	view := _view(outer.i, sprintf("%s/%s%s", [outer.at, key, place.at]), place.value, outer.text)
]

_places(value) := [{"at": "", "value": value}] if is_object(value)

_places(value) := [{"at": sprintf("/%d", [n]), "value": item} |
	some n, item in value
	is_object(item)
] if {
	is_array(value)
}

# A body that is text counts as what it holds when it is JSON.
_read(given) := given if not is_string(given)

_read(given) := json.unmarshal(given) if {
	is_string(given)
	json.is_valid(given)
}

_view(i, at, attrs, text) := {"i": i, "at": at, "attrs": attrs, "text": lower(concat(" ", array.concat([text], kinds)))} if {
	kinds := [kind | some kind in object.filter(attrs, ["kind", "type"]); is_string(kind)]
}

address(i) := input.change_set.changes[i].address

# The values at a path such as "settings.ip_configuration.authorized_networks.value"; lists on the way are looked
# through, and null is no value.
values(attrs, path) := [v | some v in items(attrs[path])] if not contains(path, ".")

values(attrs, path) := _deep(attrs, split(path, ".")) if contains(path, ".")

_deep(attrs, [a, b]) := [v | some x in items(attrs[a]); some v in items(x[b])]

_deep(attrs, [a, b, c]) := [v | some x in items(attrs[a]); some y in items(x[b]); some v in items(y[c])]

_deep(attrs, [a, b, c, d]) := [v |
	some x in items(attrs[a])
	some y in items(x[b])
	some z in items(y[c])
	some v in items(z[d])
]

items(value) := value if is_array(value)

items(value) := [] if value == null

items(value) := [value] if {
	not is_array(value)
	value != null
}

# Whether the value at a path below the pointer `at`, or a part of it, or what it is a part of, is not known yet.
hidden(i, at, path) if {
	i in unsure
	some pointer in input.change_set.changes[i].unknown
	_covers(_plain(pointer), concat("/", [_plain(at), replace(path, ".", "/")]))
}

# Most of what is unknown is of no interest to any rule (ids, for example), and most changes of a type have the same
# unknowns: each list of pointers is looked at once.
unsure contains i if {
	some i in made
	input.change_set.changes[i].unknown in _lists_of_interest
}

_lists_of_interest := {list | some list in _lists; _interesting(list)}

_lists := {list | some i in made; list := input.change_set.changes[i].unknown}

_interesting(list) if strings.any_prefix_match(list, _of_interest)

_interesting(list) if "" in list

unsure contains i if {
	some i in untyped
	count(input.change_set.changes[i].unknown) > 0
}

_of_interest := {concat("", ["/", split(path, ".")[0]]) | some path in _paths}

_paths contains path if {
	some table in [
		config.settings.public_storage.types,
		config.settings.encryption_at_rest.types,
		config.settings.encryption_at_rest.blocks,
		config.settings.encryption_at_rest.keys,
		config.settings.wildcard_iam.documents,
		config.settings.wildcard_iam.broad,
	]
	some of_type in table
	some path in _names(of_type)
}

_paths contains path if {
	some price in config.settings.cost_limit.prices
	some key in ["field", "times"]
	path := price[key]
}

_paths contains path if some path in _noted | _network

_paths contains path if some path in config.settings.required_tags.fields

_network := {
	"ingress", "cidr_blocks", "ipv6_cidr_blocks", "cidr_ipv4", "cidr_ipv6", "security_rule", "source_address_prefix",
	"source_address_prefixes", "source_ranges", "settings",
}

_names(table) := object.keys(table) if is_object(table)

_names(list) := list if is_array(list)

# Numbers in a pointer are places in lists, which a path leaves out.
_plain(pointer) := concat("/", [part | some part in split(pointer, "/"); not regex.match(`^[0-9]+$`, part)])

_covers(pointer, wanted) if pointer == wanted

_covers(pointer, wanted) if startswith(pointer, concat("", [wanted, "/"]))

_covers(pointer, wanted) if startswith(wanted, concat("", [pointer, "/"]))

# What is said of regions and sizes, wherever it stands, as pairs: most of a plan says the same few things.
said := {[field, value] |
	some i in made
	some field, value in object.filter(input.change_set.changes[i].after, _noted)
} | {[field, value] |
	some view in views
	view.at != ""
	some field, value in object.filter(view.attrs, _noted)
}

# The addresses of what says so.
saying(field, value) := {address(i) |
	some i in made
	input.change_set.changes[i].after[field] == value
} | {address(view.i) |
	some view in views
	view.attrs[field] == value
}

_noted := {field | some field in config.settings.region_allowed.fields} | {field |
	some table in ["numbers_max", "names"]
	some field, _ in config.settings.size_limits[table]
}
