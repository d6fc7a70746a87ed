"""The Kubernetes objects of a plan as Gatekeeper reviews them, and which constraint matches which, in Rego."""

from __future__ import annotations

DOCUMENT = """package mandamus.adapter

# What an admission controller would be asked about: objects that are made or changed.
operations := {
	"create": "CREATE",
	"import": "CREATE",
	"replace": "CREATE",
	"update": "UPDATE",
	"move": "UPDATE",
	"run": "CREATE",
	"unknown": "CREATE",
}

changes := [change | some change in input.change_set.changes; operations[change.action]]

# A resource that is a manifest and cannot be read would pass unseen.
readable if {
	is_array(input.change_set.changes)
	every change in changes {
		not unreadable(change)
	}
}

unreadable(change) if {
	change.type in {"kubernetes_manifest", "kubectl_manifest"}
	not manifest_of(object.get(change, "after", null))
}

manifest_of(value) := value if {
	is_string(value.apiVersion)
	is_string(value.kind)
} else := value.manifest if {
	is_string(value.manifest.apiVersion)
	is_string(value.manifest.kind)
} else := parsed if {
	parsed := yaml.unmarshal(value.yaml_body)
	is_string(parsed.apiVersion)
	is_string(parsed.kind)
}

objects := [reviewed(change, manifest_of(change.after)) | some change in changes]

reviewed(change, manifest) := {
	"address": change.address,
	"group": group_of(manifest),
	"kind": manifest.kind,
	"name": text(manifest, "name"),
	"namespace": namespace_of(manifest),
	"scope": scope_of(manifest),
	"labels": labels_of(manifest),
	"review": object.union(
		{
			"uid": "",
			"kind": {"group": group_of(manifest), "version": version_of(manifest), "kind": manifest.kind},
			"name": text(manifest, "name"),
			"operation": operations[change.action],
			"userInfo": {"username": user, "groups": groups},
			"object": manifest,
			"oldObject": old_of(change),
			"dryRun": false,
		},
		{"namespace": namespace | some namespace in [text(manifest, "namespace")]; namespace != ""},
	),
}

user := object.get(input, ["run", "requester", "user"], "")

groups := object.get(input, ["run", "requester", "groups"], [])

old_of(change) := manifest_of(object.get(change, "before", null))

old_of(change) := null if not manifest_of(object.get(change, "before", null))

text(manifest, key) := value if {
	value := object.get(manifest, ["metadata", key], "")
	is_string(value)
} else := ""

group_of(manifest) := group if {
	[group, _] := split(manifest.apiVersion, "/")
} else := ""

version_of(manifest) := version if {
	[_, version] := split(manifest.apiVersion, "/")
} else := manifest.apiVersion

labels_of(manifest) := labels if {
	labels := object.get(manifest, ["metadata", "labels"], {})
	is_object(labels)
} else := {}

# A namespace stands in itself.
namespace_of(manifest) := text(manifest, "name") if is_namespace(manifest)

namespace_of(manifest) := text(manifest, "namespace") if not is_namespace(manifest)

is_namespace(manifest) if {
	manifest.apiVersion == "v1"
	manifest.kind == "Namespace"
}

cluster_kinds := {
	"APIService", "CertificateSigningRequest", "ClusterIssuer", "ClusterRole", "ClusterRoleBinding",
	"ComponentStatus", "CSIDriver", "CSINode", "CustomResourceDefinition", "FlowSchema", "IngressClass",
	"MutatingWebhookConfiguration", "Namespace", "Node", "PersistentVolume", "PodSecurityPolicy",
	"PriorityClass", "PriorityLevelConfiguration", "RuntimeClass", "StorageClass",
	"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration",
	"VolumeAttachment",
}

scope_of(manifest) := "Namespaced" if {
	text(manifest, "namespace") != ""
} else := "Cluster" if {
	manifest.kind in cluster_kinds
} else := ""

# An object that does not say in which namespace it is matches every constraint that asks for one.
matches(match, o) if {
	match.source != "Generated"
	kind_matches(match.kinds, o)
	scope_matches(match.scope, o.scope)
	namespace_matches(match.namespaces, o.namespace)
	not namespace_excluded(match.excluded, o.namespace)
	glob.match(match.name, null, o.name)
	selects(match.labels, o.labels)
	namespace_selected(match.namespace_labels, o)
}

kind_matches([], _) := true

kind_matches(kinds, o) if {
	some each in kinds
	some group in each.groups
	group in {"*", o.group}
	some kind in each.kinds
	kind in {"*", o.kind}
}

scope_matches("*", _) := true

scope_matches(wanted, scope) if {
	wanted != "*"
	scope in {"", wanted}
}

namespace_matches([], _) := true

namespace_matches(_, "") := true

namespace_matches(patterns, namespace) if {
	some pattern in patterns
	glob.match(pattern, null, namespace)
}

namespace_excluded(patterns, namespace) if {
	namespace != ""
	some pattern in patterns
	glob.match(pattern, null, namespace)
}

# The labels of a namespace that the object only names are not known here, so the constraint counts.
namespace_selected(_, o) if o.kind != "Namespace"

namespace_selected(selector, o) if {
	o.kind == "Namespace"
	selects(selector, o.labels)
}

selects(selector, labels) if {
	every key, value in selector.labels {
		labels[key] == value
	}
	every expression in selector.expressions {
		holds(expression.operator, expression, labels)
	}
}

holds("In", expression, labels) if is_one_of(expression, labels)

is_one_of(expression, labels) if labels[expression.key] in expression.values

holds("NotIn", expression, labels) if not is_one_of(expression, labels)

holds("Exists", expression, labels) if expression.key in object.keys(labels)

holds("DoesNotExist", expression, labels) if not expression.key in object.keys(labels)

# What a rule can compare with: the objects of this plan, and those that the set brings in `inventory/data.json`.
inventory := object.union(brought, {"namespace": of_namespaces, "cluster": of_cluster})

default brought := {}

brought := data.inventory if is_object(data.inventory)

of_namespaces[namespace][version][kind][name] := found if {
	some o in objects
	o.scope != "Cluster"
	found := o.review.object
	[namespace, version, kind, name] := [o.namespace, found.apiVersion, found.kind, o.name]
}

of_cluster[version][kind][name] := found if {
	some o in objects
	o.scope == "Cluster"
	found := o.review.object
	[version, kind, name] := [found.apiVersion, found.kind, o.name]
}
"""
