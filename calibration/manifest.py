"""The record of a calibration: which samples, how drawn, by which method, with a digest to check it by."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from calibration.errors import CalibrationError

SCHEMA = 2


@dataclass(frozen=True)
class CalibrationManifest:
    """`rows` are row numbers of the data set, in the order in which they were fed, chosen by `selection`; `asked` may
    be more: then all training samples were taken, or with `settled` the ranges had come to rest before. `method` is
    the exact statistic by which activations got their ranges.
    `samples_sha256` covers the samples as fed to the model file (`SampleStream.sha256`); `data_sha256` the data
    set's content, `model_sha256` the float file that was calibrated."""

    method: str
    asked: int
    seed: int
    rows: tuple[int, ...]
    samples_by_label: dict[str, int]
    samples_sha256: str
    data_sha256: str
    model_sha256: str
    selection: str = "stratified by class"
    settled: bool = False
    split: str = "train"
    schema: int = SCHEMA

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of a report must know."""
        taken = len(self.rows)
        notes = [f"calibrated on {taken} training samples, {self.selection}: {self.method}"]
        if self.settled:
            notes.append(f"calibration stopped at {taken} of {self.asked} samples: the ranges had settled")
        elif taken < self.asked:
            notes.append(f"calibration asked for {self.asked} samples and took all {taken} of the training split")
        bare = sum(not count for count in self.samples_by_label.values())
        if bare:
            notes.append(f"calibration saw no sample of {bare} of {len(self.samples_by_label)} classes")
        return tuple(notes)


def write_manifest(manifest: CalibrationManifest, file: Path) -> Path:
    """Writes JSON, the same bytes for equal manifests."""
    file.write_text(json.dumps(asdict(manifest), indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    return file


def read_manifest(file: Path) -> CalibrationManifest:
    """Raises CalibrationError if `file` is no calibration manifest of this schema."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise CalibrationError(f"{file}: schema {content['schema']!r}, this edgepress reads {SCHEMA}")
        return CalibrationManifest(**{**content, "rows": tuple(content["rows"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CalibrationError(f"{file}: not a calibration manifest ({type(error).__name__}: {error})") from None
