"""A bundle in a real browser: labels and ids as in Python, and the page of `edgepress try` as a person uses it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.clients.browser import golden_labels, run_in_browser
from pipeline.clients.local_page import page_files, served_bundle
from pipeline.context import RunContext
from pipeline.errors import InputError
from pipeline.golden_tokens import HARD_TEXTS
from pipeline.integrity import MANIFEST
from pipeline.quantize.tflite import quantize_tflite
from pipeline.results import Calibration, ExportedFile, NetworkResult, PreparedData
from pipeline.store import file_sha256
from targets.browser.chromium import Page, find_browser, open_browser
from targets.profile import Quantization
from tests.browser_pages import SIZES, ask, call, look, needs_browser, picture
from tests.bundles import small_bundle


@pytest.fixture(scope="module")
def image_bundle(
    digits: PreparedData,
    image_student: NetworkResult,
    image_onnx: ExportedFile,
    image_tflite: ExportedFile,
    image_calibration: Calibration,
    session_context: RunContext,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """float32 .onnx and .tflite, and a .tflite with 8-bit inputs and outputs."""
    unsigned = Quantization(scheme="int8-static", io_dtype="uint8")
    eight_bit = quantize_tflite(image_tflite, digits, unsigned, image_calibration, session_context)
    folder = tmp_path_factory.mktemp("image") / "bundle"
    return small_bundle(folder, digits, image_student, (image_onnx, image_tflite, eight_bit), session_context)


@pytest.fixture(scope="module")
def text_bundle(
    reviews: PreparedData,
    text_student: NetworkResult,
    text_onnx: ExportedFile,
    text_tflite: ExportedFile,
    session_context: RunContext,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    dynamic = quantize_tflite(text_tflite, reviews, Quantization(scheme="int8-dynamic"), None, session_context)
    folder = tmp_path_factory.mktemp("text") / "bundle"
    return small_bundle(folder, reviews, text_student, (text_onnx, dynamic), session_context)


@needs_browser
def test_pictures_get_the_labels_of_python_with_the_bundles_own_preprocessing(image_bundle: Path) -> None:
    found = run_in_browser(image_bundle)
    assert [file.file for file in found.files] == [
        "model.float32.onnx", "model.float32.tflite", "model.int8-static-io8.tflite",
    ]  # fmt: skip
    for file in found.files:
        assert file.refused is None
        assert file.labels == file.expected == golden_labels(image_bundle, file.file)
        assert len(file.labels) == 5
        assert file.same
    assert found.files[0].client.startswith("onnxruntime-web 1")
    assert found.files[1].client.startswith("@litertjs/core 2")
    assert len(set(found.files[0].labels)) > 1
    assert found.tokens == {}
    assert found.outside == ()


@needs_browser
def test_texts_get_the_labels_and_ids_of_python_with_the_bundles_own_tokenizer(text_bundle: Path) -> None:
    found = run_in_browser(text_bundle)
    for file in found.files:
        assert (file.refused, file.labels) == (None, file.expected)
    assert found.tokens == dict.fromkeys(HARD_TEXTS, True)
    assert found.outside == ()


@needs_browser
def test_a_file_that_a_runtime_refuses_is_told_and_the_others_run(
    image_onnx: ExportedFile,
    image_tflite: ExportedFile,
    image_calibration: Calibration,
    image_student: NetworkResult,
    digits: PreparedData,
    session_context: RunContext,
    tmp_path: Path,
) -> None:
    signed = Quantization(scheme="int8-static", io_dtype="int8")
    file = quantize_tflite(image_tflite, digits, signed, image_calibration, session_context)
    bundle = small_bundle(tmp_path / "bundle", digits, image_student, (image_onnx, file), session_context)
    float_file, eight_bit = run_in_browser(bundle).files
    assert float_file.same
    assert eight_bit.refused is not None
    assert "INT8 is not supported" in eight_bit.refused
    assert not eight_bit.same


@pytest.fixture
def opened(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Opens the page of a bundle, as a person's browser would."""
    stack = []

    def open_page(bundle: Path) -> Page:
        serving = served_bundle(bundle)
        served = serving.__enter__()
        stack.append(serving)
        browsing = open_browser(find_browser(), served.proxy)
        page = browsing.__enter__()
        stack.append(browsing)
        page.listen()
        page.go_to(served.address)
        ask(page, "edgepress.ready")
        return page

    yield open_page
    while stack:
        stack.pop().__exit__(None, None, None)


NO_GPU = "No available adapters."  # Chromium's warning where a runtime asks for WebGPU and the machine has none

ANSWERED = """new Promise((resolve) => {
  const look = () => [...document.querySelectorAll(".answer .times")].length >= COUNT
    ? resolve([...document.querySelectorAll("[data-file]")].map((card) => ({
        file: card.dataset.file,
        label: card.querySelector(".label").textContent,
        scores: [...card.querySelectorAll(".score")].map((score) => score.textContent),
        times: card.querySelector(".times").textContent,
      })))
    : setTimeout(look, 20);
  look();
})"""


