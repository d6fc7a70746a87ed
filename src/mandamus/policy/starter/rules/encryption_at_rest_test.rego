package encryption_at_rest_test

import data.lib.fixtures
import data.mandamus.plan

rule := "encryption_at_rest"

denies(change) if count(fixtures.denied(rule, plan.deny)) == 1 with input as fixtures.plan([change])

asks(change) if fixtures.asked(rule, plan.require_approval) == 1 with input as fixtures.plan([change])

test_off if denies(fixtures.change("aws_ebs_volume", {"encrypted": false}))

test_left_out if denies(fixtures.change("aws_ebs_volume", {"size": 1}))

test_on if not denies(fixtures.change("aws_ebs_volume", {"encrypted": true}))

test_one_of_two if not denies(fixtures.change("aws_sqs_queue", {
	"sqs_managed_sse_enabled": null,
	"kms_master_key_id": "alias/a",
}))

test_in_a_block if not denies(fixtures.change("aws_opensearch_domain", {"encrypt_at_rest": [{"enabled": true}]}))

test_off_in_a_block if denies(fixtures.change("aws_opensearch_domain", {"encrypt_at_rest": [{"enabled": false}]}))

test_every_disk if denies(fixtures.change("aws_instance", {
	"root_block_device": [{"encrypted": true}],
	"ebs_block_device": [{"encrypted": true}, {"volume_size": 1}],
}))

test_disks_on if not denies(fixtures.change("aws_instance", {"root_block_device": [{"encrypted": true}]}))

test_azure if denies(fixtures.change("azurerm_mssql_database", {"transparent_data_encryption_enabled": false}))

test_own_key_only_on_request if {
	not denies(fixtures.change("google_storage_bucket", {}))
	denies(fixtures.change("google_storage_bucket", {})) with data.starter.rules.encryption_at_rest.customer_keys as true
}

test_other_tool if denies(fixtures.request({"kind": "volume", "encrypted": false}))

test_other_tool_on if not denies(fixtures.request({"kind": "volume", "encrypted": true}))

test_unknown_asks if {
	asks(fixtures.hiding("aws_ebs_volume", {}, ["/encrypted"]))
	not denies(fixtures.hiding("aws_ebs_volume", {}, ["/encrypted"]))
}

test_unknown_in_a_block_asks if asks(fixtures.hiding(
	"aws_instance",
	{"root_block_device": [{}]},
	["/root_block_device/0/encrypted"],
))

test_unknown_of_another_tool_asks if asks(fixtures.hiding("disk", {"input": {}}, ["/input/encrypted"]))

test_another_unknown_asks_nobody if not asks(fixtures.hiding("aws_ebs_volume", {"encrypted": true}, ["/id"]))

test_unknown_denies_on_request if {
	denies(fixtures.hiding("aws_ebs_volume", {}, ["/encrypted"])) with data.starter.rules.encryption_at_rest.unknown as "deny"
}
