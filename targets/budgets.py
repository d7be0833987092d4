"""What a release for a target must keep to; null is no budget."""

from typing import Any

from pydantic import Field, model_validator

from targets.strict import Strict

# Test samples that a group needs to be judged. With 100, of which 5 come out otherwise than the teacher's, the 95%
# interval of a drop reaches 5 points to either side; with 20 it would be 12, which tells nothing.
GROUP_SIZE = 100


class LatencyBudget(Strict):
    """Milliseconds of one inference, batch of one."""

    p50: float | None = Field(default=None, gt=0)
    p90: float | None = Field(default=None, gt=0)
    p99: float | None = Field(default=None, gt=0)


class AccuracyBudget(Strict):
    """`min` is top-1 in [0, 1]; `max_drop` is in points (percent) below the teacher; `min_agreement` is the
    share of test samples on which the ONNX and TFLite files give the same label, in [0, 1]. `max_group_drop` is
    what any class or subgroup of at least `min_group_size` test samples may lose, in points below the teacher."""

    min: float | None = Field(default=None, ge=0, le=1)
    max_drop: float | None = Field(default=None, ge=0, le=100)
    min_agreement: float | None = Field(default=None, ge=0, le=1)
    max_group_drop: float | None = Field(default=None, ge=0, le=100)
    min_group_size: int | None = Field(default=None, ge=10)  # None with a max_group_drop: GROUP_SIZE

    @model_validator(mode="before")
    @classmethod
    def _groups_have_a_size(cls, content: Any) -> Any:
        if isinstance(content, dict) and content.get("min_group_size") is None:
            size = None if content.get("max_group_drop") is None else GROUP_SIZE
            return {**content, "min_group_size": size}
        return content

    @model_validator(mode="after")
    def _a_size_has_its_budget(self) -> "AccuracyBudget":
        if self.min_group_size is not None and self.max_group_drop is None:
            raise ValueError("min_group_size says which groups max_group_drop judges: give both, or neither")
        return self


class Budgets(Strict):
    """What a release must keep to; null is no budget. Sizes are megabytes (10**6 bytes). `instructions_m`: millions of
    instructions that one inference takes on each kind of the target's cores, as counted on the emulated core."""

    latency_ms: LatencyBudget = LatencyBudget()
    cold_start_ms: float | None = Field(default=None, gt=0)
    size_mb: float | None = Field(default=None, gt=0)
    peak_mem_mb: float | None = Field(default=None, gt=0)
    instructions_m: float | None = Field(default=None, gt=0)
    accuracy: AccuracyBudget = AccuracyBudget()
    confidence: float = Field(default=0.99, gt=0.5, lt=1)

    def tightened_by(self, other: "Budgets") -> "Budgets":
        """The stricter of both, budget by budget: a recipe may tighten a target's, never loosen them."""

        def least(a: float | None, b: float | None) -> float | None:
            return min((v for v in (a, b) if v is not None), default=None)

        def most(a: float | None, b: float | None) -> float | None:
            return max((v for v in (a, b) if v is not None), default=None)

        def least_size(a: int | None, b: int | None) -> int | None:
            return min((v for v in (a, b) if v is not None), default=None)

        mine, theirs = self.latency_ms, other.latency_ms
        return Budgets(
            latency_ms=LatencyBudget(
                p50=least(mine.p50, theirs.p50), p90=least(mine.p90, theirs.p90), p99=least(mine.p99, theirs.p99)
            ),
            cold_start_ms=least(self.cold_start_ms, other.cold_start_ms),
            size_mb=least(self.size_mb, other.size_mb),
            peak_mem_mb=least(self.peak_mem_mb, other.peak_mem_mb),
            instructions_m=least(self.instructions_m, other.instructions_m),
            accuracy=AccuracyBudget(
                min=most(self.accuracy.min, other.accuracy.min),
                max_drop=least(self.accuracy.max_drop, other.accuracy.max_drop),
                min_agreement=most(self.accuracy.min_agreement, other.accuracy.min_agreement),
                max_group_drop=least(self.accuracy.max_group_drop, other.accuracy.max_group_drop),
                min_group_size=least_size(self.accuracy.min_group_size, other.accuracy.min_group_size),
            ),
            confidence=max(self.confidence, other.confidence),
        )


class BudgetsByTask(Strict):
    image: Budgets = Budgets()
    text: Budgets = Budgets()
