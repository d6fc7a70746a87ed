# What data.json may say: a misspelt setting is told rather than passed over.
package lib.shape

_every_rule := {"enabled": "boolean", "applies_to": "scope"}

_judging := object.union(_every_rule, {"unknown": "unknown"})

_people := object.union(_every_rule, {"group": "string", "count": "number"})

_calendar := object.union(_every_rule, {"zone": "string"})

_rules := {
	"public_network": object.union(_judging, {
		"allowed_ports": "array",
		"ipv4_bits_min": "number",
		"ipv6_bits_min": "number",
		"ingress_may_be_elsewhere": "boolean",
	}),
	"public_storage": object.union(_judging, {"types": "object", "words": "array", "fields": "object"}),
	"encryption_at_rest": object.union(_judging, {
		"customer_keys": "boolean",
		"types": "object",
		"blocks": "object",
		"keys": "object",
		"fields": "array",
		"off": "array",
	}),
	"required_tags": object.union(_judging, {
		"required": "array",
		"values": "object",
		"fields": "array",
		"except_types": "array",
	}),
	"region_allowed": object.union(_judging, {"allowed": "array", "fields": "array"}),
	"wildcard_iam": object.union(_judging, {
		"service_wildcards": "boolean",
		"documents": "object",
		"broad": "object",
		"fields": "array",
	}),
	"blast_radius": object.union(_judging, {
		"destroyed_max": "number",
		"share_percent_max": "number",
		"share_from": "number",
	}),
	"destructive_approval": _people,
	"size_limits": object.union(_judging, {
		"creates_max": "number",
		"creates_max_by_type": "object",
		"numbers_max": "object",
		"names": "object",
	}),
	"cost_limit": object.union(_judging, {"currency": "string", "added_per_month_max": "number", "prices": "object"}),
	"opaque_approval": object.union(_people, {"except_steps": "array", "reading_methods": "array"}),
	"executors": object.union(_every_rule, {"allowed": "array"}),
	"production_branch": object.union(_every_rule, {
		"from": "string",
		"branches": "array",
		"stated_by_groups": "array",
		"except_plan_only": "boolean",
	}),
	"change_freeze": object.union(_calendar, {"freezes": "array"}),
	"office_hours": object.union(_calendar, {"hours": "object", "holidays": "array"}),
	"requester_not_approver": _every_rule,
}

_top := {
	"production": "object",
	"approval": "object",
	"from_vars": "object",
	"environments": "object",
	"typed": "array",
	"nested": "array",
	"rules": "object",
}

# Read once: OPA takes what it reads of data apart anew each time.
_configured := data.starter.rules

problems contains "it does not give `starter`" if not data.starter

problems contains sprintf("`starter` has no `%s` of type %s", [key, type]) if {
	some key, type in _top
	type_name(object.get(data.starter, key, null)) != type
}

problems contains sprintf("rule `%s` has no setting `%s` of type %s", [rule, setting, type]) if {
	some rule, settings in _rules
	some setting, type in settings
	value := object.get(_configured, [rule, setting], null)
	not _is(type, value)
}

problems contains sprintf("there is no setting `%s` of rule `%s`", [setting, rule]) if {
	some rule, settings in _configured
	some setting in object.keys(settings) - object.keys(object.get(_rules, rule, {}))
}

problems contains sprintf("environment `%s`: `%s` of rule `%s` is no setting, or of another type", [name, setting, rule]) if {
	some name, rules in data.starter.environments
	some rule, settings in rules
	some setting, value in settings
	type := object.get(_rules, [rule, setting], "none")
	not _is(type, value)
}

problems contains sprintf("from_vars: `%s` is no setting", [path]) if {
	some path, _ in data.starter.from_vars
	not _known(split(path, "."))
}

_known([rule, setting]) if _rules[rule][setting]

_is(type, value) if type_name(value) == type

_is("scope", value) if value in {"all", "production"}

_is("scope", value) if is_array(value)

_is("unknown", value) if value in {"deny", "require_approval"}
