package public_network_test

import data.lib.fixtures
import data.mandamus.plan

rule := "public_network"

group(sources, from, to, protocol) := fixtures.change("aws_security_group", {"ingress": [{
	"cidr_blocks": sources,
	"ipv6_cidr_blocks": [],
	"from_port": from,
	"to_port": to,
	"protocol": protocol,
}]})

denies(change) if count(fixtures.denied(rule, plan.deny)) == 1 with input as fixtures.plan([change])

asks(change) if fixtures.asked(rule, plan.require_approval) == 1 with input as fixtures.plan([change])

test_everybody_on_ssh if denies(group(["0.0.0.0/0"], 22, 22, "tcp"))

test_half_the_internet_is_everybody if denies(group(["128.0.0.0/1"], 22, 22, "tcp"))

test_every_protocol_is_every_port if denies(group(["0.0.0.0/0"], 0, 0, "-1"))

test_a_range_that_holds_an_allowed_port if denies(group(["0.0.0.0/0"], 400, 500, "tcp"))

test_an_allowed_port if not denies(group(["0.0.0.0/0"], 443, 443, "tcp"))

test_a_private_network if not denies(group(["10.0.0.0/8"], 22, 22, "tcp"))

test_ipv6 if denies(fixtures.change("aws_vpc_security_group_ingress_rule", {
	"cidr_ipv6": "::/0",
	"from_port": 22,
	"to_port": 22,
	"ip_protocol": "tcp",
}))

test_a_rule_of_its_own if denies(fixtures.change("aws_security_group_rule", {
	"type": "ingress",
	"cidr_blocks": ["0.0.0.0/0"],
	"from_port": 22,
	"to_port": 22,
	"protocol": "tcp",
}))

test_egress_is_not_judged if not denies(fixtures.change("aws_security_group_rule", {
	"type": "egress",
	"cidr_blocks": ["0.0.0.0/0"],
	"from_port": 0,
	"to_port": 0,
	"protocol": "-1",
}))

test_azure if denies(fixtures.change("azurerm_network_security_rule", {
	"access": "Allow",
	"direction": "Inbound",
	"source_address_prefix": "Internet",
	"destination_port_range": "20-25",
}))

test_azure_group if denies(fixtures.change("azurerm_network_security_group", {"security_rule": [{
	"access": "Allow",
	"direction": "Inbound",
	"source_address_prefix": "*",
	"destination_port_range": "*",
}]}))

test_azure_database if denies(fixtures.change("azurerm_mssql_firewall_rule", {
	"start_ip_address": "0.0.0.0",
	"end_ip_address": "255.255.255.255",
}))

test_google if denies(fixtures.change("google_compute_firewall", {
	"source_ranges": ["0.0.0.0/0"],
	"allow": [{"protocol": "tcp", "ports": ["22"]}],
}))

test_google_database if denies(fixtures.change("google_sql_database_instance", {"settings": [{"ip_configuration": [{
	"authorized_networks": [{"value": "0.0.0.0/0"}],
}]}]}))

test_other_tool if denies(fixtures.request({"rules": [{"cidr": "0.0.0.0/0", "port": 22}]}))

test_other_tool_on_an_allowed_port if not denies(fixtures.request({"rules": [{"cidr": "0.0.0.0/0", "port": 443}]}))

test_unknown_asks if asks(fixtures.hiding("aws_security_group", {}, ["/ingress"]))

test_unknown_elsewhere_asks_nobody if {
	not asks(fixtures.hiding("aws_security_group", {}, ["/ingress"])) with data.starter.rules.public_network.ingress_may_be_elsewhere as true
}

test_unknown_of_another_tool_asks if asks(fixtures.hiding("firewall", {}, ["/cidr"]))

test_unknown_denies_on_request if {
	denies(fixtures.hiding("aws_security_group", {}, ["/ingress"])) with data.starter.rules.public_network.unknown as "deny"
}

test_switched_off if not denies(group(["0.0.0.0/0"], 22, 22, "tcp")) with data.starter.rules.public_network.enabled as false
