"""The recipe's peers as the report holds them."""

from typing import Any

from pipeline.report.figures import figure
from pipeline.settings.peers import PeerSettings

TOLD = "recipe"  # the source of figures that edgepress did not find out


def peers(settings: tuple[PeerSettings, ...]) -> list[dict[str, Any]]:
    """The section of report.json, in the recipe's order."""

    def told(value: float | None, unit: str) -> dict[str, Any] | None:
        return None if value is None else figure(value, unit, TOLD)

    return [
        {
            "name": peer.name,
            "accuracy": told(peer.accuracy, "share"),
            "size": told(peer.size_mb, "MB"),
            "latency": told(peer.latency_ms, "ms"),
            "told_by": peer.source,
        }
        for peer in settings
    ]
