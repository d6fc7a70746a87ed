"""Gatekeeper templates and constraints run as they are, over the Kubernetes objects of a plan."""

import json
import textwrap

import pytest

from mandamus.kernel.attachment import Attached, Level
from mandamus.kernel.errors import MandamusError
from mandamus.policy.model import Options, Outcome

GATEKEEPER = Options(profile="gatekeeper")


def template(kind, rego, *, libs=(), code=False):
    """A template file; the Rego of `code` stands in the newer place."""
    at = "      code:\n        - engine: Rego\n          source:\n" if code else ""
    pad = "            " if code else "      "
    shown = f"{at}{pad}rego: |\n" + textwrap.indent(textwrap.dedent(rego).strip() + "\n", pad + "  ")
    if libs:
        shown += f"{pad}libs:\n" + "".join(
            f"{pad}  - |\n" + textwrap.indent(textwrap.dedent(lib).strip() + "\n", pad + "    ") for lib in libs
        )
    return (
        "apiVersion: templates.gatekeeper.sh/v1\nkind: ConstraintTemplate\n"
        f"metadata:\n  name: {kind.lower()}\n"
        f"spec:\n  crd:\n    spec:\n      names:\n        kind: {kind}\n"
        f"  targets:\n    - target: admission.k8s.gatekeeper.sh\n{shown}"
    )


def constraint(kind, spec="", name="ours"):
    """A constraint file with a spec."""
    return (
        f"apiVersion: constraints.gatekeeper.sh/v1beta1\nkind: {kind}\nmetadata:\n  name: {name}\nspec:\n"
        f"  enforcementAction: deny\n" + textwrap.indent(textwrap.dedent(spec).strip(), "  ") + "\n"
    ).replace("  enforcementAction: deny\n", "" if "enforcementAction" in spec else "  enforcementAction: deny\n")


LABELS = template(
    "K8sRequiredLabels",
    """
    package k8srequiredlabels

    violation[{"msg": msg, "details": {"missing_labels": missing}}] {
      provided := {label | input.review.object.metadata.labels[label]}
      required := {label | label := input.parameters.labels[_]}
      missing := required - provided
      count(missing) > 0
      msg := sprintf("you must provide labels: %v", [missing])
    }
    """,
)
PRIVILEGED = template(
    "K8sPrivileged",
    """
    package k8sprivileged

    import data.lib.exempt.is_exempt

    violation[{"msg": msg}] {
      c := input_containers[_]
      not is_exempt(c)
      c.securityContext.privileged
      msg := sprintf("privileged: %v", [c.name])
    }

    input_containers[c] { c := input.review.object.spec.containers[_] }
    """,
    libs=[
        """
        package lib.exempt

        is_exempt(c) { startswith(c.image, input.parameters.exempt[_]) }
        """
    ],
)
REPOS = template(
    "K8sAllowedRepos",
    """
    package k8sallowedrepos

    violation contains {"msg": msg} if {
      some c in input.review.object.spec.containers
      not strings.any_prefix_match(c.image, input.parameters.repos)
      not data.lib.exempt.is_exempt(c)
      msg := sprintf("%s comes from elsewhere", [c.image])
    }
    """,
    libs=["package lib.exempt\n\nis_exempt(c) if c.name == 'never'\n".replace("'", '"')],
    code=True,
)
REPLICAS = template(
    "K8sReplicas",
    """
    package k8sreplicas

    violation[{"msg": "too many replicas"}] {
      input.review.kind.group == "apps"
      input.review.kind.kind == "Deployment"
      input.review.object.spec.replicas > input.parameters.max
    }
    """,
)
SHRINK = template(
    "K8sNoShrink",
    """
    package k8snoshrink

    violation[{"msg": msg}] {
      input.review.operation == "UPDATE"
      input.review.object.spec.replicas < input.review.oldObject.spec.replicas
      msg := sprintf("%v wants less", [input.review.userInfo.username])
    }
    """,
)
HOSTS = template(
    "K8sUniqueHost",
    """
    package k8suniquehost

    violation[{"msg": msg}] {
      host := input.review.object.spec.rules[_].host
      other := data.inventory.namespace[_][_]["Ingress"][name]
      name != input.review.object.metadata.name
      other.spec.rules[_].host == host
      msg := sprintf("%v is taken by %v", [host, name])
    }
    """,
)
LOAD_BALANCER = template(
    "K8sNoLoadBalancer",
    """
    package k8snoloadbalancer

    violation[{"msg": msg}] {
      input.review.kind.kind == "Service"
      input.review.object.spec.type == "LoadBalancer"
      msg := sprintf("%v/%v is open", [input.review.namespace, input.review.name])
    }
    """,
)
DEFAULT_NAMESPACE = template(
    "K8sNoDefault",
    """
    package k8snodefault

    violation[{"msg": "name a namespace"}] { not input.review.namespace }
    """,
)


