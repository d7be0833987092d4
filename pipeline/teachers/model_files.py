"""Model files of other frameworks, opened to run on batches: ONNX files, Keras files and SavedModels."""

import importlib
import io
import os
import zipfile
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np

from pipeline.errors import InputError
from pipeline.packages import PREFIX, package_path
from pipeline.quiet import quiet
from pipeline.settings.teacher import FileFormat
from pipeline.store import file_sha256

KERAS_FILES = (".keras", ".h5")
EPOCH = (1980, 1, 1, 0, 0, 0)  # of a zip's members: the same bytes for the same files

_ONNX_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}


@dataclass(frozen=True)
class FileInput:
    """One input of a model file; a size that may be any is None."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str  # numpy's name


class ModelFile(Protocol):
    """A model file opened by its framework."""

    inputs: tuple[FileInput, ...]

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All outputs by name for one batch of every input, in the inputs' own shapes and dtypes."""
        ...


def model_path(model: str) -> Path:
    """The file or folder of a teacher `onnx:PATH`, `keras:PATH` or `cache:PATH`. Raises InputError if it is not
    there."""
    reference = model.partition(":")[2]
    path = package_path(reference) if reference.startswith(PREFIX) else Path(reference).expanduser()
    if not path.exists():
        raise InputError(f"teacher {model}: no such file")
    return path


def file_identity(model: str) -> dict[str, str]:
    """SHA-256 of each file that belongs to a teacher `onnx:PATH` or `keras:PATH`."""
    path = model_path(model)
    return {name: file_sha256(file) for name, file in _members(path)}


def read_content(path: Path, form: FileFormat) -> bytes:
    """All that `open_content` needs: the file's bytes, or a SavedModel's folder as a zip.

    Raises InputError for an ONNX model in several files and for a folder that is no SavedModel.
    """
    if form == "onnx":
        if not path.is_file():
            raise InputError(f"{path}: found a folder, expected one ONNX file")
        content = path.read_bytes()
        _refuse_external_data(content, path)
        return content
    if path.is_file():
        if path.suffix not in KERAS_FILES:
            raise InputError(f"{path}: expected a .keras or .h5 file, or the folder of a SavedModel")
        return path.read_bytes()
    if not (path / "saved_model.pb").is_file():
        raise InputError(f"{path}: not a SavedModel: no saved_model.pb in it")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, file in _members(path):
            archive.writestr(zipfile.ZipInfo(name, EPOCH), file.read_bytes())
    return packed.getvalue()


def open_content(content: bytes, form: FileFormat, suffix: str, name: str, threads: int) -> ModelFile:
    """The model of `read_content`'s bytes, ready to run on the CPU with `threads`. `suffix` is of the file that they
    came from, `name` for messages. Raises InputError if it can't be opened, or TensorFlow is needed and absent."""
    return OnnxFile(content, name, threads) if form == "onnx" else KerasFile(content, suffix, name)


def stored_parameters(model: ModelFile, content: bytes) -> int:
    """How many weights the opened `content` holds. Of an ONNX file's tensors those of whole numbers of 32 bits and
    more are shapes and places, not weights."""
    if isinstance(model, KerasFile):
        return model.parameters
    import onnx

    others = (onnx.TensorProto.INT32, onnx.TensorProto.INT64, onnx.TensorProto.BOOL)
    tensors = [tensor for tensor in _onnx_graph(content).initializer if tensor.data_type not in others]
    return sum(int(np.prod(tensor.dims)) for tensor in tensors)


