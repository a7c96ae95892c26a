"""The real Kustomize, built with Go, renders ``deploy/kubernetes``."""

from __future__ import annotations

import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from otel_bridge import __version__
from tests.deploy.test_files import DEPLOY, VERSIONS, documents
from tests.support.go_tools import build

pytestmark = [pytest.mark.interop, pytest.mark.timeout(1800)]

PACKAGE = "sigs.k8s.io/kustomize/kustomize/v5"


def test_kustomize_renders_what_the_api_takes() -> None:
    """Every object, in its namespace, by the API's schemas; the image's name and tag replaced."""
    kustomize = build(PACKAGE, "kustomize", Path(__file__).parent / "kustomize")
    command = [str(kustomize), "build", str(DEPLOY / "kubernetes")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    rendered = list(yaml.safe_load_all(done.stdout))
    assert sorted(one["kind"] for one in rendered) == sorted(one["kind"] for one in documents())
    for one in rendered:
        assert one["kind"] == "Namespace" or one["metadata"]["namespace"] == "otel-bridge"
        for version in VERSIONS:
            kubernetes_validate.validate(one, version, strict=True)
    (deployment,) = (one for one in rendered if one["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"registry.example.org/otel-bridge:{__version__}"
