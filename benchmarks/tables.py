"""What the results say as tables of Markdown, for README and pages."""

import json
import statistics
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def figures_of(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())["figures"]


def demo_table() -> str:
    """What each target of the digits recipe got."""
    result = figures_of("main-digits")
    rows = [
        "| target | file | accuracy (95%) | size | p90 on the host | against float32 |",
        "|---|---|---|---|---|---|",
    ]
    networks = result["networks"]
    size = f"{result['teacher_onnx_bytes'] / 1e6:.2f} MB"
    rows.append(
        f"| | teacher {networks['teacher']['name']} | {_accuracy(networks['teacher']['accuracy'])} | {size} | | |"
    )
    words_of = {"naive": "without teacher", "student": "distilled", "pruned": "pruned", "trimmed": "trimmed"}
    for role, words in words_of.items():
        if networks.get(role):
            rows.append(f"| | {networks[role]['name']}, {words} | {_accuracy(networks[role]['accuracy'])} | | | |")
    for target, got in result["targets"].items():
        for name, file in got["files"].items():
            smaller = f"{file['bytes'] / 1e6:.2f} MB ({file['times_smaller']:.1f}x smaller)"
            faster = file["times_faster_than_float32"]
            speed = f"{faster:.2f}x as fast" if faster else ""
            p90 = f"{file['latency_ms']['p90']:.2f} ms"
            rows.append(f"| {target} | {name} | {_accuracy(file['accuracy'])} | {smaller} | {p90} | {speed} |")
    return "\n".join(rows)


def _accuracy(accuracy: dict[str, Any]) -> str:
    return f"{accuracy['value']:.2%} ({accuracy['low']:.1%} to {accuracy['high']:.1%})"


def peers_table() -> str:
    """The INT8 files of other tools beside ours, and who could not be asked."""
    result = figures_of("compression-peers")
    rows = ["| file | accuracy | agrees with the student | size | latency against ours |", "|---|---|---|---|---|"]
    for format in ("onnx", "tflite"):
        for name, file in result[format]["files"].items():
            rows.append(
                f"| {format} {name} | {file['accuracy']:.2f}% | {file['agreement']:.2%} | {file['bytes'] / 1e6:.2f} MB "
                f"| {file['against_ours']:.3f} |"
            )
    rows += [f"| {name} | {reason} | | | |" for name, reason in result["failed"].items()]
    return "\n".join(rows)


def speeds_table() -> str:
    """INT8 against float32 of every convolutional family."""
    families = figures_of("compression-speed")["families"]
    runtimes = {"litert": "LiteRT", "onnxruntime": "ONNX Runtime"}
    heads = [f"{told}: float32, INT8 | times faster" for told in runtimes.values()]
    rows = [f"| student | INT8 file | {' | '.join(heads)} |", "|---" * (2 + 2 * len(runtimes)) + "|"]
    for family, found in families.items():
        cells = [f"{found['litert']['bytes'][1] / 1e6:.2f} MB"]
        for runtime in runtimes:
            got = found[runtime]
            ms = (statistics.median(got[f"{scheme}_ms"]) for scheme in ("float32", "int8"))
            cells += [", ".join(f"{each:.2f} ms" for each in ms), f"{got['times_faster']:.2f}"]
        rows.append(f"| `{family}` | {' | '.join(cells)} |")
    return "\n".join(rows)


def bars_table(subject: str, folder: str) -> str:
    """Every bar of every result of `subject`, met or missed; `folder` is where the page finds the results."""
    rows = ["| what | measured | asked for | | from |", "|---|---|---|---|---|"]
    for file in sorted(RESULTS.glob(f"{subject}*.json")):
        for bar in json.loads(file.read_text())["bars"]:
            met = "met" if bar["met"] else "**missed**"
            link = f"[{file.stem}]({folder}/{file.name})"
            rows.append(f"| {bar['name']} | {bar['value']:.4g} | {bar['op']} {bar['want']:g} | {met} | {link} |")
    return "\n".join(rows)


