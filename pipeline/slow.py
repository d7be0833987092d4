"""Why 8 bits gain no time where they gain none, in words made of what was found in the file, and what to choose."""

from collections import Counter
from collections.abc import Mapping

from pipeline.quantize.inspect import CONVERSIONS
from pipeline.results import TargetFile
from pipeline.student import STUDENTS, StudentFamily
from pipeline.students.adapt import REPLACEMENTS
from pipeline.words import listed, short
from targets.profile import Runtime, RuntimeName
from targets.runtimes.coverage import Coverage

NOT_FASTER = "is not faster than float32"  # in the note on a quantized file that gained no time
NAMED = 3  # kinds of operators that a sentence names
# The kinds that onnxruntime gives an operator in float, in 8 bits, and fused with what follows.
LAYERS = {
    "conv": "convolutions", "fused-conv": "convolutions", "q-linear-conv": "convolutions",
    "conv-integer": "convolutions", "gemm": "matrix products", "fused-gemm": "matrix products",
    "q-gemm": "matrix products", "mat-mul": "matrix products", "fused-mat-mul": "matrix products",
    "q-linear-mat-mul": "matrix products", "mat-mul-integer-to-float": "matrix products",
    "dynamic-quantize-mat-mul": "matrix products",
}  # fmt: skip
CONVERTING = "conversions between float and 8 bits"
LAYOUT = {"reorder-input": "changes of layout", "reorder-output": "changes of layout"}


def not_faster(file: TargetFile, beside: TargetFile, family: str) -> str | None:
    """Why a quantized file is not faster than the float32 file `beside` it, and what to choose instead, from what was
    found in both; None where it is faster, or not measured."""
    if file.latency is None or beside.latency is None or beside.latency.p50 > file.latency.p50:
        return None
    told = [
        f"{file.export.label} {NOT_FASTER} here: p50 {short(file.latency.p50)} ms against "
        f"{short(beside.latency.p50)} ms"
    ]
    if file.coverage is not None and beside.coverage is not None:
        told += [*_why(file.coverage, beside.coverage), *_where_time_goes(file, beside)]
        blamed = {*_fallen(file.coverage, beside.coverage), *file.coverage.in_float}
        told.append(_instead(file, beside, blamed, STUDENTS.get(family)))
    return ". ".join(told)


def _why(found: Coverage, float32: Coverage) -> list[str]:
    told = []
    fallen = _fallen(found, float32)
    if fallen:
        pieces = f"the graph runs in {found.pieces} pieces ({float32.pieces} in float32)"
        told.append(f"{found.delegate} left out {listed(fallen, NAMED)}: {pieces}")
    if found.in_float:
        told.append(
            f"In float, between {found.conversions} conversions, compute {listed(found.in_float, NAMED)} of "
            f"{found.operators} operators"
        )
    if not told:
        told.append(f"No operator fell out, of {found.operators}: none is to blame")
    return told


def _fallen(found: Coverage, float32: Coverage) -> Counter[str]:
    """What the delegate leaves out by kind, but for what it leaves out in float32 too."""
    return Counter(found.left_out) - Counter(float32.left_out)


def _where_time_goes(file: TargetFile, beside: TargetFile) -> list[str]:
    """The groups of operators that cost more than in float32, by the runtime's profiler."""
    if file.export.format == "tflite":
        return ["Times by operator are not known: LiteRT's Python interface has no profiler"]
    if file.operator_times is None or beside.operator_times is None:
        return []
    now, before = _groups(file.operator_times.ms), _groups(beside.operator_times.ms)
    grown = sorted(now, key=lambda group: before.get(group, 0.0) - now[group])
    dearer = [
        f"{group} {short(now[group])} ms against {short(before[group]) if group in before else 'none'}"
        for group in grown[:NAMED]
        if now[group] > before.get(group, 0.0)
    ]
    return [f"Dearer by onnxruntime's profiler: {', '.join(dearer)}"] if dearer else []


def _groups(times: Mapping[str, float]) -> dict[str, float]:
    """Milliseconds by what operators are for, so that a convolution in float and one in 8 bits can be compared."""
    total: dict[str, float] = {}
    for kind, ms in times.items():
        group = CONVERTING if kind in CONVERSIONS else LAYERS.get(kind) or LAYOUT.get(kind, kind)
        total[group] = total.get(group, 0.0) + ms
    return total


def _instead(file: TargetFile, beside: TargetFile, blamed: set[str], family: StudentFamily | None) -> str:
    sizes = f"{short(file.export.bytes / 1e6)} MB against {short(beside.export.bytes / 1e6)} MB"
    ways = []
    other = STUDENTS.get(family.alternative) if family and family.alternative else None
    shared = family.operators & blamed if family else frozenset[str]()
    if other and shared and not other.operators & shared:
        ways.append(f"student.family: {other.name}, which has no {' or '.join(sorted(shared))}")
    if replaced := sorted(shared.intersection(REPLACEMENTS)):
        ways.append(f"student.adapt: [{', '.join(replaced)}], and the student learns without")
    if file.export.scheme not in ("float16", "float32"):
        ways.append("quantization.scheme: float16 in the profile, float32's arithmetic in half its bytes")
    kept = f"Here it saves bytes alone, {sizes}"
    return f"{kept}. Instead: {'; or '.join(ways)}" if ways else kept


# Operators that a runtime's CPU kernels compute in float, or that cut its delegate's graph, in an int8-static file.
WITHOUT_8_BITS: dict[RuntimeName, frozenset[str]] = {
    "litert": frozenset({"hard-swish"}),
    "onnxruntime": frozenset({"hard-swish", "hard-sigmoid"}),
}
CPU_DELEGATES = (None, "xnnpack", "cpu", "wasm")


def known_slow(family: StudentFamily, runtime: Runtime, scheme: str) -> str | None:
    """What is known before a run of a family's operators that have no 8-bit kernel; None where there is nothing, and
    for devices whose delegate is no CPU's."""
    without = sorted(family.operators & WITHOUT_8_BITS[runtime.name])
    if "static" not in scheme or not without or runtime.delegate not in CPU_DELEGATES:
        return None
    who = "XNNPACK" if runtime.name == "litert" else "onnxruntime"
    instead = f"student.family: {family.alternative} has none, " if family.alternative else ""
    if replaced := sorted(REPLACEMENTS.keys() & set(without)):
        instead += f"student.adapt: [{', '.join(replaced)}] teaches it without, "
    return (
        f"{family.name} has {' and '.join(without)}, for which {who} has no 8-bit kernel: {scheme} may be slower than "
        f"float32; {instead}quantization.scheme: float16 computes in float"
    )