def manifest(kind, name="web", version="v1", namespace="shop", labels=None, **more):
    metadata = {"name": name, "namespace": namespace, "labels": labels or {}}
    if namespace is None:
        del metadata["namespace"]
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **more}


def pod(**container):
    return manifest("Pod", spec={"containers": [{"name": "app", "image": "docker.io/app", **container}]})


def plan_input(*objects, action="create", before=None):
    changes = [
        {
            "address": f"kubernetes_manifest.m[{index}]",
            "type": "kubernetes_manifest",
            "name": "m",
            "action": action,
            "before": before and {"manifest": before},
            "after": {"manifest": each, "object": {}},
        }
        for index, each in enumerate(objects)
    ]
    return {
        "change_set": {"changes": changes},
        "run": {"requester": {"user": "ada", "groups": []}},
        "environment": {"name": "prod"},
        "native": {},
    }


ingress = {"kind": "Ingress", "version": "networking.k8s.io/v1", "spec": {"rules": [{"host": "shop.example.com"}]}}
CASES = {
    "labels": (
        LABELS,
        constraint("K8sRequiredLabels", 'parameters: {labels: ["owner"]}'),
        plan_input(manifest("Service")),
        'you must provide labels: {"owner"}',
        plan_input(manifest("Service", labels={"owner": "ada"})),
    ),
    "privileged": (
        PRIVILEGED,
        constraint("K8sPrivileged", 'parameters: {exempt: ["registry.local/"]}'),
        plan_input(pod(securityContext={"privileged": True})),
        "privileged: app",
        plan_input(pod(image="registry.local/app", securityContext={"privileged": True})),
    ),
    "repos": (
        REPOS,
        constraint("K8sAllowedRepos", "parameters:\n  repos:\n    - registry.local/"),
        plan_input(pod()),
        "docker.io/app comes from elsewhere",
        plan_input(pod(image="registry.local/app")),
    ),
    "replicas": (
        REPLICAS,
        constraint("K8sReplicas", "parameters: {max: 5}"),
        plan_input(manifest("Deployment", version="apps/v1", spec={"replicas": 6})),
        "too many replicas",
        plan_input(manifest("Deployment", version="apps/v1", spec={"replicas": 5})),
    ),
    "shrink": (
        SHRINK,
        constraint("K8sNoShrink", "match: {}"),
        plan_input(
            manifest("Deployment", spec={"replicas": 1}),
            action="update",
            before=manifest("Deployment", spec={"replicas": 3}),
        ),
        "ada wants less",
        plan_input(
            manifest("Deployment", spec={"replicas": 3}),
            action="update",
            before=manifest("Deployment", spec={"replicas": 1}),
        ),
    ),
    "hosts": (
        HOSTS,
        constraint("K8sUniqueHost", "match: {}"),
        plan_input(manifest(name="a", **ingress), manifest("Pod")),
        "shop.example.com is taken by old",
        plan_input(manifest(name="old", **ingress)),
    ),
    "load_balancer": (
        LOAD_BALANCER,
        constraint("K8sNoLoadBalancer", "match: {}"),
        plan_input(manifest("Service", spec={"type": "LoadBalancer"})),
        "shop/web is open",
        plan_input(manifest("Service", spec={"type": "ClusterIP"})),
    ),
    "default_namespace": (
        DEFAULT_NAMESPACE,
        constraint("K8sNoDefault", "match: {}"),
        plan_input(manifest("Pod", namespace=None)),
        "name a namespace",
        plan_input(manifest("Pod")),
    ),
}
OLD = {"spec": {"rules": [{"host": "shop.example.com"}]}}
INVENTORY = json.dumps({"namespace": {"shop": {"networking.k8s.io/v1": {"Ingress": {"old": OLD}}}}})


