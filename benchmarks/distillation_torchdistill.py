"""One student distilled by edgepress and by torchdistill: same teacher, student, data, loss, optimizer and epochs.

torchdistill gets its images from memory, through torchvision's transforms on tensors, with the number of loader
processes that was faster here; both validate after each epoch.
torchdistill has no cache of the teacher's answers any more, so edgepress is timed with its cache too, the building of
it included.
"""

import logging
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.modes import Clock, gain
from benchmarks.record import ROOT, Bar, quick_asked, scratch, write_result
from pipeline.context import RunContext
from pipeline.data.prepare import prepare
from pipeline.distill.answers import student_schedule
from pipeline.distill.cache import cache_teacher
from pipeline.distill.start import start_student
from pipeline.distill.student import distill
from pipeline.evaluate import predict
from pipeline.metrics import accuracy
from pipeline.networks import load_network
from pipeline.recipe import Recipe, load_recipe
from pipeline.results import NetworkResult, PreparedData
from pipeline.store import Store
from pipeline.student import student_architecture
from pipeline.teacher import teach
from pipeline.teachers.inference import for_inference
from pipeline.training.schedule import learning_rate

RECIPE = ROOT / "recipes" / "fashion-mobilenet.yaml"
SETTINGS = (
    "data.limit=3000", "teacher.epochs=3", "teacher.batch_size=32",
    "distill.batch_size=32", "distill.learning_rate=0.006", "distill.epochs=6",
)  # fmt: skip
SHORT = ("data.limit=400", "teacher.epochs=1", "distill.epochs=1")
SEEDS = 3
WORKERS = (0, 1, 2)  # loader processes of torchdistill that are tried


def ours(
    data: PreparedData, teacher: NetworkResult, recipe: Recipe, mode: str, seed: int, folder: Path
) -> tuple[float, float]:
    """Seconds until the last epoch was over, and test accuracy."""
    settings = recipe.distill.model_copy(update={"mode": mode})
    clock, started = Clock(), time.perf_counter()
    context = RunContext(Store(folder / f"{mode}-{seed}"), seed=seed, observer=clock)
    cache = cache_teacher(data, teacher, settings, context) if mode == "cached" else None
    reached = distill(data, teacher, cache, recipe.student, settings, context).accuracy.value
    return clock.marks[-1] - started, reached


def theirs(
    data: PreparedData, teacher: NetworkResult, recipe: Recipe, seed: int, workers: int, epochs: int
) -> tuple[float, float]:
    """Seconds until the last epoch was over, and test accuracy of the student that torchdistill's box trains; as its
    example scripts do, the best epoch on the validation split is kept."""
    import torch
    from torch.utils.data import Dataset, RandomSampler
    from torchdistill.core.distillation import DistillationBox
    from torchvision.transforms import v2

    started = time.perf_counter()
    schedule = student_schedule(data, recipe.distill, seed)
    augmentation = recipe.distill.augmentation
    side = recipe.image.size
    transform = v2.Compose(
        [
            v2.RandomCrop(side, padding=round(augmentation.shift * side), padding_mode="edge"),
            v2.RandomHorizontalFlip(0.5 if augmentation.mirror else 0.0),
            v2.ToDtype(torch.float32),
        ]
    )
    rows = data.rows("train")
    images = torch.from_numpy(np.ascontiguousarray(data.inputs[rows].transpose(0, 3, 1, 2)))
    labels = data.targets[rows]

    class Clothes(Dataset):
        def __len__(self) -> int:
            return len(rows)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return transform(images[index]), int(labels[index])

    steps = math.ceil(len(rows) / schedule.batch_size)
    shape: Callable[[int], float] = lambda step: learning_rate(schedule, min(1.0, (step + 0.5) / (epochs * steps)))  # noqa: E731
    torch.manual_seed(seed)
    student = start_student(student_architecture(recipe.student, data, teacher), recipe.student, teacher, seed, data)
    config = {
        "num_epochs": epochs,
        "train_data_loader": {
            "dataset_id": "train",
            "sampler": {"class_or_func": RandomSampler, "kwargs": {}},
            "kwargs": {"batch_size": schedule.batch_size, "num_workers": workers, "persistent_workers": workers > 0},
        },
        "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False, "sequential": []},
        "student": {"forward_proc": "forward_batch_only", "sequential": []},
        # Its scheduler multiplies: the rate itself is 1.
        "optimizer": {"key": "AdamW", "kwargs": {"lr": 1.0, "weight_decay": schedule.weight_decay}},
        "scheduler": {"key": "LambdaLR", "kwargs": {"lr_lambda": shape}, "scheduling_step": 1},
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {
                "sub_terms": {
                    "kd": {
                        "criterion": {
                            "key": "KDLoss",
                            "kwargs": {
                                "student_module_path": ".", "student_module_io": "output",
                                "teacher_module_path": ".", "teacher_module_io": "output",
                                "temperature": recipe.distill.temperature, "alpha": 1 - float(recipe.distill.alpha),
                                "reduction": "batchmean",
                            },
                        },
                        "weight": 1.0,
                    }
                }
            },
        },
    }  # fmt: skip
    device = torch.device("cpu")
    box = DistillationBox(load_network(teacher), student, {"train": Clothes()}, config, device, [], False, 1)
    best, weights = -1.0, {}
    validation = data.rows("validation")
    for epoch in range(epochs):
        box.pre_epoch_process(epoch=epoch)
        for batch, targets, extra in box.train_data_loader:
            loss = box.forward_process(batch, targets, extra)
            box.post_forward_process(loss=loss)
        box.post_epoch_process()
        value = accuracy(predict(student, data, validation), data.targets[validation]).value
        if value >= best:
            best, weights = value, {name: tensor.clone() for name, tensor in student.state_dict().items()}
    seconds = time.perf_counter() - started
    student.load_state_dict(weights)
    box.clean_modules()
    test = data.rows("test")
    return seconds, accuracy(predict(student, data, test), data.targets[test]).value


