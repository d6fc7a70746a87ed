package wildcard_iam_test

import data.lib.fixtures
import data.mandamus.plan

rule := "wildcard_iam"

denies(change) if count(fixtures.denied(rule, plan.deny)) == 1 with input as fixtures.plan([change])

asks(change) if fixtures.asked(rule, plan.require_approval) == 1 with input as fixtures.plan([change])

policy(statement) := fixtures.change("aws_iam_policy", {"policy": json.marshal({"Statement": [statement]})})

test_every_action if denies(policy({"Effect": "Allow", "Action": "*", "Resource": "arn:aws:s3:::a"}))

test_every_action_in_a_list if denies(policy({"Effect": "Allow", "Action": ["s3:GetObject", "*"], "Resource": "a"}))

test_a_service_on_everything if denies(policy({"Effect": "Allow", "Action": "s3:*", "Resource": "*"}))

test_a_service_where_that_is_allowed if {
	not denies(policy({"Effect": "Allow", "Action": "s3:*", "Resource": "*"})) with data.starter.rules.wildcard_iam.service_wildcards as false
}

test_all_but_some if denies(policy({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}))

test_everybody if denies(fixtures.change("aws_s3_bucket_policy", {"policy": json.marshal({"Statement": {
	"Effect": "Allow",
	"Principal": {"AWS": "*"},
	"Action": "s3:GetObject",
	"Resource": "a",
}})}))

test_everybody_on_a_condition if not denies(fixtures.change("aws_s3_bucket_policy", {"policy": json.marshal({
	"Statement": [{
		"Effect": "Allow",
		"Principal": "*",
		"Action": "s3:GetObject",
		"Resource": "a",
		"Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}},
	}],
})}))

test_named if not denies(policy({"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::a/*"}))

test_a_no_may_be_broad if not denies(policy({"Effect": "Deny", "Action": "*", "Resource": "*"}))

test_inline if denies(fixtures.change("aws_iam_role", {"inline_policy": [{"policy": json.marshal({"Statement": [{
	"Effect": "Allow",
	"Action": "*",
	"Resource": "*",
}]})}]}))

test_administrator if denies(fixtures.change("aws_iam_role_policy_attachment", {
	"policy_arn": "arn:aws:iam::aws:policy/AdministratorAccess",
}))

test_azure_owner if denies(fixtures.change("azurerm_role_assignment", {"role_definition_name": "Owner"}))

test_azure_own_role if denies(fixtures.change("azurerm_role_definition", {"permissions": [{"actions": ["*"]}]}))

test_azure_named_action if not denies(fixtures.change("azurerm_role_definition", {"permissions": [{
	"actions": ["Microsoft.Storage/*/read"],
}]}))

test_google_owner if denies(fixtures.change("google_project_iam_member", {"role": "roles/owner", "member": "user:a"}))

test_google_everybody if denies(fixtures.change("google_project_iam_member", {
	"role": "roles/viewer",
	"member": "allUsers",
}))

test_kubernetes if denies(fixtures.change("kubernetes_manifest", {"manifest": {
	"kind": "ClusterRole",
	"rules": [{"verbs": ["*"], "resources": ["*"]}],
}}))

test_kubernetes_administrator if denies(fixtures.change("kubernetes_manifest", {"manifest": {
	"kind": "ClusterRoleBinding",
	"roleRef": {"name": "cluster-admin"},
}}))

test_other_tool_as_data if denies(fixtures.request({"policy": {"Statement": [{
	"Effect": "Allow",
	"Action": "*",
	"Resource": "*",
}]}}))

test_other_tool_as_the_document_itself if denies(fixtures.request({"Statement": [{"Action": "*", "Resource": "*"}]}))

test_unknown_asks if asks(fixtures.hiding("aws_iam_policy", {}, ["/policy"]))

test_unreadable_asks if asks(fixtures.change("aws_iam_policy", {"policy": "redacted:0123456789abcdef"}))

test_unknown_role_asks if asks(fixtures.hiding("azurerm_role_assignment", {}, ["/role_definition_name"]))

test_unknown_of_another_tool_asks if asks(fixtures.hiding("grant", {"input": {}}, ["/input/policy"]))

test_unknown_denies_on_request if {
	denies(fixtures.hiding("aws_iam_policy", {}, ["/policy"])) with data.starter.rules.wildcard_iam.unknown as "deny"
}
