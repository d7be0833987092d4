"""What is found out about layers in 8 bits, as results: how much each costs, and which were kept in float."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LayerSensitivity:
    """What a network's answers lose if one layer alone computes in 8 bits: `sqnr`, in decibels, of the signal to the
    noise in the logits; `divergence`, in nats, the mean Kullback-Leibler divergence of its scores from float's;
    `agreement`, the share of samples that get the same label; `points_lost` of accuracy (percent)."""

    layer: str
    operator: str
    weights: int
    sqnr: float
    divergence: float
    agreement: float
    points_lost: float


@dataclass(frozen=True)
class SensitivityResult:
    """Over `samples` of the validation split; `layers` in the order in which they run."""

    fingerprint: str
    samples: int
    layers: tuple[LayerSensitivity, ...]

    @property
    def ranked(self) -> tuple[LayerSensitivity, ...]:
        """The most sensitive first."""
        return tuple(sorted(self.layers, key=lambda layer: layer.sqnr))


@dataclass(frozen=True)
class KeptLayer:
    """A layer in float, and by format what it is worth: `points_lost` by the file (below the float file, in percent) if
    this layer were in 8 bits too, and the `bytes` that the file is larger for it."""

    layer: str
    points_lost: dict[str, float]
    bytes: dict[str, int]


@dataclass(frozen=True)
class MixedResult:
    """Which layers stay in float, most sensitive first, so that no file is more than `max_drop` points below the float
    file on the `samples` of the validation split. By format: `points_lost` and `bytes` of the file, and of the one that
    is in 8 bits throughout. `layers` is how many there are, `tried` how many sets of them were."""

    fingerprint: str
    max_drop: float
    samples: int
    layers: int
    tried: int
    kept: tuple[KeptLayer, ...]
    points_lost: dict[str, float]
    throughout: dict[str, float]
    bytes: dict[str, int]
    bytes_throughout: dict[str, int]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(kept.layer for kept in self.kept)

    @property
    def held(self) -> bool:
        return max(self.points_lost.values()) <= self.max_drop


@dataclass(frozen=True)
class LayerCost:
    """Milliseconds (p50) that a file takes longer than without one of its float layers, or than in 8 bits throughout
    (`layer` None): the median of several rounds, and the least and the most."""

    layer: str | None
    ms: float
    low: float
    high: float


@dataclass(frozen=True)
class MixedCosts:
    """Of the file in `format`, measured on this host."""

    fingerprint: str
    format: str
    rounds: int
    costs: tuple[LayerCost, ...]
