# What lets whom in: the ways in which tools write it, in one form {"i", "sources", "ranges"}.
package lib.network

import data.lib.changes
import data.lib.config

openings contains opening if {
	some type in ["aws_security_group", "aws_default_security_group"]
	some i in changes.by_type[type]
	some rule in changes.values(input.change_set.changes[i].after, "ingress")
	opening := _aws(i, rule)
}

openings contains opening if {
	some type in ["aws_security_group_rule", "aws_vpc_security_group_ingress_rule"]
	some i in changes.by_type[type]
	rule := input.change_set.changes[i].after
	object.get(rule, "type", "ingress") == "ingress"
	opening := _aws(i, rule)
}

openings contains {"i": i, "sources": sources, "ranges": ranges} if {
	some [i, rule] in _azure
	_word(rule, "access", "ALLOW") == "ALLOW"
	_word(rule, "direction", "INBOUND") == "INBOUND"
	sources := _all(rule, ["source_address_prefix", "source_address_prefixes"])
	ranges := _ranges(_all(rule, ["destination_port_range", "destination_port_ranges"]))
}

openings contains {"i": i, "sources": [after.start_ip_address], "ranges": [[0, 65535]]} if {
	some type, places in changes.by_type
	startswith(type, "azurerm_")
	endswith(type, "_firewall_rule")
	some i in places
	after := input.change_set.changes[i].after
}

openings contains {"i": i, "sources": sources, "ranges": ranges} if {
	some i in changes.by_type.google_compute_firewall
	after := input.change_set.changes[i].after
	not after.disabled == true
	not after.direction == "EGRESS"
	sources := changes.values(after, "source_ranges")
	some rule in changes.values(after, "allow")
	ranges := _ranges(changes.values(rule, "ports"))
}

openings contains {"i": i, "sources": sources, "ranges": [[0, 65535]]} if {
	some i in changes.by_type.google_sql_database_instance
	sources := changes.values(input.change_set.changes[i].after, "settings.ip_configuration.authorized_networks.value")
}

openings contains {"i": view.i, "sources": sources, "ranges": ranges} if {
	some view in changes.views
	some rule in _rules(view.attrs)
	sources := _all(rule, _source_fields)
	count(sources) > 0
	ranges := _written(rule)
}

_source_fields := [
	"cidr", "cidrs", "cidr_block", "cidr_blocks", "cidrBlocks", "ipv6_cidr_blocks", "source", "sources", "source_ranges",
	"sourceRanges", "loadBalancerSourceRanges", "allowed_cidrs", "from",
]

_rules(attrs) := array.concat([attrs], [rule |
	some field in ["ingress", "inbound", "rules", "allow", "security_rule"]
	some rule in changes.values(attrs, field)
	is_object(rule)
])

_azure contains [i, input.change_set.changes[i].after] if some i in changes.by_type.azurerm_network_security_rule

_azure contains [i, rule] if {
	some i in changes.by_type.azurerm_network_security_group
	some rule in changes.values(input.change_set.changes[i].after, "security_rule")
	is_object(rule)
}

_word(rule, key, otherwise) := upper(value) if {
	value := object.get(rule, key, otherwise)
	is_string(value)
}

_aws(i, rule) := {"i": i, "sources": sources, "ranges": [range]} if {
	is_object(rule)
	protocol := lower(sprintf("%v", [object.get(rule, "protocol", object.get(rule, "ip_protocol", "-1"))]))
	not protocol in {"icmp", "icmpv6", "1", "58"}
	sources := _all(rule, ["cidr_blocks", "ipv6_cidr_blocks", "cidr_ipv4", "cidr_ipv6"])
	range := _between(protocol, object.get(rule, "from_port", null), object.get(rule, "to_port", null))
}

_between(protocol, from, to) := [from, to] if {
	not protocol in {"-1", "all"}
	is_number(from)
	is_number(to)
}

else := [0, 65535]

# A range that two fields give, else what is written as a port or a list of ports, else every port.
_written(rule) := [[rule.from_port, rule.to_port]] if {
	is_number(rule.from_port)
	is_number(rule.to_port)
}

else := _ranges(_all(rule, ["port", "ports", "from_port", "port_range"]))

_all(rule, fields) := [value | some field in fields; some value in changes.values(rule, field)]

_ranges([]) := [[0, 65535]]

_ranges(ports) := [_range(port) | some port in ports] if count(ports) > 0

_range(port) := [port, port] if is_number(port)

else := [to_number(from), to_number(to)] if {
	is_string(port)
	regex.match(`^[0-9]+(-[0-9]+)?$`, port)
	parts := split(port, "-")
	from := parts[0]
	to := parts[count(parts) - 1]
}

else := [port.port, port.port] if is_number(port.port)

else := [0, 65535]

# The whole internet, or so much of it that it comes to the same.
public(source) if {
	is_string(source)
	lower(source) in {"*", "any", "internet", "all", "0.0.0.0", "::"}
}

public(source) if {
	is_string(source)
	regex.match(`^[0-9]+(\.[0-9]+){3}/[0-9]+$`, source)
	to_number(split(source, "/")[1]) < config.settings.public_network.ipv4_bits_min
}

public(source) if {
	is_string(source)
	regex.match(`^[0-9a-fA-F:.]*:[0-9a-fA-F:.]*/[0-9]+$`, source)
	to_number(split(source, "/")[1]) < config.settings.public_network.ipv6_bits_min
	not regex.match(`^[fF][c-dC-D]`, source)
}

allowed([from, to]) if {
	ports := config.settings.public_network.allowed_ports
	to - from < count(ports)
	floor(from) == from
	floor(to) == to
	every port in numbers.range(from, to) {
		port in ports
	}
}

named([0, 65535]) := "every port"

named([from, to]) := sprintf("port %v", [from]) if from == to

named([from, to]) := sprintf("ports %v to %v", [from, to]) if {
	from != to
	[from, to] != [0, 65535]
}

_needed := {
	"aws_security_group": ["ingress"],
	"aws_default_security_group": ["ingress"],
	"aws_security_group_rule": ["cidr_blocks", "ipv6_cidr_blocks"],
	"aws_vpc_security_group_ingress_rule": ["cidr_ipv4", "cidr_ipv6"],
	"azurerm_network_security_group": ["security_rule"],
	"azurerm_network_security_rule": ["source_address_prefix", "source_address_prefixes"],
	"google_compute_firewall": ["source_ranges"],
	"google_sql_database_instance": ["settings.ip_configuration.authorized_networks.value"],
}

unknown contains {"address": changes.address(i), "what": field} if {
	some i in changes.unsure
	some field in _needed[input.change_set.changes[i].type]
	changes.hidden(i, "", field)
	not _elsewhere(i, field)
}

unknown contains {"address": changes.address(view.i), "what": field} if {
	some view in changes.views
	count(input.change_set.changes[view.i].unknown) > 0
	some field in ["cidr", "cidr_blocks", "source_ranges", "ingress", "rules"]
	changes.hidden(view.i, view.at, field)
	not view.attrs[field]
}

_elsewhere(i, "ingress") if {
	config.settings.public_network.ingress_may_be_elsewhere
	"/ingress" in input.change_set.changes[i].unknown
}
