package public_storage_test

import data.lib.fixtures
import data.mandamus.plan

rule := "public_storage"

denies(change) if count(fixtures.denied(rule, plan.deny)) == 1 with input as fixtures.plan([change])

asks(change) if fixtures.asked(rule, plan.require_approval) == 1 with input as fixtures.plan([change])

test_acl if denies(fixtures.change("aws_s3_bucket_acl", {"acl": "public-read"}))

test_private_acl if not denies(fixtures.change("aws_s3_bucket_acl", {"acl": "private"}))

test_grant if denies(fixtures.change("aws_s3_bucket_acl", {"access_control_policy": [{"grant": [{"grantee": [{
	"uri": "http://acs.amazonaws.com/groups/global/AllUsers",
}]}]}]}))

test_block_taken_away if denies(fixtures.change("aws_s3_bucket_public_access_block", {"block_public_acls": false}))

test_azure if denies(fixtures.change("azurerm_storage_container", {"container_access_type": "blob"}))

test_google_list if denies(fixtures.change("google_storage_bucket_iam_binding", {"members": ["allUsers"]}))

test_database if denies(fixtures.change("aws_db_instance", {"publicly_accessible": true}))

test_terraform_data if denies(object.union(
	fixtures.change("terraform_data", {"input": {"name": "ledger", "public": true}}),
	{"name": "bucket"},
))

test_private_terraform_data if not denies(object.union(
	fixtures.change("terraform_data", {"input": {"name": "ledger", "public": false}}),
	{"name": "bucket"},
))

test_other_tool if denies(fixtures.request({"kind": "storage_bucket", "acl": "public-read"}))

test_other_tool_in_text if denies(fixtures.change("http", {"body": `{"kind": "bucket", "public": true}`}))

test_not_storage if not denies(fixtures.request({"kind": "web_page", "public": true}))

test_unknown_asks if asks(fixtures.hiding("aws_s3_bucket_acl", {}, ["/acl"]))

test_unknown_of_another_tool_asks if asks(fixtures.hiding("bucket", {"input": {}}, ["/input/public"]))

test_all_unknown_of_another_tool_asks if asks(fixtures.hiding("bucket", {}, ["/input"]))

test_unknown_denies_on_request if {
	denies(fixtures.hiding("aws_s3_bucket_acl", {}, ["/acl"])) with data.starter.rules.public_storage.unknown as "deny"
}

test_what_is_kept_is_not_judged if not denies(object.union(
	fixtures.change("aws_s3_bucket_acl", {"acl": "public-read"}),
	{"action": "noop"},
))
