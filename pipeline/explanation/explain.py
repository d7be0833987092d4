"""Why teacher and student decide so: whether the same parts of an input speak for the class that the student predicts.

Both explain that class, also where the teacher predicts another: it is the one question that both can answer.
"""

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from pipeline.context import RunContext
from pipeline.data.batches import evaluation_batches
from pipeline.data.spans import common_parts, piece_spans, read_texts, summed
from pipeline.data.split import stratified_sample
from pipeline.data.texts import load_tokenizer
from pipeline.errors import InputError
from pipeline.explanation.agreement import Parts, measured, rank_correlation, top_overlap
from pipeline.explanation.attribution import Attributed, attribute_images, attribute_texts
from pipeline.networks import device_of, load_network, runs_files
from pipeline.packages import require_extra
from pipeline.progress import Meter
from pipeline.results import ExplainResult, NetworkResult, PreparedData
from pipeline.settings.release import ExplainSettings
from pipeline.training.fit import deterministic, prepare_torch, to_device

BATCH = 8  # samples attributed together; each takes tens of passes


def explain(
    teacher_data: PreparedData,
    data: PreparedData,
    teacher: NetworkResult,
    student: NetworkResult,
    settings: ExplainSettings,
    context: RunContext,
) -> ExplainResult:
    """How far the attributions of `teacher` and `student` agree. `teacher_data` and `data` are the same samples as each
    of the two reads them; where they spell a word otherwise, the whole word is compared.

    Parts in which an input is like nothing (black cells, special tokens) are left out: no network can find anything
    there, and agreeing on it is no merit. Raises InputError if the teacher has no gradients and the method needs them.
    """

    def make(folder: Path, key: str, meter: Meter) -> ExplainResult:
        device = prepare_torch(context)
        rows = explained_rows(data, settings)
        tested = np.searchsorted(data.rows("test"), rows)
        explained, other = (result.test_logits[tested].argmax(1).astype(np.int64) for result in (student, teacher))
        found: dict[str, list[np.ndarray]] = {}
        missed: dict[str, float] = {}
        for name, result, read in (("teacher", teacher, teacher_data), ("student", student, data)):
            network = load_network(result).to(device).requires_grad_(False)
            if runs_files(network) and settings.method == "integrated_gradients":
                raise InputError(f"explain: {result.name} has no gradients; use explain.method: occlusion")
            with deterministic():
                found[name], errors = _attributions(network, read, rows, explained, settings, meter)
            if errors is not None:
                missed[name] = float(np.median(errors))
        parts = _parts(found, rows, teacher_data, data, settings)
        correlation = measured(parts, rank_correlation, settings.seed)
        overlap = measured(parts, lambda one, two: top_overlap(one, two, settings.top), settings.seed)
        _write(folder / "samples.npz", rows, explained, other, parts, correlation[0], overlap[0])
        return ExplainResult(
            key, settings.method, len(rows), settings.top,
            settings.grid if data.task == "image-classification" else None,
            float((explained == other).mean()), correlation[1], overlap[1], missed, folder / "samples.npz",
        )  # fmt: skip

    require_extra("captum", "explain")
    inputs = {
        "data": data.fingerprint,
        "teacher data": teacher_data.fingerprint,
        "teacher": teacher.fingerprint,
        "student": student.fingerprint,
        "settings": settings,
        "captum": metadata.version("captum"),
    }
    total = 2 * len(explained_rows(data, settings))
    return context.stage("explain", inputs, ExplainResult, make, total=total, unit="samples")


def explained_rows(data: PreparedData, settings: ExplainSettings) -> np.ndarray:
    """int64, sorted: row numbers of the test samples that are explained, each class by its share."""
    tested = data.rows("test")
    return tested[stratified_sample(data.targets[tested], settings.samples, settings.seed)]


def _attributions(
    network: nn.Module,
    data: PreparedData,
    rows: np.ndarray,
    classes: np.ndarray,
    settings: ExplainSettings,
    meter: Meter,
) -> tuple[list[np.ndarray], np.ndarray | None]:
    """Of each row, the attributions of its cells or word pieces, and what integrated gradients missed, [N]."""
    from torch import from_numpy

    found: list[np.ndarray] = [np.empty(0)] * len(rows)
    errors = np.zeros(len(rows))
    tokenizer = load_tokenizer(data.tokenizer_folder) if data.tokenizer_folder else None
    device = device_of(network)
    done: Attributed
    for batch in evaluation_batches(data, rows, BATCH):
        inputs = to_device(batch, device).inputs
        wanted = from_numpy(classes[batch.positions]).to(device)
        if tokenizer is None:
            done = attribute_images(network, inputs[0], wanted, settings)
            values = pooled(done.values, settings.grid, settings.method == "integrated_gradients")
        else:
            done = attribute_texts(network, inputs, wanted, settings, tokenizer)
            values = done.values
        for place, value in zip(batch.positions, values.detach().cpu().numpy(), strict=True):
            found[place] = value.ravel()
        if done.missed is not None:
            errors[batch.positions] = done.missed.cpu().numpy()
        meter.advance(len(batch.rows))
    return found, errors if settings.method == "integrated_gradients" else None


def pooled(values: Tensor, grid: int, add: bool) -> Tensor:
    """[B, S, S] as [B, grid, grid]: the sum over each cell's pixels, or the mean."""
    cell = values.shape[-1] // grid
    cells = values.unflatten(2, (grid, cell)).unflatten(1, (grid, cell))  # [B, grid, cell, grid, cell]
    return cells.sum((2, 4)) if add else cells.mean((2, 4))


def _parts(
    found: dict[str, list[np.ndarray]],
    rows: np.ndarray,
    teacher_data: PreparedData,
    data: PreparedData,
    settings: ExplainSettings,
) -> list[Parts]:
    pairs = list(zip(found["teacher"], found["student"], strict=True))
    if data.task == "image-classification":
        lit = data.inputs[rows].any(3)
        cell = lit.shape[1] // settings.grid
        used = lit.reshape(len(rows), settings.grid, cell, settings.grid, cell).any((2, 4)).reshape(len(rows), -1)
        return [Parts(*pair, mask) for pair, mask in zip(pairs, used, strict=True)]
    texts = read_texts(data, rows)
    spelt = [piece_spans(read, texts, rows) for read in (teacher_data, data)]
    parts = []
    for (one, two), first, second in zip(pairs, *spelt, strict=True):
        spans, (of_first, of_second) = common_parts(first, second)
        sums = (summed(one, of_first, len(spans)), summed(two, of_second, len(spans)))
        parts.append(Parts(*sums, np.ones(len(spans), dtype=bool), spans))
    return parts


def _write(
    file: Path,
    rows: np.ndarray,
    explained: np.ndarray,
    other: np.ndarray,
    parts: Sequence[Parts],
    correlation: np.ndarray,
    overlap: np.ndarray,
) -> None:
    most = max(len(part.used) for part in parts)
    shape = (len(parts), most)
    teacher, student = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    used, spans = np.zeros(shape, bool), np.zeros((*shape, 2), np.int32)
    for place, part in enumerate(parts):
        count = len(part.used)
        teacher[place, :count], student[place, :count] = part.teacher, part.student
        used[place, :count] = part.used
        if part.spans is not None:
            spans[place, :count] = part.spans
    np.savez(
        file, rows=rows, explained=explained, teacher_class=other, correlation=correlation, overlap=overlap,
        teacher=teacher, student=student, used=used, spans=spans,
    )  # fmt: skip
