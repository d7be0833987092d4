"""What each dependency of pyproject.toml weighs on disk, and what the whole environment weighs."""

import tomllib
from importlib import metadata

from packaging.requirements import Requirement

from benchmarks.record import ROOT, quick_asked, write_result

NOT_LOCKED = ("tensorflow", "executorch", "coreml")  # extras that docs/dependencies.md names without a weight


def megabytes(distribution: metadata.Distribution) -> float:
    """Of the files that the installer laid down; compiled caches are left out."""
    return sum(file.size or 0 for file in distribution.files or ()) / 1e6


def declared() -> dict[str, list[str]]:
    """Requirements of pyproject.toml by group."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    return {"main": project["project"]["dependencies"], **extras, **project["dependency-groups"]}


def main() -> None:
    quick = quick_asked()
    groups = {
        group: {
            name: round(megabytes(metadata.distribution(name)), 1)
            for name in (Requirement(line).name for line in lines)
            if group not in NOT_LOCKED
        }
        for group, lines in declared().items()
    }
    everything = {d.metadata["Name"]: megabytes(d) for d in metadata.distributions()}
    heaviest = sorted(everything.items(), key=lambda item: -item[1])[:12]
    figures = {
        "unit": "MB on disk",
        "groups": groups,
        "packages_in_all": len(everything),
        "total": round(sum(everything.values()), 1),
        "heaviest": {name: round(size, 1) for name, size in heaviest},
    }
    write_result("main-dependencies", figures, [], quick)


main()
