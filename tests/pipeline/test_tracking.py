"""Curves of a run: kept by a tracker while it trains, whole after a kill, never twice; and drawn in the terminal."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from rich.console import Console

from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.plan import make_plan
from pipeline.progress import Meter, Reporter
from pipeline.recipe import load_recipe
from pipeline.results import EpochRecord, NetworkResult, PreparedData
from pipeline.settings.teacher import TeacherSettings
from pipeline.store import Store
from pipeline.teacher import teach
from pipeline.training.tracking import Tracking, track
from pipeline.words import sparkline
from tests import releases

DIGITS = Path(__file__).parents[2] / "recipes/digits-mobilenet.yaml"
KEY = "0123456789abcdef"
CURVE = tuple(EpochRecord(epoch, 2.0 / (epoch + 1), 0.5 + 0.1 * epoch) for epoch in range(4))
SMALL = TeacherSettings(model="mobilenetv2_035", weights="none", epochs=2, batch_size=70)


def points(folder: Path, value: str) -> dict[str, list[tuple[int, float]]]:
    """(step, value) in the order of the event files, by run, as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = {}
    for run in sorted(path for path in folder.iterdir() if path.is_dir()):
        events = EventAccumulator(str(run), purge_orphaned_data=False)
        events.Reload()
        found[run.name] = [(event.step, round(event.value, 4)) for event in events.Scalars(value)]
    return found


def expected(curve: tuple[EpochRecord, ...], name: str = "validation_accuracy") -> list[tuple[int, float]]:
    return [(record.epoch + 1, round(getattr(record, name), 4)) for record in curve]


def tensorboard(folder: Path) -> Tracking:
    """As a process of its own would begin."""
    tracking = track("tensorboard", "tiny", folder, Reporter(Console(quiet=True)))
    assert tracking is not None
    return tracking


def trained(data: PreparedData, folder: Path, tracking: Tracking) -> NetworkResult:
    return teach(data, SMALL, RunContext(Store(folder / "store"), seed=0, curves=tracking))


def test_every_epoch_of_a_training_stands_in_tensorboard(digits: PreparedData, tmp_path: Path) -> None:
    result = trained(digits, tmp_path, tensorboard(tmp_path))
    (run,) = points(tmp_path / "tiny/tracking", "validation accuracy").items()
    assert run == (f"teacher-{result.fingerprint[:8]}", expected(result.curve))
    ((_, losses),) = points(tmp_path / "tiny/tracking", "training loss").items()
    assert losses == expected(result.curve, "train_loss")


def test_a_training_that_was_killed_has_its_whole_curve_once(
    digits: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the first epoch, and again while the second one's point is written."""
    killed = RuntimeError("killed")

    def dies(self: Meter, phase: str, record: EpochRecord, earlier: bool = False) -> None:
        heard(self, phase, record, earlier)
        if not earlier:
            raise killed

    heard = Meter.epoch
    monkeypatch.setattr(Meter, "epoch", dies)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="killed"):
            trained(digits, tmp_path, tensorboard(tmp_path))
    monkeypatch.undo()
    result = trained(digits, tmp_path, tensorboard(tmp_path))
    assert list(points(tmp_path / "tiny/tracking", "validation accuracy").values()) == [expected(result.curve)]


def test_a_result_of_the_store_is_written_once_and_not_made_anew(digits: PreparedData, tmp_path: Path) -> None:
    folder = tmp_path / "tiny/tracking"
    result = teach(digits, SMALL, RunContext(Store(tmp_path / "store"), seed=0))
    (stored,) = (tmp_path / "store/teacher").glob("*/result.json")
    made = stored.stat().st_mtime_ns
    assert not folder.exists()
    for _ in range(2):
        assert trained(digits, tmp_path, tensorboard(tmp_path)) == result
        assert list(points(folder, "validation accuracy").values()) == [expected(result.curve)]
    assert stored.stat().st_mtime_ns == made


def test_phases_of_a_training_follow_one_another(tmp_path: Path) -> None:
    tracking = tensorboard(tmp_path)
    for phase, records in (("layers", CURVE[:1]), ("training", CURVE[1:])):
        for number, record in enumerate(records):
            tracking.epoch("student", KEY, phase, replace(record, epoch=number))
    tracking.whole("student", KEY, CURVE)
    assert points(tmp_path / "tiny/tracking", "validation accuracy") == {"student-01234567": expected(CURVE)}


