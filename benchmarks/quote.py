"""Writes what the results say into README and pages, between their marks, so that no figure there is typed by hand."""

import json
import re
import statistics
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = (README, *sorted((ROOT / "docs").glob("*.md")))
RESULTS = ROOT / "benchmarks/results"
MARKED = re.compile(r"<!-- ([a-z-]+) -->\n.*?<!-- /\1 -->", re.DOTALL)


def quoted(page: Path) -> str:
    """A page with each marked part made anew from the results: by its name, or the bars of the results that begin with
    it."""
    results = "benchmarks/results" if page == README else "../benchmarks/results"
    makers = {"demo": demo_table, "measured": lambda: bars_table("main", results), "peers": peers_table,
              "speeds": speeds_table}  # fmt: skip

    def made(found: re.Match[str]) -> str:
        name = found[1]
        content = makers[name]() if name in makers else bars_table(name, results)
        return f"<!-- {name} -->\n{content}\n<!-- /{name} -->"

    return MARKED.sub(made, page.read_text())


def demo_table() -> str:
    """What each target of the digits recipe got."""
    result = json.loads((RESULTS / "main-digits.json").read_text())["figures"]
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
    result = json.loads((RESULTS / "compression-peers.json").read_text())["figures"]
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
    families = json.loads((RESULTS / "compression-speed.json").read_text())["figures"]["families"]
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


def main() -> None:
    for page in PAGES:
        page.write_text(quoted(page))


if __name__ == "__main__":
    main()