def tinybert_table() -> str:
    """TinyBERTs by where they start and what they learn from, and what is left of them with fewer word pieces."""
    starts, taught, trimmed = (figures_of(f"distillation-{name}") for name in ("starts", "tinybert", "vocabulary"))
    rows = [
        "| student of 4 layers | learns from | accuracy | of MiniLM's | seeds |",
        "|---|---|---|---|---|",
        f"| (MiniLM itself, 6 layers) | labels | {starts['teacher']['accuracy']:.2f}% | | 1 |",
    ]
    for name, student in starts["students"].items():
        rows.append(f"| {name} | answers | {student['accuracy']:.2f}% | {student['kept']:.1%} | 1 |")
    for way, accuracies in taught["accuracy"].items():
        mean = statistics.mean(accuracies)
        share = mean / taught["teacher"]["accuracy"]
        rows.append(f"| 312 wide, embeddings projected | {way} | {mean:.2f}% | {share:.1%} | {len(accuracies)} |")
    rows += [
        "",
        "| word pieces kept, of 312 wide, layers projected | accuracy before | after | INT8 files: size | accuracy | "
        "smaller than MiniLM in float32 |",
        "|---|---|---|---|---|---|",
    ]
    for name, way in trimmed["ways"].items():
        files = list(way["files"].values())
        sizes, accuracies, times = (
            ", ".join(form.format(file[key]) for file in files)
            for form, key in (("{:,} bytes", "bytes"), ("{:.2%}", "accuracy"), ("{:.1f}x", "times_smaller"))
        )
        before, after = (way["accuracy"][role] for role in ("student", "trimmed"))
        rows.append(f"| {name} | {before:.2f}% | {after:.2f}% | {sizes} | {accuracies} | {times} |")
    return "\n".join(rows)


def modes_table() -> str:
    """Ways to ask the teacher, by their cost and what the student reached."""
    rows = [
        "| task, teacher | mode | in all | an epoch | teacher's share | accuracy |",
        "|---|---|---|---|---|---|",
    ]
    for kind in ("images", "texts"):
        figures = figures_of(f"distillation-modes-{kind}")
        for weight in ("light", "heavy"):
            for way, told in figures[weight]["summary"].items():
                if isinstance(told, dict):
                    name = "no teacher" if way == "naive" else way
                    share = "" if way == "naive" else f"{max(told['teacher_share'], 0):.0%}"
                    rows.append(
                        f"| {kind}, {weight} | {name} | {told['total_seconds']:.0f} s | {told['epoch_seconds']:.1f} s "
                        f"| {share} | {told['mean_accuracy']:.2%} |"
                    )
    return "\n".join(rows)


def brings_table() -> str:
    """Students with and without a teacher, seed by seed."""
    words = {"naive": "none", "strong": "strong", "weak": "weak"}
    rows = ["| student | teacher | its accuracy | student, by seed | mean |", "|---|---|---|---|---|"]
    for family, found in figures_of("distillation-brings-images")["families"].items():
        for name, accuracies in found["accuracy"].items():
            own = f"{found['teachers'][name]:.2f}%" if name in found["teachers"] else ""
            seeds = ", ".join(f"{accuracy:.2f}%" for accuracy in accuracies)
            rows.append(f"| {family} | {words[name]} | {own} | {seeds} | {statistics.mean(accuracies):.2f}% |")
    return "\n".join(rows)


