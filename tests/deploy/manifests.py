"""Checks what can be checked of the deployment files without a cluster.

    python manifests.py CHART KUSTOMIZE REPOSITORY
"""

import json
import os
import re
import subprocess
import sys

import kubernetes_validate
import yaml

from kubelet import render

# The oldest version that the chart allows, and the newest that the schemas know.
VERSIONS = ["1.27.0", kubernetes_validate.latest_version()]

VARIANTS = {
    "defaults": [],
    "one node": ["voters.replicas=1", "voters.persistence.enabled=false"],
    "five voters": ["voters.replicas=5"],
    "everything": [
        "edge.replicas=2", "edge.autoscaling.enabled=true", "edge.autoscaling.targetConnectionsPerPod=40000",
        "mqtt.plain.enabled=true", "mqtt.service.type=LoadBalancer", "mqtt.service.loadBalancerSourceRanges[0]=10.0.0.0/8",
        "tls.secretName=mine", "tls.caKey=", "tls.serverName=mqtt.example.com", "secrets.existingSecret=mine",
        "settings.ROOKERY_LIMITS__CONNECTIONS_MAX=200000", "dashboard.enabled=true", "voters.persistence.storageClass=fast",
        "networkPolicy.metricsFrom[0].matchLabels.name=monitoring", "imagePullSecrets[0].name=pull",
        "backup.enabled=true", "backup.existingClaim=mine",
    ],
    "backups": ["backup.enabled=true", "backup.storageClass=slow", "backup.keySecret=mine", "networkPolicy.apiFrom[0].podSelector.matchLabels.role=operator", "fullnameOverride=plant"],
    "monitoring": ["serviceMonitor.enabled=true", "prometheusRule.enabled=true"],
}

# Not part of Kubernetes, so there is no schema.
FOREIGN = {"ServiceMonitor", "PrometheusRule"}


def main(chart, kustomize, repository):
    for name, values in VARIANTS.items():
        documents = render(chart, "iot", values)
        for document in documents:
            if document["kind"] not in FOREIGN:
                for version in VERSIONS:
                    kubernetes_validate.validate(document, version, strict=True)
        pods_are_hardened(documents)
        services_find_only_nodes(documents)
        backups_reach_the_api(documents)
        print(f"{name}: {len(documents)} documents")
    secrets_restart_nobody(chart)
    plain_manifests_are_those_of_the_chart(kustomize)
    metrics_exist(chart, repository)


def pods_are_hardened(documents):
    """The restricted profile of the pod security standards, and what operators rely on."""
    for document in documents:
        pod = pod_template(document)["spec"]
        if not pod:
            continue
        assert pod["securityContext"]["runAsNonRoot"] and not pod["enableServiceLinks"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"] and container["resources"]["limits"]["memory"]
        if document["kind"] != "StatefulSet":
            continue
        hook = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        limit = next(int(word.removeprefix("--timeout=")) for word in hook if word.startswith("--timeout="))
        assert limit < pod["terminationGracePeriodSeconds"], "the end in order needs time as well"


def pod_template(document):
    spec = document.get("spec", {})
    if document["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return spec.get("template", {"spec": None})


def services_find_only_nodes(documents):
    """A pod that is no node must not get connections of clients."""
    selectors = [it["spec"]["selector"] for it in documents if it["kind"] == "Service"]
    for document in documents:
        labels = pod_template(document).get("metadata", {}).get("labels", {})
        is_found = [selector.items() <= labels.items() for selector in selectors]
        assert not labels or all(is_found) == any(is_found) == (document["kind"] == "StatefulSet"), document["metadata"]


def backups_reach_the_api(documents):
    """Where the network policy names who may, the pods that make backups are among them."""
    jobs = [it for it in documents if it["kind"] == "CronJob"]
    rules = [rule for it in documents if it["kind"] == "NetworkPolicy" for rule in it["spec"]["ingress"]]
    admitted = [rule["from"] for rule in rules if rule["ports"] == [{"port": "api"}] and "from" in rule]
    for job in jobs:
        labels = pod_template(job)["metadata"]["labels"]
        for peers in admitted:
            assert any(it.get("podSelector", {}).get("matchLabels") == labels for it in peers), (labels, peers)


def secrets_restart_nobody(chart):
    """Each rendering makes new secrets; the pods must not differ by them."""
    def pods():
        return [it for it in render(chart, "iot", []) if it["kind"] == "StatefulSet"]

    assert pods() == pods()


def plain_manifests_are_those_of_the_chart(kustomize):
    helm = os.path.join(os.path.dirname(os.path.abspath(sys.executable)), "helm")
    now = subprocess.run(
        [os.path.join(kustomize, "render"), "/dev/stdout"], env={**os.environ, "HELM": helm}, capture_output=True,
        text=True, check=True).stdout
    with open(os.path.join(kustomize, "base", "rookery.yaml"), encoding="utf-8") as file:
        assert file.read() == now, "write it anew with deploy/kustomize/render"
    with open(os.path.join(kustomize, "base", "kustomization.yaml"), encoding="utf-8") as file:
        kustomization = yaml.safe_load(file)
    made = {it["name"] for it in kustomization["secretGenerator"]}
    used = {
        volume["secret"]["secretName"]
        for document in yaml.safe_load_all(now) if document and document["kind"] == "StatefulSet"
        for volume in document["spec"]["template"]["spec"]["volumes"]
    }
    assert made == used, (made, used)


def metrics_exist(chart, repository):
    """Alerts and dashboard ask for nothing that the documentation of the metrics does not have."""
    with open(os.path.join(repository, "docs", "metrics.md"), encoding="utf-8") as file:
        known = set(re.findall(r"\brookery_[a-z0-9_]+", file.read()))
    for name in ["alerts.yaml", "dashboard.json"]:
        with open(os.path.join(chart, "monitoring", name), encoding="utf-8") as file:
            text = file.read()
        parsed = yaml.safe_load(text) if name.endswith("yaml") else json.loads(text)
        assert parsed, name
        asked = {re.sub(r"_(bucket|count|sum)$", "", it) for it in re.findall(r"\brookery_[a-z0-9_]+", text)}
        assert asked and asked <= known, asked - known


if __name__ == "__main__":
    main(*sys.argv[1:4])
