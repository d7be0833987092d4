"""The page of `edgepress try`: a bundle's files run by a browser's runtimes, served to this computer alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.clients.modules import FOLDER as APP_FILES
from pipeline.clients.modules import MODULES
from pipeline.errors import InputError
from pipeline.golden import GOLDEN_FILES
from pipeline.integrity import REPORT, json_text, read_json, verify_bundle
from targets.browser.packages import RUNTIME_PACKAGES, Installed, installed
from targets.browser.server import Content, Served, serve

PAGE = Path(__file__).parent / "page"
BROWSER_RUNTIMES = Path(__file__).parents[2] / "targets" / "browser" / "runtimes.js"
RUNTIMES = {".onnx": "onnxruntime", ".tflite": "litert"}


@contextmanager
def served_bundle(bundle: Path, port: int = 0) -> Iterator[Served]:
    """Serves the page of `bundle` on the loopback interface, at `port` or a free one.

    Raises InputError for what is no whole bundle or has a tokenizer that the page does not know, TargetError if the
    runtimes for browsers are not installed or the port is taken.
    """
    with serve(page_files(bundle), port) as served:
        yield served


def page_files(bundle: Path) -> dict[str, Content]:
    """What the page is made of, by the paths under which it is served. Raises as `served_bundle`."""
    verify_bundle(bundle)
    runtimes = installed()
    told = _told(bundle, runtimes)
    files: dict[str, Content] = {name: PAGE / name for name in ("try.js", "try.css", "bundle.js")}
    files |= {"page.html": PAGE / "try.html", "runtimes.js": BROWSER_RUNTIMES}
    files |= {f"app/{name}": APP_FILES / name for name in MODULES}
    files |= {f"runtimes/{name}": place for name, place in runtimes.files().items()}
    files["bundle.json"] = json_text(told).encode()
    names = [file["name"] for file in told["files"]] + [s["image"] for s in told["samples"] if "image" in s]
    names += ["tokenizer.json"] if told["tokenizer"] else []
    return files | {f"bundle/{name}": _inside(bundle, name) for name in names}


def _told(bundle: Path, runtimes: Installed) -> dict[str, Any]:
    """bundle.json: what the page shows, and how it feeds each file."""
    report, preprocess = read_json(bundle / REPORT), read_json(bundle / "preprocess.json")
    golden = read_json(bundle / GOLDEN_FILES)
    try:
        text = report["task"] == "text-classification"
        files = [_file(bundle, name, preprocess[name], runtimes) for name in sorted(preprocess)]
        told = {
            "edgepress": report["provenance"]["edgepress"],
            "recipe": report["recipe"],
            "target": report["target"]["name"],
            "description": report["description"],
            "tokenizer": text,
            "labels": (bundle / "labels.txt").read_text(encoding="utf-8").splitlines(),
            "samples": [{key: s[key] for key in ("label", "image", "text") if key in s} for s in golden["samples"]],
            "files": files,
        }
    except (KeyError, TypeError, OSError) as error:
        raise InputError(f"{bundle}: incomplete ({error!r}); make the bundle again") from None
    if not files:
        raise InputError(f"{bundle}: has no .onnx or .tflite file to try; make the bundle again")
    if text:
        _refuse_other_tokenizers(bundle)
    return told


def _file(bundle: Path, name: str, preprocess: dict[str, Any], runtimes: Installed) -> dict[str, Any]:
    runtime = RUNTIMES[Path(name).suffix]
    package = RUNTIME_PACKAGES[runtime]
    return {
        "name": name,
        "runtime": runtime,
        "client": f"{package} {runtimes.versions[package]}",
        "bytes": _inside(bundle, name).stat().st_size,
        "preprocess": preprocess,
    }


def _refuse_other_tokenizers(bundle: Path) -> None:
    tokenizer = read_json(bundle / "tokenizer.json")
    kinds = {part: (tokenizer.get(part) or {}).get("type") for part in ("model", "pre_tokenizer")}
    if kinds != {"model": "WordPiece", "pre_tokenizer": "BertPreTokenizer"}:
        raise InputError(
            f"{bundle / 'tokenizer.json'}: found {kinds['model']} with {kinds['pre_tokenizer']}; the page splits texts "
            "as BERT's WordPiece does and knows no other tokenizer"
        )


def _inside(bundle: Path, name: str) -> Path:
    """The file `name` of a bundle; what its own JSON names may lie nowhere else. Raises InputError."""
    place = bundle / name
    if not place.resolve().is_relative_to(bundle.resolve()):
        raise InputError(f"{bundle}: names {name}, which lies outside; make the bundle again")
    return place
