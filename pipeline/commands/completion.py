"""What a shell completes: targets and recipes by name. Nothing heavy is imported, since the shell waits at each key."""

from pathlib import Path

import targets

PROFILES = Path(targets.__file__).parent / "profiles"
RECIPE_SUFFIXES = (".yaml", ".yml")
LOG_FORMATS = ("benchmark-model", "perf-test", "perfetto", "logcat", "ai-hub", "csv")


def target_names(incomplete: str) -> list[str]:
    """Ready targets, and profiles of one's own where a file's name has begun."""
    names = sorted(file.stem for file in PROFILES.glob("*.yaml"))
    return [name for name in names if name.startswith(incomplete)] or yaml_files(incomplete)


def yaml_files(incomplete: str) -> list[str]:
    """YAML files that begin so, and those one folder below: a shell puts a space behind a folder's name."""
    begun = Path(incomplete)
    folder = begun if incomplete.endswith("/") else begun.parent
    try:
        files = [*folder.glob("*"), *folder.glob("*/*")]
    except OSError:
        return []
    shown = sorted(
        file.as_posix()
        for file in files
        if file.suffix in RECIPE_SUFFIXES and not any(part.startswith(".") for part in file.parts)
    )
    return [name for name in shown if name.startswith(incomplete.removeprefix("./"))]


def log_formats(incomplete: str) -> list[str]:
    return [name for name in LOG_FORMATS if name.startswith(incomplete)]
