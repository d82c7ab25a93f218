"""The instance over the API."""

from __future__ import annotations

from tests.api.conftest import SECRET, Api

INSTANCE = """
{ version now instance { origin home info
  runStorage { ...S } eventLogStorage { ...S } computeLogs { ...S } localArtifactStorage { ...S } } }
fragment S on StorageInfo { module className config healthy problem liveMode }
"""


async def test_the_instance(api: Api) -> None:
    """Rule, folder, configuration and the four storages, without secrets."""
    data = await api.get(INSTANCE)
    instance = data["instance"]
    assert (instance["origin"], instance["home"]) == ("DAGSTER_YAML", str(api.instance.home))
    assert data["now"] == "2023-11-14T22:13:20.000000Z"
    assert instance["runStorage"] == {
        "module": "daglens.storage.memory.runs",
        "className": "InMemoryRunStorage",
        "config": {"secret_word": "***"},
        "healthy": True,
        "problem": None,
        "liveMode": None,
    }
    assert instance["eventLogStorage"]["liveMode"] == api.instance.events.live_mode
    assert "secret_word: '***'" in instance["info"]
    assert SECRET not in str(data)


async def test_health_is_asked_for_only_when_selected(api: Api) -> None:
    """A storage is asked whether it answers only where the operation wants to know."""
    await api.get("{ instance { home runStorage { className liveMode } } }")
    assert api.asked == {}
    await api.get("{ instance { runStorage { healthy } computeLogs { problem } } }")
    assert api.asked == {"runs": ["health"], "logs": ["health"]}
