# Access rights: policy documents, as JSON text and as data, roles by name, and the rules of Kubernetes.
package lib.iam

import data.lib.changes
import data.lib.config

wildcards contains [document.address, what] if {
	some document in _documents
	some statement in changes.items(document.value.Statement)
	is_object(statement)
	object.get(statement, "Effect", "Allow") == "Allow"
	some what in _too_much(statement)
}

wildcards contains [changes.address(i), sprintf("%v by %s", [value, field])] if {
	some type, fields in config.settings.wildcard_iam.broad
	some i in changes.by_type[type]
	some field, patterns in fields
	some value in changes.values(input.change_set.changes[i].after, field)
	is_string(value)
	some pattern in patterns
	glob.match(pattern, null, value)
}

wildcards contains [changes.address(view.i), "every verb on every resource"] if {
	some view in changes.views
	some rule in changes.values(view.attrs, "rules")
	"*" in rule.verbs
	"*" in rule.resources
}

wildcards contains [changes.address(view.i), "everything, as cluster-admin"] if {
	some view in changes.views
	view.attrs.roleRef.name == "cluster-admin"
}

_too_much(statement) := array.concat(
	array.concat(
		["every action" | _has(statement, "Action", {"*", "*:*"})],
		["all but some actions" | count(changes.values(statement, "NotAction")) > 0],
	),
	array.concat(
		[sprintf("%s on everything", [action]) |
			config.settings.wildcard_iam.service_wildcards
			_has(statement, "Resource", {"*"})
			some action in changes.values(statement, "Action")
			is_string(action)
			regex.match(`^[^:*]+:\*$`, action)
		],
		["everybody" | _everybody(statement)],
	),
)

_has(statement, key, wanted) if {
	some value in changes.values(statement, key)
	value in wanted
}

# A condition may narrow it down; without any it is everybody.
_everybody(statement) if {
	not statement.Condition
	some value in array.concat(changes.values(statement, "Principal"), changes.values(statement, "Principal.AWS"))
	value == "*"
}

_documents contains {"address": changes.address(i), "value": _read(value)} if some [i, _, value] in _typed

_typed := [[i, field, value] |
	some type, fields in config.settings.wildcard_iam.documents
	some i in changes.by_type[type]
	some field in fields
	some value in changes.values(input.change_set.changes[i].after, field)
]

_documents contains {"address": changes.address(view.i), "value": _read(value)} if {
	some view in changes.views
	some field in config.settings.wildcard_iam.fields
	some value in changes.values(view.attrs, field)
}

_documents contains {"address": changes.address(view.i), "value": view.attrs} if {
	some view in changes.views
	view.attrs.Statement
}

_read(value) := value if is_object(value)

_read(value) := json.unmarshal(value) if {
	is_string(value)
	json.is_valid(value)
}

unknown contains {"address": changes.address(i), "what": field} if {
	some i in changes.unsure
	some field in config.settings.wildcard_iam.documents[input.change_set.changes[i].type]
	changes.hidden(i, "", field)
}

unknown contains {"address": changes.address(i), "what": field} if {
	some i in changes.unsure
	some field, _ in config.settings.wildcard_iam.broad[input.change_set.changes[i].type]
	changes.hidden(i, "", field)
}

unknown contains {"address": changes.address(view.i), "what": field} if {
	some view in changes.views
	count(input.change_set.changes[view.i].unknown) > 0
	some field in config.settings.wildcard_iam.fields
	changes.hidden(view.i, view.at, field)
}

# A text that should be a policy and is no JSON (a redacted one, for example) cannot be judged.
unknown contains {"address": changes.address(i), "what": sprintf("%s, which is not JSON,", [field])} if {
	some [i, field, value] in _typed
	is_string(value)
	not json.is_valid(value)
}
