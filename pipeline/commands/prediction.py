"""Commands that predict: what a latency is predicted to be, from where and how sure, and verdicts that rest on it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.commands.parts import print_json, reporter, settle_libraries, show_table

if TYPE_CHECKING:
    from pipeline.emulated.prediction import PredictedFile
    from pipeline.gating.verdict import Verdict


def show_prediction(file: Path, target: str, as_json: bool) -> None:
    """Prints the latency that is predicted for a file on a target's core."""
    settle_libraries()
    from pipeline.emulated.prediction import predict_file
    from targets.profile import load_profile

    found = predict_file(file, load_profile(target), reporter(as_json))
    if as_json:
        print_json(prediction_json(found))
        return
    prediction, work = found.prediction, found.work
    rows = [
        ("latency", f"{prediction.ms:.3g} ms"),
        (f"{prediction.confidence:.0%} interval", f"{prediction.low:.3g} to {prediction.high:.3g} ms"),
        ("of it instructions", f"{prediction.parts['instructions']:.3g} ms"),
        ("of it bytes of weights", f"{prediction.parts['weight_bytes']:.3g} ms"),
        ("instructions", f"{work.instructions:,}"),
        ("weights", f"{work.weight_bytes / 1e6:.3g} MB"),
        ("activations", f"{work.activation_bytes / 1e6:.3g} MB"),
        ("operators", str(work.operators)),
    ]
    cores = f"{prediction.threads} threads of a {prediction.core}"
    show_table((f"{found.file.name}, {work.dtype}", cores), rows)
    print(
        f"source: predicted, from latencies of {prediction.fitted_on} ({'; '.join(prediction.sources)}) and from "
        f"instructions of an emulated {work.core} ({found.counts.qemu}, {found.counts.runtime} {found.counts.version})"
    )
    for note in prediction.notes:
        print(f"note: {note}")


def prediction_json(found: "PredictedFile") -> dict[str, Any]:
    """The same, whole."""
    import dataclasses

    return {
        "file": found.file.name,
        "source": "predicted",
        **dataclasses.asdict(found.prediction),
        "work": {**dataclasses.asdict(found.work), "instructions": found.work.instructions},
        "counts": dataclasses.asdict(found.counts),
    }


def gate_by_prediction(verdict: "Verdict", bundle: Path, *, quiet: bool) -> "Verdict":
    """`verdict` with latency budgets held against predictions, where the bundle's profile allows it."""
    settle_libraries()
    from pipeline.gating.predicted_gate import with_predictions

    return with_predictions(verdict, bundle, reporter(quiet))
