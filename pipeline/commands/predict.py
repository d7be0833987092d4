"""`edgepress predict`: predicted latencies in a bundle's report."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.parts import AsJson, Quiet, answers, print_json, reporter, settle_libraries, show_table


@answers
def predict_command(
    bundle: Annotated[Path, typer.Argument(help="A bundle, a folder.", metavar="BUNDLE")],
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Predicts the latency of a bundle's files on the target's own core, and puts it into the bundle's report."""
    settle_libraries()
    from pipeline.emulated.predict_bundle import predict_bundle

    told = predict_bundle(bundle, reporter(quiet or as_json))
    if as_json:
        from pipeline.commands.prediction import prediction_json

        print_json({"predicted": [prediction_json(found) for found in told.found.values()], "refused": told.refused})
        return
    rows = []
    for name, found in told.found.items():
        prediction = found.prediction
        interval = f"{prediction.low:.3g} to {prediction.high:.3g} ms ({prediction.confidence:.0%})"
        rows.append((name, f"{prediction.ms:.3g} ms", interval, "; ".join(prediction.notes)))
    rows += [(name, "not predicted", "", why) for name, why in told.refused.items()]
    show_table(("file", "predicted", "interval", ""), rows)