@pytest.mark.parametrize("name", CASES)
def test_constraint_denies_and_allows(publish, decide, name):
    """Each constraint denies what it is about, at the line of the YAML, and lets a harmless object pass."""
    rego, ours, bad, msg, good = CASES[name]
    made = publish({"template.yaml": rego, "constraint.yaml": ours, "inventory/data.json": INVENTORY}, GATEKEEPER)
    denied = decide(bad, [made])
    assert (denied.outcome, denied.error) == (Outcome.DENY, None)
    (found,) = denied.violations
    assert (found.msg, found.file, found.address) == (msg, "template.yaml", "kubernetes_manifest.m[0]")
    assert rego.split("\n")[found.line - 1].lstrip().startswith("violation")
    assert found.meta["constraint"] == "ours"
    harmless = decide(good, [made])
    assert (harmless.outcome, harmless.error) == (Outcome.ALLOW, None)


def test_objects_of_one_plan_see_each_other(publish, decide):
    """The inventory holds the objects of the plan, too."""
    made = publish({"t.yaml": HOSTS, "c.yaml": constraint("K8sUniqueHost")}, GATEKEEPER)
    verdict = decide(plan_input(manifest(name="a", **ingress), manifest(name="b", **ingress)), [made])
    assert [v.msg for v in verdict.violations] == ["shop.example.com is taken by a", "shop.example.com is taken by b"]
    assert decide(plan_input(manifest(name="a", **ingress)), [made]).outcome is Outcome.ALLOW


def test_templates_do_not_meet(publish, decide):
    """Templates with libraries of the same name can stand in one file; each keeps its own, and its own lines."""
    files = {
        "all.yaml": f"# ours\n{PRIVILEGED}---\n{REPOS}--- # constraints\n"
        + constraint("K8sPrivileged", "parameters: {exempt: []}"),
        "repos.yml": constraint("K8sAllowedRepos", 'parameters: {repos: ["x/"]}'),
    }
    verdict = decide(plan_input(pod(securityContext={"privileged": True})), [publish(files, GATEKEEPER)])
    assert [(v.msg, v.rule) for v in verdict.violations] == [
        ("privileged: app", "gatekeeper.K8sPrivileged.violation"),
        ("docker.io/app comes from elsewhere", "gatekeeper.K8sAllowedRepos.violation"),
    ]
    rows = files["all.yaml"].split("\n")
    assert [rows[v.line - 1].strip() for v in verdict.violations] == [
        'violation[{"msg": msg}] {',
        'violation contains {"msg": msg} if {',
    ]


