"""How the answer to one sample is kept: whole logits or the largest of them, in 32 or 16 bits."""

import numpy as np

from pipeline.distill.cache_results import AnswerForm
from pipeline.errors import InputError
from pipeline.results import PreparedData
from pipeline.settings.distill import DistillSettings, Ramp

LARGEST = float(np.finfo(np.float16).max)


def answer_form(data: PreparedData, settings: DistillSettings) -> AnswerForm:
    """What `settings.cache` asks for. Raises InputError for a `top_k` that leaves no class out."""
    classes, top_k = len(data.labels), settings.cache.top_k
    if top_k is None:
        return AnswerForm(classes, settings.cache.dtype)
    if top_k >= classes:
        raise InputError(f"distill.cache.top_k is {top_k}, the data has {classes} classes: lower it, or remove it")
    assert not isinstance(settings.temperature, Ramp), "refused with the settings"
    return AnswerForm(classes, settings.cache.dtype, top_k, settings.temperature)


def describe_form(form: AnswerForm) -> str:
    """In words, such as `10 classes in float32`."""
    kept = f"the top {form.top_k} of {form.classes:,}" if form.top_k else f"{form.classes:,}"
    return f"{kept} classes in {form.dtype}"


def record_of(form: AnswerForm) -> np.dtype:
    """One sample's answer. Whole logits are a plain array; of `top_k` there are the logits and their classes, largest
    first, and the logit that every other class is given (`pack_answers`)."""
    logit = np.dtype(form.dtype).newbyteorder("<")
    if form.top_k is None:
        return np.dtype((logit, (form.classes,)))
    number = "<u2" if form.classes <= 2**16 else "<u4"
    return np.dtype([("logits", logit, (form.top_k,)), ("classes", number, (form.top_k,)), ("others", "<f4")])


def pack_answers(logits: np.ndarray, form: AnswerForm) -> np.ndarray:
    """Records [B] of float32 logits [B, classes]; whole ones as an array [B, classes].

    With `top_k`, every other class gets one logit, the temperature times the log of the mean of their
    exp(logit / temperature). So at that temperature the k probabilities are the teacher's own and what is left of 1 is
    spread evenly: marginal smoothing (Shen and Xing 2022, A Fast Knowledge Distillation Framework for Visual
    Recognition). Raises InputError for logits beyond what float16 holds.
    """
    if form.top_k is None:
        return rounded(logits, form.dtype)
    assert form.temperature is not None
    order = np.argsort(-logits, axis=1, kind="stable")  # of equals the first class, whatever the machine
    chosen, others = order[:, : form.top_k], order[:, form.top_k :]
    packed = np.empty(len(logits), dtype=record_of(form))
    packed["logits"] = rounded(np.take_along_axis(logits, chosen, 1), form.dtype)
    packed["classes"] = chosen
    packed["others"] = _common_logit(np.take_along_axis(logits, others, 1), form.temperature)
    return packed


def unpack_answers(records: np.ndarray, form: AnswerForm) -> np.ndarray:
    """The float32 logits [B, classes] that records stand for."""
    if form.top_k is None:
        return records.astype(np.float32)
    logits = np.repeat(records["others"][:, None], form.classes, axis=1).astype(np.float32)
    np.put_along_axis(logits, records["classes"].astype(np.int64), records["logits"].astype(np.float32), axis=1)
    return logits


def rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    """float32 `values` in `dtype`, little-endian. Raises InputError for values beyond what float16 holds."""
    highest = float(np.abs(values).max(initial=0))
    if dtype == "float16" and LARGEST < highest < np.inf:
        raise InputError(
            f"distill.cache.dtype float16 holds values up to {LARGEST:g}, the teacher gave {highest:g}: use float32"
        )
    return values.astype(np.dtype(dtype).newbyteorder("<"))


def _common_logit(logits: np.ndarray, temperature: float) -> np.ndarray:
    """float64 [B] of float32 [B, n]; see `pack_answers`."""
    soft = logits.astype(np.float64) / temperature
    top = soft.max(axis=1)
    return temperature * (top + np.log(np.exp(soft - top[:, None]).mean(axis=1)))