class OnnxFile:
    """An ONNX model in onnxruntime."""

    def __init__(self, content: bytes, name: str, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Torch's threads work in turns with these: they must not spin on the same cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors only
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no base class of their own
            raise InputError(f"{name}: onnxruntime can't open it as an ONNX model ({_one_line(error)})") from None
        self.inputs = tuple(
            FileInput(tensor.name, _shape(tensor.shape), _ONNX_DTYPES.get(tensor.type, tensor.type))
            for tensor in self._session.get_inputs()
        )
        self._names = [tensor.name for tensor in self._session.get_outputs()]

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(zip(self._names, self._session.run(self._names, feeds), strict=True))


class KerasFile:
    """A Keras model, or a SavedModel's signature `serving_default`, in TensorFlow."""

    def __init__(self, content: bytes, suffix: str, name: str) -> None:
        tensorflow = _tensorflow(name)
        with TemporaryDirectory() as folder:
            place = Path(folder) / f"model{suffix}"
            try:
                with quiet():
                    if suffix in KERAS_FILES:
                        place.write_bytes(content)
                        self._open_keras(tensorflow, place, name)
                    else:
                        with zipfile.ZipFile(io.BytesIO(content)) as archive:
                            archive.extractall(place)
                        self._open_saved_model(tensorflow, place, name)
            except InputError:
                raise
            except Exception as error:  # whatever a damaged file, or a layer that is not built in, raises
                raise InputError(f"{name}: TensorFlow can't open it ({_one_line(error)})") from None
        self._tensorflow = tensorflow

    def _open_keras(self, tensorflow: Any, file: Path, name: str) -> None:
        model = tensorflow.keras.models.load_model(file, compile=False)  # in Keras's safe mode: no code of the file
        if not getattr(model, "inputs", None):
            raise InputError(f"{name}: a model that names no inputs; write it with model.export(FOLDER) and name that")
        self.inputs = tuple(FileInput(i.name, _shape(i.shape), str(i.dtype)) for i in model.inputs)
        self.parameters = int(model.count_params())
        alone = len(self.inputs) == 1

        def call(**feeds: Any) -> Any:
            return model(next(iter(feeds.values())) if alone else feeds, training=False)

        self._call = tensorflow.function(call, reduce_retracing=True)

    def _open_saved_model(self, tensorflow: Any, folder: Path, name: str) -> None:
        self._loaded = tensorflow.saved_model.load(folder)  # kept: the signature does not hold its variables
        signature = self._loaded.signatures.get("serving_default")
        if signature is None:
            found = ", ".join(self._loaded.signatures) or "none"
            raise InputError(f"{name}: has no signature serving_default (found: {found}); export it with one")
        specs = signature.structured_input_signature[1]
        self.inputs = tuple(FileInput(key, _shape(spec.shape), spec.dtype.name) for key, spec in specs.items())
        self.parameters = sum(int(np.prod(variable.shape)) for variable in signature.variables)
        self._call = signature

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = self._call(**{name: self._tensorflow.constant(value) for name, value in feeds.items()})
        if not isinstance(found, dict):
            several = found if isinstance(found, (list, tuple)) else [found]
            found = {f"output_{index}": value for index, value in enumerate(several)}
        return {str(name): value.numpy() for name, value in found.items()}


def _tensorflow(name: str) -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with suppress(ImportError):
        # torch loads it late; after TensorFlow's library its own copy of LLVM ends the process.
        importlib.import_module("triton")
    try:
        with quiet():
            import tensorflow
    except ImportError as error:
        raise InputError(
            f"{name}: Keras models and SavedModels need TensorFlow ({_one_line(error)}): "
            "pip install 'edgepress[tensorflow]'"
        ) from None
    with suppress(RuntimeError):  # once its devices are in use they can't be hidden
        tensorflow.config.set_visible_devices([], "GPU")  # it would take all of the memory that training needs
    return tensorflow


def tensorflow_version() -> str:
    """Without importing it."""
    found = [metadata.version(name) for name in ("tensorflow", "tensorflow-cpu") if _installed(name)]
    return found[0] if found else "absent"


def _installed(name: str) -> bool:
    return bool(list(metadata.distributions(name=name)))


def _members(path: Path) -> list[tuple[str, Path]]:
    """Name and place of each file in a folder, sorted; of a file, itself."""
    if path.is_file():
        return [(path.name, path)]
    return [(str(file.relative_to(path).as_posix()), file) for file in sorted(path.rglob("*")) if file.is_file()]


def _refuse_external_data(content: bytes, path: Path) -> None:
    graph = _onnx_graph(content)
    if graph is not None and any(tensor.data_location for tensor in graph.initializer):
        raise InputError(
            f"{path}: keeps weights in other files; make one of them: onnx.save(onnx.load('{path.name}'), 'one.onnx')"
        )


def _onnx_graph(content: bytes) -> Any:
    """None if `content` is no ONNX model; onnxruntime tells why."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return onnx.ModelProto.FromString(content).graph
    except DecodeError:
        return None


def _shape(sizes: Any) -> tuple[int | None, ...]:
    return tuple(size if isinstance(size, int) and size > 0 else None for size in sizes)


def _one_line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300]