MATCHES = [
    ('kinds: [{apiGroups: [""], kinds: ["Pod"]}]', {}, True),
    ('kinds: [{apiGroups: ["apps"], kinds: ["Pod"]}]', {}, False),
    ('kinds: [{apiGroups: ["*"], kinds: ["Service"]}, {apiGroups: ["*"], kinds: ["*"]}]', {}, True),
    ('kinds: [{apiGroups: ["apps"], kinds: ["*"]}]', {"version": "apps/v1"}, True),
    ("namespaces: [shop]", {}, True),
    ("namespaces: [kube-*, sh*]", {}, True),
    ("namespaces: [prod]", {}, False),
    ("namespaces: [prod]", {"namespace": None}, True),
    ("excludedNamespaces: ['*op']", {}, False),
    ("excludedNamespaces: [prod]", {}, True),
    ("excludedNamespaces: ['*']", {"namespace": None}, True),
    ("scope: Namespaced", {}, True),
    ("scope: Cluster", {}, False),
    ("scope: Cluster", {"kind": "ClusterRole", "namespace": None}, True),
    ("scope: Namespaced", {"kind": "ClusterRole", "namespace": None}, False),
    ("scope: Cluster", {"namespace": None}, True),
    ("name: we*", {}, True),
    ("name: db", {}, False),
    ("labelSelector: {matchLabels: {app: web}}", {"labels": {"app": "web"}}, True),
    ("labelSelector: {matchLabels: {app: web}}", {}, False),
    (
        "labelSelector: {matchExpressions: [{key: app, operator: In, values: [web]}]}",
        {"labels": {"app": "web"}},
        True,
    ),
    (
        "labelSelector: {matchExpressions: [{key: app, operator: NotIn, values: [web]}]}",
        {"labels": {"app": "web"}},
        False,
    ),
    ("labelSelector: {matchExpressions: [{key: app, operator: NotIn, values: [web]}]}", {}, True),
    ("labelSelector: {matchExpressions: [{key: app, operator: Exists}]}", {}, False),
    ("labelSelector: {matchExpressions: [{key: app, operator: DoesNotExist}]}", {}, True),
    ("namespaceSelector: {matchLabels: {env: prod}}", {}, True),
    ("namespaceSelector: {matchLabels: {env: prod}}", {"kind": "Namespace", "namespace": None}, False),
    (
        "namespaceSelector: {matchLabels: {e: p}}",
        {"kind": "Namespace", "namespace": None, "labels": {"e": "p"}},
        True,
    ),
    ("source: Generated", {}, False),
    ("source: All", {}, True),
]


def test_match(publish, decide):
    """A constraint is about the objects it matches; what cannot be known counts as a match."""
    files = {
        f"c{index}.yaml": constraint("K8sAny", f"enforcementAction: warn\nmatch:\n  {match}", name=f"c{index}")
        for index, (match, _, _) in enumerate(MATCHES)
    }
    rego = template("K8sAny", 'package any\n\nviolation[{"msg": "matched"}] { true }')
    made = publish({"t.yaml": rego, **files}, GATEKEEPER)
    wrong = []
    for index, (match, kwargs, matched) in enumerate(MATCHES):
        verdict = decide(plan_input(manifest(**{"kind": "Pod", **kwargs})), [made])
        assert verdict.error is None
        if (f"c{index}" in {w.meta["constraint"] for w in verdict.warnings}) is not matched:
            wrong.append((match, kwargs))
    assert wrong == []


def test_actions(publish, decide):
    """`warn` warns, `dryrun` is recorded and changes nothing, and of scoped actions the strictest counts."""
    rego = template("K8sAny", 'package any\n\nviolation[{"msg": msg}] { msg := input.parameters.msg }')
    scoped = "enforcementAction: scoped\nscopedEnforcementActions: [{action: warn}, {action: deny}]\n"
    files = {
        "t.yaml": rego,
        "a.yaml": constraint("K8sAny", "enforcementAction: warn\nparameters: {msg: RULE warns}"),
        "b.yaml": constraint("K8sAny", "enforcementAction: dryrun\nparameters: {msg: tried}"),
        "c.yaml": constraint("K8sAny", scoped + "parameters: {msg: denied}"),
    }
    made = publish(files, GATEKEEPER)
    verdict = decide(plan_input(manifest("Pod")), [made])
    assert [v.msg for v in verdict.warnings] == ["RULE warns"]
    assert [v.msg for v in verdict.spared] == ["tried"]
    assert [v.msg for v in verdict.violations] == ["denied"]
    shadow = decide(plan_input(manifest("Pod")), [Attached(made, level=Level.SHADOW)], protected=False)
    assert shadow.outcome is Outcome.ALLOW


