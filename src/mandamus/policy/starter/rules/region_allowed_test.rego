package region_allowed_test

import data.lib.fixtures
import data.mandamus.plan

rule := "region_allowed"

denies(change) if count(fixtures.denied(rule, plan.deny)) == 1 with input as fixtures.plan([change])

asks(change) if fixtures.asked(rule, plan.require_approval) == 1 with input as fixtures.plan([change])

with_provider(provider, variables) := object.union(fixtures.plan([fixtures.change("aws_sns_topic", {})]), {"native": {
	"terraform": {"configuration": {"provider_config": {"aws": provider}}, "variables": variables},
}})

test_elsewhere if denies(fixtures.change("aws_instance", {"availability_zone": "us-east-1a"}))

test_here if not denies(fixtures.change("aws_instance", {"availability_zone": "eu-west-1a"}))

test_zone_of_a_named_region if {
	not denies(fixtures.change("aws_instance", {"availability_zone": "sa-east-1b"})) with data.starter.rules.region_allowed.allowed as ["sa-east-1"]
}

test_longer_name_is_another_region if {
	denies(fixtures.change("azurerm_linux_virtual_machine", {"location": "westus2"})) with data.starter.rules.region_allowed.allowed as ["westus"]
}

test_azure_as_people_write_it if not denies(fixtures.change("azurerm_storage_account", {"location": "West Europe"}))

test_azure_elsewhere if denies(fixtures.change("azurerm_storage_account", {"location": "East US"}))

test_google if denies(fixtures.change("google_compute_disk", {"zone": "us-central1-a"}))

test_scope if denies(object.union(fixtures.change("thing", {}), {"scope": {"region": "us-east-1"}}))

test_other_tool if denies(fixtures.request({"kind": "bucket", "region": "us-east-1"}))

test_other_tool_here if not denies(fixtures.request({"kind": "bucket", "region": "eu-west-1"}))

test_provider if {
	said := fixtures.denied(rule, plan.deny) with input as with_provider(
		{"expressions": {"region": {"constant_value": "us-east-1"}}},
		{},
	)
	said == {"provider aws"}
}

test_provider_by_variable if {
	said := fixtures.denied(rule, plan.deny) with input as with_provider(
		{"expressions": {"region": {"references": ["var.region"]}}},
		{"region": {"value": "us-east-1"}},
	)
	said == {"provider aws"}
}

test_provider_by_local_asks if {
	said := fixtures.asked(rule, plan.require_approval) with input as with_provider(
		{"expressions": {"region": {"references": ["local.region"]}}},
		{},
	)
	said == 1
}

test_unknown_asks if asks(fixtures.hiding("azurerm_storage_account", {}, ["/location"]))

test_zone_within_a_known_region_asks_nobody if not asks(fixtures.hiding(
	"aws_instance",
	{"region": "eu-west-1"},
	["/availability_zone"],
))

test_unknown_denies_on_request if {
	denies(fixtures.hiding("google_compute_disk", {}, ["/zone"])) with data.starter.rules.region_allowed.unknown as "deny"
}

test_zone_in_the_region_of_the_provider_asks_nobody if {
	said := fixtures.asked(rule, plan.require_approval) with input as object.union(
		with_provider({"expressions": {"region": {"constant_value": "eu-west-1"}}}, {}),
		fixtures.plan([fixtures.hiding("aws_instance", {}, ["/availability_zone"])]),
	)
	said == 0
}

test_zone_beside_another_region_asks if {
	said := fixtures.asked(rule, plan.require_approval) with input as fixtures.plan([
		fixtures.hiding("aws_instance", {}, ["/availability_zone"]),
		fixtures.change("azurerm_storage_account", {"location": "westeurope"}),
	])
	said == 1
}
