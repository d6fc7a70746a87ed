package required_tags_test

import data.lib.fixtures
import data.mandamus.plan

rule := "required_tags"

denies(change) if count(fixtures.denied(rule, plan.deny)) == 1 with input as fixtures.plan([change])

asks(change) if fixtures.asked(rule, plan.require_approval) > 0 with input as fixtures.plan([change])

test_missing if denies(fixtures.change("aws_s3_bucket", {"tags": {"owner": "a"}}))

test_none if denies(fixtures.change("aws_s3_bucket", {"tags": null}))

test_empty if denies(fixtures.change("aws_s3_bucket", {"tags": {"owner": "", "environment": "prod"}}))

test_all if not denies(fixtures.change("aws_s3_bucket", {"tags": {"owner": "a", "environment": "prod"}}))

test_in_capitals if not denies(fixtures.change("aws_s3_bucket", {"tags": {"Owner": "a", "Environment": "prod"}}))

test_by_the_provider if not denies(fixtures.change("aws_s3_bucket", {
	"tags": {"owner": "a"},
	"tags_all": {"owner": "a", "environment": "prod"},
}))

test_cannot_carry_any if not denies(fixtures.change("aws_s3_bucket_acl", {"acl": "private"}))

test_excepted if not denies(fixtures.change("aws_iam_role", {"tags": null}))

test_labels if denies(fixtures.change("google_storage_bucket", {"labels": {"owner": "a"}}))

test_a_value_off_the_list if {
	denies(fixtures.change("aws_s3_bucket", {"tags": {"owner": "a", "environment": "moon"}})) with data.starter.rules.required_tags.values as {"environment": ["prod"]}
}

test_a_value_on_the_list if {
	not denies(fixtures.change("aws_s3_bucket", {"tags": {"owner": "a", "environment": "prod"}})) with data.starter.rules.required_tags.values as {"environment": ["prod"]}
}

test_other_tool if denies(fixtures.request({"kind": "bucket", "tags": {"owner": "a"}}))

test_kubernetes if {
	denies(fixtures.change("kubernetes_manifest", {"manifest": {"metadata": {"labels": {"owner": "a"}}}}))
	not denies(fixtures.change("kubernetes_manifest", {"manifest": {"metadata": {"labels": {
		"owner": "a",
		"environment": "prod",
	}}}}))
}

test_unknown_asks if {
	asks(fixtures.hiding("aws_s3_bucket", {}, ["/tags_all"]))
	not denies(fixtures.hiding("aws_s3_bucket", {}, ["/tags_all"]))
}

test_one_unknown_asks if asks(fixtures.hiding("aws_s3_bucket", {"tags": {"environment": "prod"}}, ["/tags/owner"]))

test_unknown_but_all_there_asks_nobody if not asks(fixtures.hiding(
	"aws_s3_bucket",
	{"tags": {"owner": "a", "environment": "prod"}},
	["/tags_all"],
))

test_unknown_denies_on_request if {
	denies(fixtures.hiding("aws_s3_bucket", {}, ["/tags_all"])) with data.starter.rules.required_tags.unknown as "deny"
}