def test_which_changes_are_reviewed(publish, decide):
    """Objects are found as manifests, as YAML and bare; deletes are not reviewed; an unreadable manifest is trouble."""
    rego = template("K8sAny", 'package any\n\nviolation[{"msg": msg}] { msg := input.review.object.kind }')
    made = publish({"t.yaml": rego, "c.yaml": constraint("K8sAny")}, GATEKEEPER)
    base = {"address": "x", "name": "x", "action": "create", "before": None}

    def said(*changes):
        return decide({**plan_input(), "change_set": {"changes": [{**base, **each} for each in changes]}}, [made])

    body = "apiVersion: v1\nkind: Secret\n"
    found = said(
        {"type": "kubectl_manifest", "after": {"yaml_body": body}},
        {"type": "http", "after": manifest("Pod")},
        {"type": "aws_instance", "after": {"ami": "x"}},
    )
    assert [v.msg for v in found.violations] == ["Pod", "Secret"]
    assert said({"type": "kubernetes_manifest", "action": "delete", "after": None}).outcome is Outcome.ALLOW
    assert "undefined" in said({"type": "kubernetes_manifest", "after": {"manifest": None}}).error
    assert "undefined" in said({"type": "kubernetes_manifest"}).error
    assert said({"type": "kubectl_manifest", "after": {"yaml_body": "{"}}).outcome is Outcome.DENY
    assert "undefined" in decide({"native": {}}, [made]).error


@pytest.mark.parametrize(
    "rule",
    [
        "violation = true { true }",
        'violation["text"] { false }\nviolation[7] { true }',
        'violation[{"message": "x"}] { true }',
    ],
)
def test_unknown_shape_is_a_deny(publish, decide, rule):
    """A violation that is not a set of objects with `msg` is trouble."""
    rego = template("K8sAny", f"package any\n\n{rule}")
    verdict = decide(
        plan_input(manifest("Pod")), [publish({"t.yaml": rego, "c.yaml": constraint("K8sAny")}, GATEKEEPER)]
    )
    assert verdict.outcome is Outcome.DENY
    assert "shape_invalid" in verdict.error


ANY = template("K8sAny", 'package any\n\nviolation[{"msg": "x"}] { true }')


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"c.yaml": constraint("K8sOther")}, "c.yaml:1:1: template_missing"),
        ({"c.yaml": constraint("K8sAny", "match: {kind: Pod}")}, "match_unknown"),
        ({"c.yaml": constraint("K8sAny", "match: {kinds: Pod}")}, "match_invalid"),
        ({"c.yaml": constraint("K8sAny", "match: {namespaces: ['a{b']}")}, "match_invalid"),
        ({"c.yaml": constraint("K8sAny", "match: {labelSelector: {labels: {}}}")}, "match_invalid"),
        ({"c.yaml": constraint("K8sAny", "match: {scope: All}")}, "match_invalid"),
        ({"c.yaml": constraint("K8sAny", "enforcementAction: block")}, "action_unknown"),
        ({"c.yaml": constraint("K8sAny", "parameters: {allow: yes}")}, "c.yaml:7:23: yaml_ambiguous"),
        ({"c.yaml": constraint("K8sAny", "parameters: {a: &x 1, b: *x}")}, "c.yaml:7:"),
        ({"d.yaml": ANY}, "d.yaml:1:1: template_invalid"),
        ({}, "decision point"),
        ({"c.yaml": constraint("K8sAny"), "x.yaml": template("K8sX", "package x\n\nviolation[x] { y }")}, "x.yaml:15"),
        ({"x.yaml": ANY.replace("rego: |", "cel: |").replace("K8sAny", "K8sCel")}, "has no Rego"),
    ],
)
def test_what_is_wrong_is_not_published(publish, files, told):
    """What is wrong in the YAML or its Rego stops the publishing, with the line in the YAML."""
    with pytest.raises(MandamusError) as raised:
        publish({"any.yaml": ANY, **files}, GATEKEEPER)
    assert told in raised.value.message
