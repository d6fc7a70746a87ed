# How the set is configured: data.json, then what it says for this environment, then what it takes from `vars`.
package lib.config

environment := object.get(input, ["environment", "name"], "")

# Where it matters: by name, or because the platform protects it.
production if {
	some pattern in data.starter.production.names
	glob.match(pattern, null, environment)
}

production if {
	data.starter.production.protected
	input.environment.protected
}

# The settings of each rule. Objects are merged, everything else is replaced.
settings[rule] := object.union_n(array.concat([base], array.concat(_here(rule), [_given(rule)]))) if {
	some rule, base in data.starter.rules
}

_here(rule) := [own |
	some pattern, rules in data.starter.environments
	glob.match(pattern, null, environment)
	own := rules[rule]
]

# A variable of the environment counts only where data.json names it, and only when it has the setting's own type.
_given(rule) := {setting: value |
	some path, name in data.starter.from_vars
	startswith(path, concat("", [rule, "."]))
	setting := substring(path, count(rule) + 1, -1)
	value := input.environment.vars[name]
	type_name(value) == type_name(data.starter.rules[rule][setting])
}

# Whether a rule is to judge this run: nothing but a plain `false` switches it off.
on[rule] if {
	some rule, set in settings
	not set.enabled == false
	_applies(set.applies_to)
}

_applies("production") if production

_applies("all") := true

_applies(patterns) if {
	is_array(patterns)
	some pattern in patterns
	glob.match(pattern, null, environment)
}

# Whether a value that is not known yet is a no; everything but the one word that says otherwise means no.
unknown_denies[rule] if {
	some rule, set in settings
	not set.unknown == "require_approval"
}
