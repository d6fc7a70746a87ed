package mandamus.plan

import data.lib.changes
import data.lib.config
import data.lib.report

# METADATA
# title: Only in allowed regions
# description: Something is made in a region, zone or location that is not on the list, or by a provider that works in one.
# custom:
#   rule: region_allowed
#   control: NIST-800-53 SA-9(5)
deny contains report.violation("region_allowed", "NIST-800-53 SA-9(5)", found) if {
	config.on.region_allowed
	some region in regions
	not region_is_allowed(region)
	some address in region_of[region]
	found := {
		"address": address,
		"msg": sprintf("%s would be in %s, which is not an allowed region", [address, region]),
		"remedy": sprintf("use one of %s", [concat(", ", config.settings.region_allowed.allowed)]),
	}
}

deny contains report.unknown("region_allowed", "NIST-800-53 SA-9(5)", unsure) if {
	config.on.region_allowed
	config.unknown_denies.region_allowed
	some unsure in regions_unknown
}

require_approval contains report.ask_unknown("region_allowed", "NIST-800-53 SA-9(5)", unsure) if {
	config.on.region_allowed
	not config.unknown_denies.region_allowed
	some unsure in regions_unknown
}

# Most are in few regions, so each region is judged once.
regions contains region if {
	some [field, region] in changes.said
	region_fields[field]
}

regions contains region if {
	some i in changes.made
	region := input.change_set.changes[i].scope.region
}

regions contains region if some [_, region] in regions_of_providers

region_fields := {field | some field in config.settings.region_allowed.fields}

region_of[region] contains address if {
	some [field, region] in changes.said
	region_fields[field]
	some address in changes.saying(field, region)
}

region_of[region] contains changes.address(i) if {
	some region in regions
	some i in changes.made
	input.change_set.changes[i].scope.region == region
}

region_of[region] contains address if some [address, region] in regions_of_providers

# Most AWS resources do not say where they are: their provider does. Without any change there is nothing to judge.
regions_of_providers contains [sprintf("provider %s", [name]), region] if {
	count(changes.made) > 0
	some name, provider in input.native.terraform.configuration.provider_config
	region := region_of_provider(provider.expressions.region)
}

region_of_provider(expression) := expression.constant_value

region_of_provider(expression) := input.native.terraform.variables[name].value if {
	not expression.constant_value
	some reference in expression.references
	startswith(reference, "var.")
	name := trim_prefix(reference, "var.")
}

regions_unknown contains {"address": sprintf("provider %s", [name]), "what": "its region"} if {
	count(changes.made) > 0
	some name, provider in input.native.terraform.configuration.provider_config
	provider.expressions.region
	not region_of_provider(provider.expressions.region)
}

regions_unknown contains {"address": changes.address(i), "what": field} if {
	some i in changes.unsure
	unknown := input.change_set.changes[i].unknown
	some field, pointer in regions_needed
	pointer in unknown
	not region_elsewhere(i, pointer)
}

# A zone that the provider chooses lies in the provider's own region.
region_elsewhere(i, pointer) if {
	pointer in {"/availability_zone", "/zone"}
	count(regions_of_providers) > 0
	not input.change_set.changes[i].after.region
}

region_elsewhere(i, _) if {
	some field in config.settings.region_allowed.fields
	is_string(input.change_set.changes[i].after[field])
}

regions_needed := {field: sprintf("/%s", [field]) | some field in config.settings.region_allowed.fields}

region_is_allowed(region) if region in {null, ""}

region_is_allowed(region) if {
	is_string(region)
	small := replace(lower(region), " ", "")
	some pattern in config.settings.region_allowed.allowed
	region_matches(pattern, small)
}

region_matches(pattern, region) if glob.match(pattern, null, region)

# A zone of an allowed region: eu-west-1a, europe-west1-b.
region_matches(pattern, region) if {
	startswith(region, pattern)
	regex.match(`^-?[a-z]$`, substring(region, count(pattern), -1))
}
