"""The manifests are valid for each supported Kubernetes, fit together, and fit the application."""

from itertools import chain

import kubernetes_validate
import pytest
import yaml
from django.urls import resolve

from itemsite import gunicorn, views
from itemsite.environment import Environment, WebEnvironment
from itemsite.lab.bootstrap import ROOT

FOLDER = ROOT / "docker" / "kubernetes"
#: The oldest and the newest that are supported (November 2026).
VERSIONS = ("1.34", "1.37")


def manifests(folder):
    """What ``kubectl apply -k`` applies, each by the file that it is in."""
    listed = yaml.safe_load((FOLDER / folder / "kustomization.yaml").read_text())["resources"]
    return [
        pytest.param(manifest, id=f"{name}: {manifest['kind']}")
        for name in listed
        for manifest in yaml.safe_load_all((FOLDER / folder / name).read_text())
    ]


ALL = [*manifests("serve"), *manifests("migrate")]
EVERYTHING = [parameter.values[0] for parameter in ALL]
WORKLOADS = [m for m in EVERYTHING if m["kind"] in ("Deployment", "Job")]


def one(kind, name):
    [found] = [m for m in EVERYTHING if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return found


def container(workload):
    [only] = workload["spec"]["template"]["spec"]["containers"]
    return only


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", ALL)
def test_it_is_valid(manifest, version):
    kubernetes_validate.validate(manifest, version, strict=True)


def test_a_word_that_kubernetes_does_not_know_would_be_found():
    wrong = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "dta": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_every_file_is_applied():
    listed = chain.from_iterable(
        yaml.safe_load((FOLDER / folder / "kustomization.yaml").read_text())["resources"]
        for folder in ("serve", "migrate")
    )
    there = {path.name for path in FOLDER.rglob("*.yaml")} - {"kustomization.yaml"}
    assert there == set(listed)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda each: each["metadata"]["name"])
def test_it_can_write_nothing_and_become_nobody(workload):
    pod = workload["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    closed = container(workload)["securityContext"]
    assert closed["readOnlyRootFilesystem"] is True
    assert closed["allowPrivilegeEscalation"] is False
    assert closed["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda each: each["metadata"]["name"])
def test_secrets_are_named_and_not_written(workload):
    assert {"secretRef": {"name": "cache-lab"}} in container(workload)["envFrom"]
    assert "Secret" not in {manifest["kind"] for manifest in EVERYTHING}


@pytest.mark.parametrize("kind", ["Deployment", "PodDisruptionBudget"])
@pytest.mark.parametrize("name", ["cache-lab-api", "cache-lab-repair"])
def test_selectors_find_their_pods(kind, name):
    labels = one("Deployment", name)["spec"]["template"]["metadata"]["labels"]
    assert one(kind, name)["spec"]["selector"]["matchLabels"] == labels


def test_the_service_the_scaler_and_the_network_find_the_api():
    api = one("Deployment", "cache-lab-api")
    labels = api["spec"]["template"]["metadata"]["labels"]
    service = one("Service", "cache-lab-api")["spec"]
    assert service["selector"] == labels
    [port] = container(api)["ports"]
    assert {each["targetPort"] for each in service["ports"]} == {port["name"]}
    scaler = one("HorizontalPodAutoscaler", "cache-lab-api")["spec"]
    assert scaler["scaleTargetRef"]["name"] == api["metadata"]["name"]
    assert "replicas" not in api["spec"], "each would undo what the other does"
    assert container(api)["resources"]["requests"]["cpu"], "its use is a share of this"
    network = one("NetworkPolicy", "cache-lab-api")["spec"]
    assert network["podSelector"]["matchLabels"] == labels
    assert network["ingress"] == [{"ports": [{"protocol": "TCP", "port": port["name"]}]}]


def test_probes_ask_what_depends_on_no_other_server():
    api = container(one("Deployment", "cache-lab-api"))
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        request = api[name]["httpGet"]
        assert resolve(request["path"]).func is views.live
        # Else ALLOWED_HOSTS refuses it, and HTTPS=1 sends it elsewhere.
        headers = {each["name"]: each["value"] for each in request["httpHeaders"]}
        assert headers == {"Host": "localhost", "X-Forwarded-Proto": "https"}
    [hosts] = [each["value"] for each in api["env"] if each["name"] == "ALLOWED_HOSTS"]
    assert "localhost" in hosts.split(",")


def test_requests_in_flight_are_answered_before_a_pod_is_killed():
    api = one("Deployment", "cache-lab-api")
    pod = api["spec"]["template"]["spec"]
    _, seconds = container(api)["lifecycle"]["preStop"]["exec"]["command"]
    assert pod["terminationGracePeriodSeconds"] > int(seconds) + gunicorn.graceful_timeout


def test_two_repair():
    assert one("Deployment", "cache-lab-repair")["spec"]["replicas"] == 2


def test_every_variable_is_one_that_the_application_reads(tmp_path):
    data = one("ConfigMap", "cache-lab")["data"]
    given = {**data, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    needed = {"SECRET_KEY": "s", "DATABASE_URL": "postgres://h/d", "REDIS_URL": "redis://h"}
    environment = Environment.read({**needed, **given})
    assert (environment.https, environment.partition, environment.lab) == (True, "bounded", False)
    web = WebEnvironment.read(given)
    assert (str(web.workers), str(web.threads)) == (data["WEB_WORKERS"], data["WEB_THREADS"])
    mounts = container(one("Deployment", "cache-lab-api"))["volumeMounts"]
    assert data["PROMETHEUS_MULTIPROC_DIR"] in {mount["mountPath"] for mount in mounts}
