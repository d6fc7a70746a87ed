# What the tests are made of: inputs in the platform's form, and what a rule said about them.
package lib.fixtures

change(type, after) := {
	"address": sprintf("%s.x", [type]),
	"type": type,
	"name": "x",
	"action": "create",
	"mode": "managed",
	"destructive": false,
	"before": null,
	"after": after,
	"unknown": [],
	"sensitive": [],
	"scope": null,
	"confidence": "exact",
}

# The same, with values that are known after apply only.
hiding(type, after, unknown) := object.union(change(type, after), {"unknown": unknown})

# A request of an http step.
request(json) := object.union(change("http", {"method": "POST", "url": "https://api.example.com", "json": json}), {
	"address": "call",
	"action": "run",
	"mode": "task",
	"confidence": "opaque",
})

gone(i) := object.union(change("aws_instance", null), {
	"address": sprintf("aws_instance.x[%d]", [i]),
	"action": "delete",
	"destructive": true,
	"before": {},
})

kept(i) := object.union(change("aws_instance", {}), {"address": sprintf("aws_instance.k[%d]", [i]), "action": "noop"})

at(point, environment) := {
	"point": point,
	"now": "2026-07-01T12:00:00.000000Z",
	"run": {
		"id": "run_1",
		"workflow": "bucket",
		"environment": environment,
		"requester": {"user": "ada", "authn": "os-user", "groups": ["developers"]},
		"makers": ["ada", "grace"],
		"inputs": {},
		"plan_only": false,
		"reason": "",
	},
	"environment": {"name": environment, "protected": environment == "prod", "vars": {}},
	"step": {"name": "bucket", "executor": "terraform", "attempt": 1},
}

plan(changes) := in_environment("prod", changes)

in_environment(environment, changes) := object.union(at("plan", environment), {"change_set": {
	"complete": true,
	"fidelity": "exact",
	"changes": changes,
}})

# The addresses that a rule says no to.
denied(rule, said) := {member.address | some member in said; member.meta.rule == rule}

# How many people a rule asks for, summed up over its members.
asked(rule, said) := sum([member.count | some member in said; member.meta.rule == rule])
