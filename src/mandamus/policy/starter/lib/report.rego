# What rules say, in one form: who is told finds rule, control and address where a machine finds them, too.
package lib.report

import data.lib.config

# found: {"address", "msg", "remedy"}
violation(rule, control, found) := {
	"msg": found.msg,
	"remedy": found.remedy,
	"address": found.address,
	"meta": {"rule": rule, "control": control},
}

# unsure: {"address", "what"}: a value that a rule needs and that is known after apply only.
unknown(rule, control, unsure) := violation(rule, control, {
	"address": unsure.address,
	"msg": sprintf("%s: %s is not known before it is applied", [unsure.address, unsure.what]),
	"remedy": sprintf("give %s a value that the plan can show", [unsure.what]),
})

ask_unknown(rule, control, unsure) := _ask(rule, control, data.starter.approval, msg) if {
	msg := sprintf("%s: %s is not known before it is applied", [unsure.address, unsure.what])
}

# An approval by the group and the number of people that the rule's own settings give.
ask(rule, control, msg) := _ask(rule, control, config.settings[rule], msg)

_ask(rule, control, from, msg) := object.union(_group(from), {
	"count": from.count,
	"msg": msg,
	"meta": {"rule": rule, "control": control},
})

# Without a group, the environment's own approvers are asked.
_group(from) := {} if from.group == ""

_group(from) := {"group": from.group} if from.group != ""
