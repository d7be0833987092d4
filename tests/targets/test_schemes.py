"""What a device's runtimes have no kernels for is refused when its profile is read."""

from typing import Any, get_args

import pytest
import yaml

from targets.errors import TargetError
from targets.profile import PROFILES, Profile, Quantization
from targets.schemes import Scheme
from targets.strict import parse


def profile(
    runtimes: tuple[str, ...] = ("litert", "onnxruntime"), opset: int = 21, **quantization: dict[str, Any]
) -> Profile:
    """pixel8's with other runtimes and schemes by task."""
    content = yaml.safe_load((PROFILES / "pixel8.yaml").read_text())
    content["runtimes"] = [{"name": name} for name in runtimes]
    content["quantization"] |= quantization
    content["export"]["opset"] = opset
    return parse(Profile, content, "profile")


@pytest.mark.parametrize(
    ("task", "quantization", "runtimes", "said"),
    [
        ("image", {"scheme": "int4-dynamic"}, ("litert", "onnxruntime"), "none for convolutions"),
        ("image", {"scheme": "int4-weights", "granularity": "per-block"}, ("litert",), "granularity: per-channel"),
        ("text", {"scheme": "int4-dynamic"}, ("litert", "onnxruntime"), "granularity: per-block"),
        ("text", {"scheme": "int4-weights", "granularity": "per-block"}, ("litert",), "use int4-dynamic"),
        ("text", {"scheme": "int8-dynamic", "granularity": "per-block"}, ("litert",), "weights of 4 bits"),
        ("text", {"scheme": "int8-dynamic", "activations": "symmetric"}, ("litert",), "needs a static scheme"),
        ("image", {"scheme": "int8-static-a16", "onnx_format": "qoperator"}, ("onnxruntime",), "onnx_format: qdq"),
        ("image", {"scheme": "int8-static-a16", "activations": "asymmetric"}, ("litert",), "16 bits are symmetric"),
        ("image", {"scheme": "int8-static-a16", "io_dtype": "int8"}, ("litert",), "needs scheme int8-static"),
        ("image", {"scheme": "int8-static", "activations": "symmetric"}, ("onnxruntime",), "onnx_activations: int8"),
        (
            "image",
            {"scheme": "int8-static", "activations": "symmetric", "io_dtype": "uint8"},
            ("litert",),
            "takes asymmetric activations",
        ),
        (
            "image",
            {"scheme": "int8-static", "onnx_activations": "int8", "onnx_weights": "uint8"},
            ("onnxruntime",),
            "onnx_weights: int8",
        ),
    ],
)
def test_what_a_runtime_has_no_kernels_for_is_refused_with_the_way_out(
    task: str, quantization: dict[str, Any], runtimes: tuple[str, ...], said: str
) -> None:
    with pytest.raises(TargetError, match=rf"quantization.*{task}.*{said}"):
        profile(runtimes, **{task: quantization})


@pytest.mark.parametrize(
    ("task", "quantization", "runtimes"),
    [
        ("image", {"scheme": "int4-dynamic"}, ("litert",)),
        ("image", {"scheme": "int8-static-a16"}, ("litert", "onnxruntime")),
        ("image", {"scheme": "int8-static-a16", "activations": "asymmetric"}, ("onnxruntime",)),
        ("image", {"scheme": "int8-static", "activations": "symmetric"}, ("litert",)),
        (
            "image",
            {"scheme": "int8-static", "activations": "symmetric", "onnx_activations": "int8"},
            ("litert", "onnxruntime"),
        ),
        ("text", {"scheme": "int4-dynamic", "granularity": "per-block"}, ("litert", "onnxruntime")),
        ("text", {"scheme": "int4-weights", "granularity": "per-block"}, ("onnxruntime",)),
    ],
)
def test_what_they_have_kernels_for_is_welcome(
    task: str, quantization: dict[str, Any], runtimes: tuple[str, ...]
) -> None:
    assert profile(runtimes, **{task: quantization}).runtimes[0].name == runtimes[0]


def test_weights_of_4_bits_in_onnx_need_an_operator_set_that_has_them() -> None:
    four = {"scheme": "int4-dynamic", "granularity": "per-block"}
    with pytest.raises(TargetError, match=r"quantization\.text.*since operator set 21, export\.opset is 20"):
        profile(opset=20, text=four)
    assert profile(("litert",), opset=20, text=four).export.opset == 20


def test_file_names_hold_the_scheme_as_it_is() -> None:
    assert [Quantization(scheme=scheme).label for scheme in get_args(Scheme)] == list(get_args(Scheme))


def test_activations_of_8_bits_are_asymmetric_and_of_16_symmetric_unless_the_profile_says_otherwise() -> None:
    assert not Quantization(scheme="int8-static").symmetric
    assert Quantization(scheme="int8-static", activations="symmetric").symmetric
    assert Quantization(scheme="int8-static-a16").symmetric
    assert not Quantization(scheme="int8-static-a16", activations="asymmetric").symmetric
