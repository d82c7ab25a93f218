"""deploy/compose.yaml and the dagster.yaml beside it: they fit the image, nginx's template and our own commands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from daglens.config.load import load_config
from daglens.server.settings import ServerSettings
from tests.deploy.commands import parsed
from tests.deploy.containerfile import last_stage
from tests.deploy.nginx import TEMPLATE
from tests.docs.snippets import ROOT

DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SERVERS = ("server-1", "server-2")
OURS = (*SERVERS, "migrate")


def filled(text: str, **environment: str) -> str:
    """A text with its `${NAME:-default}` as Compose replaces them."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda match: environment.get(match[1]) or match[2], text)


def test_commands_are_ours() -> None:
    """Each command line is one that `daglens` takes."""
    for name in SERVERS:
        called, values = parsed(
            [filled(word, DAGLENS_HOST_NAME="lens.example.org") for word in SERVICES[name]["command"]]
        )
        assert (called, values["host"], values["port"]) == ("serve", "0.0.0.0", 3000)
        assert tuple(values["allowed_host"]) == ("lens.example.org",)
        assert not values["insecure"]
    assert parsed(SERVICES["migrate"]["command"])[0] == "instance migrate"


def test_references_resolve() -> None:
    """Every volume, network, secret and service that is named is there, and every file but the password's."""
    declared = {key: set(COMPOSE[key]) for key in ("volumes", "networks", "secrets")}
    for service in SERVICES.values():
        assert set(service["networks"]) <= declared["networks"]
        assert set(service.get("secrets", [])) <= declared["secrets"]
        assert set(service.get("depends_on", {})) <= set(SERVICES)
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert source in declared["volumes"] or (DEPLOY / source).is_file(), volume
    build = SERVICES["server-1"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).resolve() == DEPLOY / "Dockerfile"


def test_nothing_begins_too_early() -> None:
    """The database, then its tables, then the servers, then nginx; each waits for the one before it to be ready."""
    assert SERVICES["migrate"]["depends_on"] == {"database": {"condition": "service_healthy"}}
    assert SERVICES["migrate"]["restart"] == "on-failure"  # a service that ends well must not be started again
    for name in SERVERS:
        assert SERVICES[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}
    assert SERVICES["proxy"]["depends_on"] == {key: {"condition": "service_healthy"} for key in SERVERS}
    assert "healthcheck" in SERVICES["database"]
    assert any(each.name == "HEALTHCHECK" for each in last_stage())


def test_only_the_proxy_is_reached() -> None:
    """It alone publishes a port, of this machine unless told otherwise; servers and database are on a network that
    leads nowhere."""
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]
    (port,) = SERVICES["proxy"]["ports"]
    assert filled(port) == f"127.0.0.1:8080:{SERVICES['proxy']['environment']['DAGLENS_LISTEN']}"
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    for name in (*OURS, "database"):
        assert SERVICES[name]["networks"] == ["inside"]


def test_servers_may_do_little() -> None:
    """No capability, nothing that gives more rights, and only the instance's folder can be written."""
    for name in OURS:
        service = SERVICES[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        grace = int(service["stop_grace_period"].removesuffix("s"))
        assert grace > ServerSettings().drain_s


def test_no_secret_is_in_a_file_of_ours() -> None:
    """Passwords come from the folder of secrets, which is never committed."""
    (secret,) = COMPOSE["secrets"].values()
    assert Path(secret["file"]).parts[0] == "secrets"
    assert "/deploy/secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    environment = SERVICES["database"]["environment"]
    assert {name for name in environment if "PASSWORD" in name} == {"POSTGRES_PASSWORD_FILE"}


def test_nginx_gets_its_variables() -> None:
    """Those of the template, all of them, and each server is in them."""
    environment = SERVICES["proxy"]["environment"]
    named = set(re.findall(r"\$\{(\w+)\}", TEMPLATE.read_text(encoding="utf-8")))
    assert named == {name for name in environment if name.startswith("DAGLENS_")}
    assert re.match(environment["NGINX_ENVSUBST_FILTER"], "DAGLENS_LISTEN")
    servers = re.findall(r"server ([\w-]+):3000 resolve fail_timeout=2s;", environment["DAGLENS_SERVERS"])
    assert tuple(servers) == SERVERS
    assert any(volume.startswith(f"./{TEMPLATE.name}:") for volume in SERVICES["proxy"]["volumes"])


@pytest.fixture
def instance(tmp_path: Path) -> Path:
    """deploy/dagster.yaml, with its secret where a test may write."""
    text = (DEPLOY / "dagster.yaml").read_text(encoding="utf-8")
    (tmp_path / "password").write_text("planted\n")
    assert "/run/secrets/database_password" in text
    path = tmp_path / "dagster.yaml"
    path.write_text(text.replace("/run/secrets/database_password", "password"))
    return path


def test_dagster_yaml(instance: Path) -> None:
    """It loads; the database is the one beside it, nobody gets in without a token, and the networks are networks."""
    config = load_config(instance, instance.parent)
    database = SERVICES["database"]["environment"]
    for section in ("run_storage", "event_log_storage"):
        assert config.sections[section].class_name.startswith("Postgres")
    text = yaml.safe_load(instance.read_text())["storage"]["postgres"]
    told = text["postgres_db"]
    assert told["hostname"] in SERVICES
    assert (told["username"], told["db_name"]) == (database["POSTGRES_USER"], database["POSTGRES_DB"])
    assert text["should_autocreate_tables"] is False
    assert config.settings.access.tokens == "tokens"
    assert config.settings.limits.forwarded_by
