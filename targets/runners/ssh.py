"""A Linux board at the other end of ssh: its own Python, onnxruntime and LiteRT, measured by a script that is sent."""

import io
import json
import subprocess
import tarfile
import tempfile
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from targets.errors import TargetError
from targets.machine import Machine, read_cpuinfo
from targets.profile import Budgets, Measure
from targets.runners import openssh
from targets.runners.base import Feeds, Measured
from targets.runners.kept import Kept, kept_in, stopping
from targets.runners.quiet import Before, judge
from targets.runtimes.base import RuntimeOptions, session_settings

PACKAGES = {"onnxruntime": "onnxruntime", "litert": "ai-edge-litert"}
OLDEST_PYTHON = (3, 10)

ROOT = Path(__file__).parents[2]
# What the script is made of, beside numpy and the runtime: the code that measures on the host.
MODULES = (
    "targets/__init__.py", "targets/errors.py", "targets/latency.py", "targets/statistics/__init__.py",
    "targets/statistics/order.py", "targets/statistics/correlation.py", "targets/statistics/trend.py",
    "targets/statistics/warmup.py", "targets/runners/__init__.py", "targets/runners/worker.py",
    "targets/runners/pace.py", "targets/runners/energy.py",
    "targets/runtimes/__init__.py", "targets/runtimes/base.py", "targets/runtimes/ort.py", "targets/runtimes/litert.py",
)  # fmt: skip

# Makes a folder of its own, unpacks what it reads into it, and prints its name.
RECEIVE = 'umask 077; place=$(mktemp -d) && tar -xf - -C "$place" && echo "$place"'


class SshRunner:
    """A board at `address`, a host as OpenSSH knows it: see `targets.runners.base.Runner`. `python` is its Python."""

    def __init__(self, address: str, python: str = "python3") -> None:
        self.address, self.python = address, python

    def identity(self, options: RuntimeOptions) -> str:
        return json.dumps({"ssh": self.address, "python": self.python}, sort_keys=True)

    def run(self, file: Path, options: RuntimeOptions, feeds: Feeds) -> list[list[np.ndarray]]:
        self._look(options)
        place = self._send(file, _request(file, options, feeds), feeds)
        try:
            self._python(f"{place}/edgepress.zip", "run", f"{place}/request.json")
            archive = openssh.run(self.address, ["cat", f"{place}/outputs.npz"])
        except openssh.RemoteFailed as failed:
            raise _about(file, place, failed) from None
        finally:
            self._remove(place)
        with np.load(io.BytesIO(archive)) as arrays:
            outputs = len(arrays.files) // len(feeds)
            return [[arrays[f"{row}_{place}"] for place in range(outputs)] for row in range(len(feeds))]

    def measure(
        self,
        file: Path,
        options: RuntimeOptions,
        feeds: Feeds,
        plan: Measure,
        folder: Path,
        *,
        budget: Budgets | None = None,
    ) -> Measured:
        if not feeds:
            raise TargetError(f"{file}: no sample to measure it with, expected at least one")
        before = self._look(options)
        until = stopping(plan, budget)
        told = [before[key] for key in ("machine_id", "python", "versions", "system")]
        kept = kept_in(folder, file, json.dumps([self.address, told], sort_keys=True))
        earlier = len(kept.samples_ms)
        request = {
            **_request(file, options, feeds),
            "warmup": plan.warmup,
            "min_runs": plan.min_runs,
            "max_runs": plan.max_runs,
            "min_seconds": plan.min_seconds,
            "pin_cores": plan.pin_cores,
            "rule": asdict(until.rule),
            "pace_ms": plan.pace_ms,
            "already": kept.samples_ms,
        }
        place = self._send(file, request, feeds)
        try:
            answer = self._stream(place, kept)
        except openssh.ConnectionLost as lost:
            raise TargetError(
                f"{lost}, after {len(kept.samples_ms)} runs. They are kept: see that the board is on and in the "
                "network, and give the same command again"
            ) from None
        except openssh.RemoteFailed as failed:
            raise _about(file, place, failed) from None
        finally:
            self._remove(place)
        try:
            after = self._look(options)
        except openssh.ConnectionLost:
            after = before  # all runs are made
        kept.forget()
        return Measured(
            samples_ms=np.array(kept.samples_ms),
            cold_start_ms=answer["cold_start_ms"],
            peak_mem_mb=answer["model_mem_mb"],
            process_mem_mb=answer["process_mem_mb"],
            looks=until.looks,
            notes=(
                f"{options.runtime} {answer['version']} on the board: {session_settings(options)}",
                f"{len(feeds)} samples in turn after the warm-up; inputs handed over and outputs fetched included, "
                "preprocessing not",
                "cold start: opening the file and the first inference, start of the process left out",
                "peak memory: what the process grew by from opening the file on, Python and the runtime left out",
                *([f"the board was lost after {earlier} runs; a later process made the others"] if earlier else []),
                *_state(before, after),
                *answer["notes"],
            ),
            source="device",
            machine=_machine(after).label,
            quiet=judge(Before(), np.array(answer["references_ms"]), options.threads),
            energy_mj=answer["energy_mj"],
        )

    def _look(self, options: RuntimeOptions) -> dict[str, Any]:
        """What the board says of itself. Raises TargetError if it lacks what measuring needs."""
        package = PACKAGES[options.runtime]
        source = Path(__file__).with_name("board.py")
        with source.open("rb") as script:
            told: dict[str, Any] = json.loads(self._python("-", "numpy", package, send=script))
        if tuple(map(int, told["python"].split(".")[:2])) < OLDEST_PYTHON:
            oldest = ".".join(map(str, OLDEST_PYTHON))
            raise TargetError(
                f"{self.address}: {self.python} is Python {told['python']} there, expected {oldest} or later; name "
                "another with measure.tools.python, or --tool python=PATH"
            )
        missing = [name for name, version in told["versions"].items() if version is None]
        if missing:
            raise TargetError(
                f"{self.address}: {' and '.join(missing)} not installed for {self.python} there: run "
                f"`{self.python} -m pip install {' '.join(missing)}` on the board, in a virtual environment if its "
                "system asks for one, which measure.tools.python then names"
            )
        return told

    def _python(self, *arguments: str, send: Any = subprocess.DEVNULL) -> bytes:
        try:
            return openssh.run(self.address, [self.python, *arguments], send)
        except openssh.RemoteFailed as failed:
            if failed.code in (126, 127):
                raise TargetError(
                    f"{self.address}: there is no {self.python} on the board that can be run; install Python "
                    "(Debian: apt-get install python3), or name it with measure.tools.python or --tool python=PATH"
                ) from None
            raise

    def _send(self, file: Path, request: dict[str, Any], feeds: Feeds) -> str:
        """Copies the script, the model and its inputs into a new folder on the board; returns its name."""
        with tempfile.TemporaryFile() as archive:
            with tarfile.open(fileobj=archive, mode="w") as tar:
                _add(tar, "edgepress.zip", _script())
                _add(tar, "feeds.npz", _npz(feeds))
                _add(tar, "request.json", json.dumps(request).encode())
                with file.open("rb") as stream:
                    entry = tarfile.TarInfo(request["file"])
                    entry.size = file.stat().st_size
                    tar.addfile(entry, stream)
            archive.seek(0)
            try:
                place = openssh.run(self.address, ["sh", "-c", RECEIVE], archive)
            except openssh.RemoteFailed as failed:
                if "No space left" in failed.said:
                    raise TargetError(
                        f"{self.address}: no space left on the board for {file.name} "
                        f"({archive.seek(0, 2) / 1e6:.1f} MB with its inputs); make room in its folder for temporary "
                        "files"
                    ) from None
                raise
        return place.decode().strip()

    def _stream(self, place: str, kept: Kept) -> dict[str, Any]:
        """Measures in the folder `place`; keeps each part of the samples as it comes."""
        command = [self.python, f"{place}/edgepress.zip", "measure", f"{place}/request.json"]
        with tempfile.TemporaryFile() as errors:
            process = openssh.start(
                self.address, command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
            )
            assert process.stdout is not None
            answer: dict[str, Any] | None = None
            for line in process.stdout:
                try:
                    told = json.loads(line)
                except ValueError:
                    continue  # the last line before the connection was lost may be cut
                if isinstance(told, list):
                    kept.add(told)
                elif isinstance(told, dict):
                    answer = told
            code = process.wait()
            errors.seek(0)
            openssh.check(self.address, code, errors.read().decode(errors="replace"))
        if answer is None or not kept.samples_ms:
            raise TargetError(f"{self.address}: the script on the board ended without an answer")
        return answer

    def _remove(self, place: str) -> None:
        try:
            openssh.run(self.address, ["rm", "-rf", place])
        except TargetError:
            return  # it is in the board's folder for temporary files


