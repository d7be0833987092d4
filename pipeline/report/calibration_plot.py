"""Whether confidence is earned: accuracy by confidence."""

from typing import Any

from matplotlib.axes import Axes

from pipeline.report.figures import last_student, short_name
from pipeline.report.plots import MUTED, Drawing, drawing, file_colour, key, plot, quiet, role_colour


def reliability(report: dict[str, Any], name: str) -> Drawing:
    """Accuracy by confidence of the teacher, the student and the shipped files; on the diagonal they are the same. The
    larger a dot, the more samples."""
    audit, student = report["audit"], last_student(report["networks"])
    colours = {"teacher": role_colour("teacher"), student: role_colour(student)}
    colours |= {file["name"]: file_colour(file) for file in report["files"] if file["shipped"]}
    models = {model["name"]: model for model in audit["models"]}
    drawn = [models[name] for name in colours]

    def draw(axes: Axes) -> None:
        axes.plot((0, 100), (0, 100), color=MUTED, linewidth=0.8, linestyle=(0, (2, 3)))
        for model in drawn:
            bins = model["reliability"]
            total = sum(found["samples"] for found in bins)
            confidence = [100 * found["confidence"] for found in bins]
            right = [100 * found["accuracy"] for found in bins]
            dots = [12 + 180 * found["samples"] / total for found in bins]
            # No lines: between bins of a few samples they would draw noise.
            axes.scatter(confidence, right, s=dots, color=colours[model["name"]], alpha=0.7, linewidths=0)
        least = min(
            100 * min(found["confidence"], found["accuracy"]) for model in drawn for found in model["reliability"]
        )
        axes.set_xlim(max(least - 4, -2), 102)
        axes.set_ylim(max(least - 4, -4), 104)
        axes.set_xlabel("confidence in %, mean of a bin")
        axes.set_ylabel("accuracy in %")
        quiet(axes)

    told = (f"{short_name(model['name'])} {100 * model['calibration_error']['value']:.1f}%" for model in drawn)
    alt = f"Accuracy by confidence; calibration error: {', '.join(told)}"
    keys = [key(short_name(model), colour) for model, colour in colours.items()]
    return drawing(plot(name, 3.0, ["100.0"], draw), alt, keys)