def faster_workers(data: PreparedData, teacher: NetworkResult, recipe: Recipe) -> tuple[int, dict[str, float]]:
    """The number of loader processes with which torchdistill takes the least time for one epoch."""
    seconds = {workers: theirs(data, teacher, recipe, 0, workers, 1)[0] for workers in WORKERS}
    return min(seconds, key=lambda workers: seconds[workers]), {str(w): s for w, s in seconds.items()}


def main() -> None:
    quick = quick_asked()
    logging.getLogger().setLevel(logging.WARNING)
    recipe = load_recipe(RECIPE, (*SETTINGS, *(SHORT if quick else ())))
    epochs = recipe.distill.epochs
    with scratch() as folder:
        context = RunContext(Store(folder / "shared"), seed=recipe.seed)
        data = prepare(recipe.data, recipe.task, recipe.image, recipe.text, None, context)
        teacher = for_inference(data, teach(data, recipe.teacher, context), context)
        workers, tried = faster_workers(data, teacher, recipe)
        samples = len(data.rows("train")) * epochs
        ways: dict[str, Callable[[int], tuple[float, float]]] = {
            "torchdistill": lambda seed: theirs(data, teacher, recipe, seed, workers, epochs),
            "edgepress online": lambda seed: ours(data, teacher, recipe, "online", seed, folder),
            "edgepress cached": lambda seed: ours(data, teacher, recipe, "cached", seed, folder),
        }
        runs: list[dict[str, dict[str, float]]] = []
        for seed in range(1 if quick else SEEDS):
            order = list(ways.items())[:: 1 if seed % 2 == 0 else -1]
            found = {}
            for name, train in order:
                seconds, value = train(seed)
                print(f"seed {seed}: {name} {seconds:.0f} s", flush=True)
                found[name] = {"samples_per_second": samples / seconds, "accuracy": value}
            runs.append(found)
    rates = {
        name: statistics.median(
            run[name]["samples_per_second"] / run["torchdistill"]["samples_per_second"] for run in runs
        )
        for name in ways
    }
    reached = {name: [100 * run[name]["accuracy"] for run in runs] for name in ways}
    figures: dict[str, Any] = {
        "recipe": RECIPE.stem, "settings": list(SETTINGS), "seeds": len(runs), "loader_seconds": tried,
        "loader_processes": workers, "rate_against_torchdistill": rates,
        "mean_accuracy": {name: statistics.mean(values) for name, values in reached.items()}, "runs": runs,
    }  # fmt: skip
    bars = [Bar(f"{name}: rate against torchdistill", rates[name], ">=", 1.2) for name in list(ways)[1:]]
    for name in list(ways)[1:]:
        gained, noise = gain(reached[name], reached["torchdistill"])
        bars.append(Bar(f"{name}: points more than torchdistill, {noise:.2f} of noise added", gained + noise, ">=", 0))
    write_result("distillation-torchdistill", figures, bars, quick)


if __name__ == "__main__":
    main()