def _request(file: Path, options: RuntimeOptions, feeds: Feeds) -> dict[str, Any]:
    return {
        "file": f"model{file.suffix}",
        "runtime": options.runtime,
        "threads": options.threads,
        "delegate": options.delegate,
        "inputs": list(feeds[0]),
        "parent": None,
    }


def _about(file: Path, place: str, failed: openssh.RemoteFailed) -> TargetError:
    """What failed on the board, told of the file as it is called here."""
    return TargetError(str(failed).replace(f"{place}/model{file.suffix}", str(file)))


def _npz(feeds: Feeds) -> bytes:
    stream = io.BytesIO()
    names = list(feeds[0])
    arrays = {f"{row}_{place}": feed[name] for row, feed in enumerate(feeds) for place, name in enumerate(names)}
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def _script() -> bytes:
    """A zip that any Python with numpy and a runtime runs: `python3 FILE.zip`."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in MODULES:
            archive.write(ROOT / name, name)
        archive.write(Path(__file__).with_name("board_worker.py"), "__main__.py")
    return stream.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _machine(told: dict[str, Any]) -> Machine:
    cpu, isa = read_cpuinfo(told["cpuinfo"])
    system = f"{told['system']}, {told['architecture']}"
    return Machine(cpu or told["architecture"], told["cores"], isa, system, told["memory_mb"], told["python"])


def _state(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """How the board was, as far as it tells."""
    notes = []
    if after["governors"]:
        notes.append(f"cpufreq governor: {', '.join(after['governors'])}")
    if after["celsius"] is not None and before["celsius"] is not None:
        notes.append(f"hottest zone: {before['celsius']:.1f} °C before, {after['celsius']:.1f} °C after")
    if before["throttled"] or after["throttled"]:
        notes.append("the board throttled its processor: cool it, or look at its power supply, and measure again")
    return notes
