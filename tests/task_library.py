"""The C++ TFLite Task Library and MetadataDisplayer of tflite-support, as a process of its own: one JSON request on
stdin (`kind`, `file`, `inputs`), one JSON answer on stdout.

tflite-support 0.4.4 was built for protobuf 3 and numpy 1 and asks for libusb. So here libusb comes from a package, its
messages are built from the descriptors in its own files, and images reach it as files, not as numpy arrays.
"""

import ast
import ctypes
import ctypes.util
import importlib.util
import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any


def ask(kind: str, file: Path, inputs: list[str] | None = None) -> Any:
    """`metadata`: {"metadata": parsed JSON, "files": names}. `image` (PNG files) and `text`: for each input the
    scores by label."""
    request = json.dumps({"kind": kind, "file": str(file), "inputs": inputs or []})
    done = subprocess.run(
        [sys.executable, "-m", "tests.task_library"],
        input=request, capture_output=True, text=True, cwd=Path(__file__).parents[1], timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, f"the task library failed: {done.stderr[-2000:]}"
    return json.loads(done.stdout.splitlines()[-1])


def libusb() -> str | None:
    """A libusb-1.0 to load: the one in the package libusb-package, else the system's."""
    spec = importlib.util.find_spec("libusb_package")
    if spec is not None and spec.origin is not None:
        return next((str(file) for file in Path(spec.origin).parent.glob("libusb-1.0.*")), None)
    return ctypes.util.find_library("usb-1.0")


def _prepare() -> None:
    library = libusb()
    assert library is not None
    ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)

    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    # Taken out in protobuf 5; the bindings call it.
    message_factory.MessageFactory.GetPrototype = lambda self, kind: message_factory.GetMessageClass(kind)  # type: ignore[attr-defined]
    spec = importlib.util.find_spec("tensorflow_lite_support")
    assert spec is not None
    assert spec.submodule_search_locations
    root = Path(spec.submodule_search_locations[0])
    found = {}
    for file in sorted(root.rglob("*_pb2.py")):
        content = _serialized(file)
        if content is not None:
            proto = descriptor_pb2.FileDescriptorProto.FromString(content)
            found[proto.name] = (proto, ".".join(file.relative_to(root.parent).with_suffix("").parts))
    pool = descriptor_pool.Default()
    added = set()

    def add(name: str) -> None:
        if name in added or name not in found:
            return
        added.add(name)
        proto, module_name = found[name]
        for needed in proto.dependency:
            add(needed)
        pool.AddSerializedFile(proto.SerializeToString())
        module = types.ModuleType(module_name)
        for kind, descriptor in pool.FindFileByName(name).message_types_by_name.items():
            setattr(module, kind, message_factory.GetMessageClass(descriptor))
        sys.modules[module_name] = module

    for name in found:
        add(name)


def _serialized(file: Path) -> bytes | None:
    """The file descriptor in the source of a _pb2 module; None if it defines no message itself."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.keyword) and node.arg == "serialized_pb":
            return ast.literal_eval(node.value)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "AddSerializedFile":
            return ast.literal_eval(node.args[0])
    return None


def _answer(kind: str, file: str, inputs: list[str]) -> Any:
    if kind == "metadata":
        from tensorflow_lite_support.metadata.python.metadata import MetadataDisplayer

        displayer = MetadataDisplayer.with_model_file(file)
        return {
            "metadata": json.loads(displayer.get_metadata_json()),
            "files": displayer.get_packed_associated_file_list(),
        }
    if kind == "text":
        from tensorflow_lite_support.python.task.text.bert_nl_classifier import BertNLClassifier

        texts = BertNLClassifier.create_from_file(file)
        results = [texts.classify(text).classifications[0] for text in inputs]
        return [{entry.category_name: entry.score for entry in result.categories} for result in results]
    from tensorflow_lite_support.python.task.vision.core.pybinds import image_utils
    from tensorflow_lite_support.python.task.vision.image_classifier import ImageClassifier

    images = ImageClassifier.create_from_file(file)._classifier
    results = [images.classify(image_utils.decode_image_from_file(image)).classifications[0] for image in inputs]
    return [{entry.class_name: entry.score for entry in result.classes} for result in results]


if __name__ == "__main__":
    _prepare()
    print(json.dumps(_answer(**json.loads(sys.stdin.read()))))
