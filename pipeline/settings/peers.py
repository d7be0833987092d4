"""What a recipe says of its peers: other models for the same task, to which the report holds its own."""

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from targets.strict import Strict

MOST = 20  # peers: a plot of more can't be read


def _one_line(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("expected words on one line")
    return text.strip()


Words = Annotated[str, Field(max_length=200), AfterValidator(_one_line)]


class PeerSettings(Strict):
    """A model made by others, with at least one figure, and the `source` that tells them: a paper, a page, a
    measurement of your own. `accuracy`: top-1 in [0, 1], on the same test set if it is to mean anything. `size_mb`: of
    10^6 bytes. `latency_ms`: of one inference."""

    name: Words
    accuracy: float | None = None
    size_mb: float | None = Field(default=None, gt=0)
    latency_ms: float | None = Field(default=None, gt=0)
    source: Words

    @model_validator(mode="after")
    def _figures_that_can_be(self) -> "PeerSettings":
        accuracy = self.accuracy
        if accuracy is not None and not 0 <= accuracy <= 1:
            hint = f"; {accuracy:g}% is {accuracy / 100:g}" if 1 < accuracy <= 100 else ""
            raise ValueError(f"accuracy {accuracy:g}: expected a share of 0 to 1{hint}")
        if accuracy is None and self.size_mb is None and self.latency_ms is None:
            raise ValueError("a peer without figures: give accuracy, size_mb or latency_ms")
        return self


def _told_apart(peers: tuple[PeerSettings, ...]) -> tuple[PeerSettings, ...]:
    names = [peer.name for peer in peers]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} stands twice: give each peer a name of its own")
    if len(names) > MOST:
        raise ValueError(f"found {len(names)} peers, at most {MOST} can be shown: keep those that matter")
    return peers


Peers = Annotated[tuple[PeerSettings, ...], AfterValidator(_told_apart)]