class Kept(GeneralTracker):
    """A tracker of someone else's, which keeps in memory what it is told, and may break."""

    name = "kept"
    requires_logging_directory = False
    told: list[tuple[str, int]] = []  # noqa: RUF012
    breaks_at: int | None = None

    def __init__(self, project: str, **more: Any) -> None:
        super().__init__()
        self.project = project

    @property
    def tracker(self) -> None:
        return None

    def log(self, values: dict[str, float], step: int | None = None, **more: Any) -> None:
        if step == self.breaks_at:
            raise ConnectionError("no [route] to host\nsecond line")
        self.told.append((self.project, step or 0))


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> type[Kept]:
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "kept", Kept)
    monkeypatch.setattr(Kept, "told", [])
    return Kept


def test_any_tracker_that_accelerate_knows_can_be_named(kept: type[Kept], tmp_path: Path) -> None:
    assert make_plan(load_recipe(DIGITS, ("tracking=kept",)), ("pixel8",)).recipe.tracking == "kept"
    for _ in range(2):
        tracking = track("kept", "tiny", tmp_path, Reporter(Console(quiet=True)))
        assert tracking is not None
        tracking.whole("teacher", KEY, CURVE)
    assert kept.told == [("tiny-teacher-01234567", step) for step in (1, 2, 3, 4)]


def test_a_tracker_that_breaks_says_so_once_and_stops_nothing(
    kept: type[Kept], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Kept, "breaks_at", 2)
    shown = io.StringIO()
    tracking = track("kept", "tiny", tmp_path, Reporter(Console(file=shown)))
    assert tracking is not None
    for record in CURVE:
        tracking.epoch("teacher", KEY, "training", record)
    tracking.whole("teacher", KEY, CURVE)
    assert shown.getvalue() == "  tracking: kept failed (no [route] to host); the run goes on without it\n"
    assert [step for _, step in kept.told] == [1]
    monkeypatch.setattr(Kept, "breaks_at", None)
    again = track("kept", "tiny", tmp_path, Reporter(Console(quiet=True)))
    assert again is not None
    again.whole("teacher", KEY, CURVE)
    assert [step for _, step in kept.told] == [1, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tensorbord", "did you mean 'tensorboard'"),
        ("xyz", "known: aim, "),
        ("wandb", "wandb is not installed: pip install wandb"),
    ],
)
def test_a_tracker_that_is_not_there_is_refused_before_anything_runs(
    name: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", list)
    with pytest.raises(InputError, match=said):
        make_plan(load_recipe(DIGITS, (f"tracking={name}",)), ("pixel8",))


def test_tracking_is_off_unless_asked_for(tmp_path: Path) -> None:
    assert releases.recipe().tracking is None
    assert track(None, "tiny", tmp_path, Reporter(Console(quiet=True))) is None


@pytest.mark.parametrize(
    ("values", "drawn"),
    [
        ((), ""),
        ((0.5,), ""),
        ((0.5, 0.5, 0.5), ""),
        ((0.0, 1.0), "▁█"),
        ((0.0, 0.5, 1.0, 0.0), "▁▅█▁"),
        ((0, 0, 1, 1, 2, 2, 7, 7), "▁▂▃█"),
    ],
)
def test_a_course_is_drawn_from_its_least_to_its_greatest(values: tuple[float, ...], drawn: str) -> None:
    assert sparkline(values, width=4) == drawn


@pytest.mark.parametrize(("encoding", "drawn"), [("utf-8", " ▁▃▆█"), ("ascii", "")])
def test_a_stages_last_line_draws_the_validation_accuracy(encoding: str, drawn: str) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    reporter = Reporter(Console(file=stream, width=200))
    with reporter.stage("distil", 4, "samples") as meter:
        for record in CURVE:
            meter.epoch("training", record)
    stream.seek(0)
    assert stream.read().rstrip("\n").endswith(f"epoch 4: loss 0.500, validation 80.0%{drawn}")