def answers(page: Page, count: int) -> list[dict[str, Any]]:
    """What the cards show, once `count` of them have an answer."""
    return ask(page, ANSWERED.replace("COUNT", str(count)))


@needs_browser
def test_a_dropped_picture_gets_labels_scores_and_milliseconds_of_every_file(
    image_bundle: Path, opened: Any, tmp_path: Path
) -> None:
    page = opened(image_bundle)
    expected = golden_labels(image_bundle, "model.float32.onnx")[1]
    call(
        page,
        """async () => {
          const blob = await (await fetch("bundle/golden/1.png")).blob();
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([blob], "mine.png", { type: "image/png" }));
          const given = { dataTransfer, bubbles: true, cancelable: true };
          document.getElementById("zone").dispatchEvent(new DragEvent("drop", given));
        }""",
    )
    found = answers(page, 3)
    assert [card["label"] for card in found] == [expected] * 3
    for card in found:
        percents = [float(score.removesuffix("%")) for score in card["scores"]]
        assert len(percents) == 5
        assert percents == sorted(percents, reverse=True)
        assert "ms inference" in card["times"]
        assert "ms preparing" in card["times"]
    assert "say the same" in ask(page, "document.getElementById('agreement').textContent")
    for size in SIZES:
        for scheme in ("light", "dark"):
            look(page, size, scheme)
            assert picture(page, tmp_path / f"{size}-{scheme}.png").stat().st_size > 10_000
            assert ask(page, "document.documentElement.scrollWidth <= innerWidth"), size
    assert set(page.errors) <= {NO_GPU}


@needs_browser
def test_a_chosen_file_is_classified_and_what_is_no_picture_is_told(
    image_bundle: Path, opened: Any, tmp_path: Path
) -> None:
    page = opened(image_bundle)
    (tmp_path / "broken.png").write_text("no picture")

    def choose(file: Path) -> None:
        document = page.call("DOM.getDocument")["root"]["nodeId"]
        node = page.call("DOM.querySelector", nodeId=document, selector="#picture")["nodeId"]
        page.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    choose(image_bundle / "golden/0.png")
    assert answers(page, 3)[0]["label"] == golden_labels(image_bundle, "model.float32.onnx")[0]
    choose(tmp_path / "broken.png")
    problem = """new Promise((resolve) => {
      const place = document.getElementById("problem");
      const look = () => (place.hidden ? setTimeout(look, 20) : resolve(place.textContent));
      look();
    })"""
    assert "can't be read as a picture" in ask(page, problem)
    assert ask(page, "document.querySelectorAll('.answer .label').length") == 0


@needs_browser
def test_a_typed_text_gets_the_labels_that_python_gives_it(text_bundle: Path, opened: Any) -> None:
    samples = json.loads((text_bundle / "golden/samples.json").read_text())["samples"]
    expected = golden_labels(text_bundle, "model.float32.onnx")
    page = opened(text_bundle)
    ask(page, "document.getElementById('text').focus()")
    page.call("Input.insertText", text=samples[0]["text"])
    assert answers(page, 2)[0]["label"] == expected[0]
    ask(page, "document.getElementById('text').value = ''")
    cleared = """new Promise((resolve) => {
      document.getElementById("text").dispatchEvent(new Event("input"));
      const look = () => (document.querySelector(".answer .label") ? setTimeout(look, 20) : resolve(true));
      look();
    })"""
    assert ask(page, cleared)
    assert set(page.errors) <= {NO_GPU}


def test_what_can_not_be_tried_is_refused_with_the_reason(
    text_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from targets.browser.packages import Installed

    monkeypatch.setattr(
        "pipeline.clients.local_page.installed",
        lambda: Installed(tmp_path, {"onnxruntime-web": "1.0", "@litertjs/core": "2.0"}, ""),
    )
    assert "bundle/tokenizer.json" in page_files(text_bundle)
    with pytest.raises(InputError, match="no such folder; expected a bundle"):
        page_files(tmp_path / "nowhere")

    def changed(name: str, content: dict[str, Any]) -> Path:
        folder = tmp_path / name.split("/")[-1]
        shutil.copytree(text_bundle, folder)
        (folder / name).write_text(json.dumps(content))
        manifest = json.loads((folder / MANIFEST).read_text())
        manifest["files"][name]["sha256"] = file_sha256(folder / name)
        (folder / MANIFEST).write_text(json.dumps(manifest))
        return folder

    tokenizer = json.loads((text_bundle / "tokenizer.json").read_text())
    with pytest.raises(InputError, match="found BPE with BertPreTokenizer"):
        page_files(changed("tokenizer.json", tokenizer | {"model": {"type": "BPE"}}))
    with pytest.raises(InputError, match=r"has no \.onnx or \.tflite file"):
        page_files(changed("preprocess.json", {}))
    golden = json.loads((text_bundle / "golden/samples.json").read_text())
    golden["samples"][0]["image"] = "../../secret.png"
    with pytest.raises(InputError, match="lies outside"):
        page_files(changed("golden/samples.json", golden))