def quantized_table() -> str:
    """Students in 8 bits as they come, repaired, and trained for it."""
    rows = [
        "| student | runtime | file | accuracy, mean of seeds | formats agree | size | latency against float32 | "
        "in 8 bits |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for family, found in figures_of("compression-quantization")["families"].items():
        accuracy = {name: statistics.mean(values) for name, values in found["accuracy"].items()}
        for role in ("naive", "student"):
            name = "without a teacher" if role == "naive" else "distilled"
            rows.append(f"| {family} | PyTorch | float32, {name} | {accuracy[role]:.2f}% | | | | |")
        for name, mean in accuracy.items():
            if name in ("naive", "student"):
                continue
            runtime, way = name.split()
            file = found["files"].get(name)
            agree = f"{statistics.mean(found['agreement'][way]):.2%}" if way in found["agreement"] else ""
            cells = ["", "", ""]
            if file:
                cells = [f"{file['bytes'][1] / 1e6:.2f} MB", f"{1 / file['times_faster']:.2f}",
                         f"{file['share_in_8_bits']:.0%}"]  # fmt: skip
            named = way if way == "float32" else f"INT8, {way}"
            rows.append(f"| {family} | {runtime} | {named} | {mean:.2f}% | {agree} | {' | '.join(cells)} |")
    return "\n".join(rows)


def pruned_table() -> str:
    """Half of the latency, by what the files compute in."""
    rows = [
        "| files | multiply-accumulates left | parameters left | accuracy | points lost | measured share of latency |",
        "|---|---|---|---|---|---|",
    ]
    for name, way in figures_of("compression-pruning")["ways"].items():
        left = [f"{way[key]['after'] / way[key]['before']:.0%}" for key in ("macs", "parameters")]
        shares = ", ".join(f"{file['share_of_latency']:.2f}" for file in way["files"].values())
        accuracy = f"{way['accuracy']['after']:.2f}%"
        rows.append(f"| {name} | {' | '.join(left)} | {accuracy} | {way['points_lost']:.2f} | {shares} |")
    return "\n".join(rows)


def order_table() -> str:
    """Pruned before distillation and after it."""
    figures = figures_of("compression-order")
    rows = ["| pruned | " + " | ".join(figures["accuracy"]) + " |", "|---" * (1 + len(figures["accuracy"])) + "|"]
    for way in figures["ways"]:
        means = " | ".join(f"{ways[way]:.2f}%" for ways in figures["mean_accuracy"].values())
        rows.append(f"| {way} | {means} |")
    return "\n".join(rows)


def rounding_table() -> str:
    """What a multiply-accumulate costs by the multiples that channels come in."""
    return _by_place(figures_of("compression-thinned")["per_mac_against_multiples_of_1"], "in multiples of")


def left_table() -> str:
    """What is left of the latency by what is left of the multiply-accumulates."""
    return _by_place(figures_of("compression-thinned")["left"], "multiply-accumulates left")


def _by_place(found: dict[str, dict[str, float]], title: str) -> str:
    columns = list(next(iter(found.values())))
    rows = [f"| {title} | " + " | ".join(columns) + " |", "|---" * (1 + len(columns)) + "|"]
    rows += [f"| {place} | " + " | ".join(f"{of[each]:.2f}" for each in columns) + " |" for place, of in found.items()]
    return "\n".join(rows)


def total_table() -> str:
    """The smallest bundles that keep to a point of their teacher's accuracy."""
    rows = [
        "| file | size | times smaller | accuracy | points lost | times faster, one thread |",
        "|---|---|---|---|---|---|",
    ]
    figures = figures_of("compression-total")
    for name, student in figures["students"].items():
        teacher = student["teacher"]
        top = f"| the teacher, float32 ONNX | {teacher['onnx_bytes'] / 1e6:.2f} MB | | {teacher['accuracy']:.2f}% | | |"
        rows += [top] if top not in rows else []
        for form, file in student["files"].items():
            rows.append(
                f"| {name}, {form} INT8 | {file['bytes'] / 1e6:.3f} MB | {file['times_smaller']:.1f} | "
                f"{file['accuracy']:.2f}% | {file['points_lost']:.2f} | {file['times_faster']:.2f} |"
            )
    return "\n".join(rows)


def sparsity_table() -> str:
    """What zeros among the weights bring."""
    files = figures_of("compression-sparsity")["files"]
    cores = list(files["float32"]["instructions_m"])
    rows = [
        "| file | size | this host, against INT8 |" + "".join(f" {core}, instructions |" for core in cores),
        "|---|---|---|" + "---|" * len(cores),
    ]
    for name, file in files.items():
        counted = "".join(f" {file['instructions_m'][core]:.0f} M |" for core in cores)
        rows.append(f"| {name} | {file['bytes'] / 1e6:.2f} MB | {file['against_int8']:.2f} |{counted}")
    return "\n".join(rows)
