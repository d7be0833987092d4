"""What a recipe says of a search for its settings."""

from typing import Any, Literal

from pydantic import Field, model_validator

from targets.strict import Strict

Goal = Literal["accuracy", "latency", "size"]
Direction = Literal["minimize", "maximize"]


class Hyperparameter(Strict):
    """What the trials of a search may give one setting: a number from `low` to `high`, both included, drawn evenly or,
    with `log`, evenly by its logarithm; or one of `choices`, of any kind.

    `when` names other settings of the space and, for each, those of its choices with which this one is drawn; with
    others it is left to its default: `{student.family: [mobilenetv2]}`.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Any, ...] | None = Field(default=None, min_length=2)
    when: dict[str, tuple[Any, ...]] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _range_or_choices(self) -> "Hyperparameter":
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.log:
                raise ValueError("choices stand alone: remove low, high and log, or the choices")
            return self
        if self.low is None or self.high is None:
            raise ValueError("give low and high, or choices")
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not under high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"log: true needs a low above 0, found {self.low:g}")
        return self

    @property
    def ends(self) -> tuple[float, float]:
        """Of a range."""
        assert self.low is not None, "choices have no ends"
        assert self.high is not None, "choices have no ends"
        return self.low, self.high


class SearchSettings(Strict):
    """Of `edgepress search`. It ends after so many `trials`, begins none after so many `minutes`, and has 30 trials
    where neither is given. `space`: what is searched, by dotted keys of the recipe; None: what
    `pipeline.search.space` finds worth it in the recipe.

    `objective`: the `best` is the most accurate within the target's budgets; the `front` is all those that no other
    beats in everything they are weighed `over`.
    """

    objective: Literal["best", "front"] = "best"
    over: tuple[Goal, ...] = ("accuracy", "latency", "size")
    trials: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    space: dict[str, Hyperparameter] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _something_to_weigh(self) -> "SearchSettings":
        if self.over != type(self).model_fields["over"].default and self.objective == "best":
            raise ValueError("over is for objective: front; remove it, or ask for the front")
        if len(set(self.over)) != len(self.over):
            raise ValueError(f"over names one twice: {', '.join(self.over)}")
        if "accuracy" not in self.over or len(self.over) < 2:
            raise ValueError("over: name accuracy, and latency, size or both to weigh it against")
        return self

    @property
    def total(self) -> int | None:
        """Trials of all; None where the minutes alone end them."""
        return self.trials if self.trials or self.minutes else 30
