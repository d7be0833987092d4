"""What went into a bundle as a CycloneDX SBOM: its files, the teacher's weights, the data, and the packages that made
it, with their licences."""

import importlib.util
import json
import uuid
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import __version__
from pipeline.errors import InputError
from pipeline.integrity import bundle_files, json_text
from pipeline.provenance.licences import SOURCE_PACKAGES, UNKNOWN, licences, package_licence, package_of, weights_name
from pipeline.recipe import Recipe
from pipeline.results import PreparedData
from pipeline.settings.student import StudentSettings
from pipeline.settings.teacher import TeacherSettings
from pipeline.store import file_sha256, fingerprint, library_versions
from pipeline.weights import weights_identity

if TYPE_CHECKING:
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import License

SBOM = "sbom.cdx.json"
MODELS = (".onnx", ".tflite", ".ort", ".pte")


def require_cyclonedx() -> None:
    """Raises InputError where the library that writes SBOMs is not installed: said before anything is trained."""
    if importlib.util.find_spec("cyclonedx") is None:
        raise InputError(
            "every bundle holds an SBOM, which needs cyclonedx-python-lib: pip install cyclonedx-python-lib"
        )


def sbom_text(folder: Path, recipe: Recipe, target: str, data: PreparedData, left_out: Collection[str]) -> str:
    """The SBOM of the bundle in `folder`, CycloneDX 1.6 in JSON. The same bytes for the same bundle: it holds no time,
    and its serial number follows from its content. `left_out`: files that hold clock figures, not told of."""
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    model = _component(
        ComponentType.MACHINE_LEARNING_MODEL, f"{recipe.name} for {target}", "model", recipe.licences.model,
        properties={"edgepress:recipe": recipe.name, "edgepress:target": target},
    )  # fmt: skip
    files = [_file(folder, name) for name in bundle_files(folder) if name not in left_out and name != SBOM]
    sources = [*_weights(recipe, data), *_data(recipe, data)]
    packages = list(_packages(recipe))
    tool = _component(ComponentType.APPLICATION, "edgepress", "tool:edgepress", None, version=__version__)
    metadata = BomMetaData(component=model)
    metadata.tools.components.add(tool)
    bom = Bom(components=[*files, *sources, *packages], metadata=metadata, serial_number=uuid.UUID(int=0))
    bom.register_dependency(model, [*files, *sources, *packages])
    content: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    del content["metadata"]["timestamp"], content["serialNumber"]
    digest = fingerprint(content)
    content["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, f"urn:sha256:{digest}").urn
    return json_text(content)


def _file(folder: Path, name: str) -> "Component":
    from cyclonedx.model.component import ComponentType

    kind = ComponentType.MACHINE_LEARNING_MODEL if name.endswith(MODELS) else ComponentType.FILE
    size = (folder / name).stat().st_size
    return _component(
        kind, name, f"file:{name}", None, sha256=file_sha256(folder / name), properties={"edgepress:bytes": str(size)}
    )


def _weights(recipe: Recipe, data: PreparedData) -> "Iterable[Component]":
    """Teachers' weights, and those that the student starts from."""
    from cyclonedx.model.component import ComponentType

    settings: list[TeacherSettings | StudentSettings] = [*recipe.teachers.values()]
    settings += [recipe.student] if recipe.student.weights != "none" else []
    stated = [entry for entry in licences(recipe, data) if entry.what.endswith("weights")]
    for number, (one, entry) in enumerate(zip(settings, stated, strict=True)):
        properties = {"edgepress:role": entry.what, "edgepress:licence-stated-by": entry.stated_by or UNKNOWN}
        properties |= {f"edgepress:sha256:{name}": digest for name, digest in _digests(one).items()}
        kind = ComponentType.MACHINE_LEARNING_MODEL
        yield _component(kind, weights_name(one), f"weights:{number}", entry.text, properties=properties)


def _digests(settings: TeacherSettings | StudentSettings) -> dict[str, str]:
    """SHA-256 of the weights' files by name; none of what a hub brought, or of files that are gone by now."""
    try:
        return weights_identity(settings)
    except InputError:
        return {}


def _data(recipe: Recipe, data: PreparedData) -> "Iterable[Component]":
    from cyclonedx.model.component import ComponentType

    stated = [entry for entry in licences(recipe, data) if entry.what.endswith("data")]
    for number, entry in enumerate(stated):
        properties = {"edgepress:role": entry.what, "edgepress:licence-stated-by": entry.stated_by or UNKNOWN}
        if entry.what == "data":
            properties["edgepress:content-sha256"] = data.content_sha256
        yield _component(ComponentType.DATA, entry.name, f"data:{number}", entry.text, properties=properties)


def _packages(recipe: Recipe) -> "Iterable[Component]":
    """The libraries whose behaviour is part of the model, and the packages that its weights came in."""
    from importlib import metadata

    from cyclonedx.model.component import ComponentScope, ComponentType
    from packageurl import PackageURL

    names = {name for name, version in library_versions().items() if version != "absent"}
    sources: list[TeacherSettings | StudentSettings] = [*recipe.teachers.values(), recipe.student]
    for settings in sources:
        references = [settings.weights, settings.model if isinstance(settings, TeacherSettings) else ""]
        names |= {name for name in map(package_of, references) if name}
    names |= {SOURCE_PACKAGES[recipe.data.source]} if recipe.data.source in SOURCE_PACKAGES else set()
    for name in sorted(names):
        version = metadata.version(name)
        component = _component(
            ComponentType.LIBRARY, name, f"pypi:{name}", package_licence(name) or UNKNOWN, version=version
        )
        component.purl = PackageURL("pypi", None, name, version)
        component.scope = ComponentScope.EXCLUDED  # it made the model, and does not ship with it
        yield component


def _component(
    kind: Any, name: str, reference: str, licence: str | None, *, version: str | None = None, sha256: str | None = None,
    properties: dict[str, str] | None = None,
) -> "Component":  # fmt: skip
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component

    return Component(
        type=kind,
        name=name,
        bom_ref=reference,
        version=version,
        licenses=[_licence(licence)] if licence else [],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)] if sha256 else [],
        properties=[Property(name=key, value=value) for key, value in (properties or {}).items()],
    )


def _licence(text: str) -> "License":
    """An SPDX identifier or expression where it is one, else a name."""
    from cyclonedx.factory.license import LicenseFactory

    return LicenseFactory().make_from_string(text)
