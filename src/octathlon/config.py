"""`config.yaml`, checked as a whole before anything runs: all errors at once, each naming its key."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, Discriminator, Field, Tag, ValidationError

from octathlon import names, registry
from octathlon.errors import OctathlonError
from octathlon.settings import BenchmarkSettings, DatasetSettings, Location, Strict
from octathlon.systems import System, Systems

Names = Annotated[
    Annotated[list[str], Field(min_length=1)] | None,
    BeforeValidator(lambda value: None if value == "all" else value),
]
"""Some of the benchmarks; None for all."""

NumberOfRuns = Annotated[int, Field(gt=0, le=1000)]
"""Each is a job that the workflow plans."""

Runs = Annotated[
    Annotated[NumberOfRuns, Tag("number")] | Annotated[dict[str, NumberOfRuns], Tag("map")],
    Discriminator(lambda value: "map" if isinstance(value, Mapping) else "number"),
]
"""A number for all benchmarks, or one for some of them."""


def _plain(path: str) -> str:
    """A folder that jobs' outputs lie in."""
    if "{" in path or "}" in path:
        raise ValueError(
            f"{path!r} has braces in it, which Snakemake takes for wildcards; choose another folder"
        )
    if "://" in path or str(Path(path)).startswith("-"):
        raise ValueError(f"{path!r} looks like a URL or an option; choose a folder")
    if words := names.obstacle(Path(path)):
        raise ValueError(f"{_shown(path)} can't be a folder: {words}; choose another")
    return path


def _named(path: str) -> str:
    """A folder that another one can lie beside."""
    if Path(path).name in ("", ".."):
        raise ValueError(f"{path!r} has no name of its own; choose a folder such as ./results")
    return path


Folder = Annotated[Location, AfterValidator(_plain)]


def _image(location: str) -> str:
    """What stands in a shell's command as it is; not `Location`, since the port of docker://image:tag is none."""
    if not re.fullmatch(r"[\w./~][\w./:@+-]*", location):
        raise ValueError(
            f"{_shown(location)} is no image's path or URL: it may have letters, digits and ./:@+-_"
        )
    return location if "://" in location else names.location(location)


LONGEST_TEXT = 4095
"""Characters of a value; the bytes that a path may have on Linux."""

OPEN_MAPS = ("target", "miniature")
"""Settings whose keys no class declares: those of the scale's defaults are the known ones."""


class Keys(Strict):
    """The keys of `config.yaml`, before benchmarks and data sets are looked up; the file explains them."""

    scale: Literal[registry.SCALES] = "mini"
    benchmarks: Names = None
    runs: Runs | None = None
    seed: int = Field(1, ge=0, le=1 << 31)
    submitter: Annotated[str, AfterValidator(names.organisation)] = "octathlon"
    division: Literal[names.DIVISIONS] | None = None
    status: Literal[names.STATUSES] = "research"
    systems: Systems = {"local": System()}
    datasets: dict[str, dict[str, Any]] = {}
    overrides: dict[str, dict[str, Any]] = {}
    data: Folder = "data"
    results: Annotated[Folder, AfterValidator(_named)] = "results"
    container: Annotated[str, AfterValidator(_image)] = "octathlon.sif"


@dataclass(frozen=True)
class Config:
    """A valid configuration with everything resolved: the scale's defaults, then the overrides."""

    keys: Keys
    benchmarks: Mapping[str, BenchmarkSettings]
    datasets: Mapping[str, DatasetSettings]

    @property
    def division(self) -> str:
        """The division of the whole: closed if every benchmark is."""
        return "open" if any(one.division == "open" for one in self.benchmarks.values()) else "closed"

    def runs(self, benchmark: str) -> int:
        """The number of timed runs of a benchmark."""
        runs = self.keys.runs
        chosen = runs.get(benchmark) if isinstance(runs, dict) else runs
        return chosen or self.benchmarks[benchmark].runs


def load(raw: Mapping[str, Any]) -> Config:
    """Validate the merged configuration.

    Raises:
        OctathlonError: listing all errors, a line each, with its key and, if misspelt, the nearest known one.
    """
    if errors := list(_unfit(raw)):
        raise _complaint(errors)
    keys = _parse_keys(raw, errors)
    for name, system in keys.systems.items():
        errors += [f"systems.{name}.{problem}" for problem in system.problems()]
    known = registry.benchmarks()
    chosen = known if keys.benchmarks is None else list(dict.fromkeys(keys.benchmarks))
    errors += _unknown("benchmarks", chosen, known)
    errors += _unknown("runs", keys.runs if isinstance(keys.runs, dict) else (), known)
    if keys.division == "closed" and keys.scale != "full":
        errors.append("division: closed demands the round's own values: set scale to full, or leave it open")
    division = {"division": keys.division} if keys.division else {}
    overrides = merge({name: division for name in chosen if name in known}, keys.overrides)
    benchmarks = _resolve_all("benchmarks", chosen, keys.scale, "overrides", overrides, errors)
    needed = [dataset for name in benchmarks if (dataset := registry.dataset_of(name))]
    datasets = _resolve_all("datasets", needed, keys.scale, "datasets", keys.datasets, errors)
    errors += _indivisible(benchmarks, keys.systems)
    if errors:
        raise _complaint(errors)
    return Config(keys, benchmarks, datasets)


def check_project(folder: str) -> None:
    """Raise an OctathlonError if Snakemake can't work in a folder of that name."""
    if set("{}") & set(folder):
        raise OctathlonError(
            f"{folder}: has braces in its path, which Snakemake takes for names; move the project elsewhere"
        )


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `over` laid over it, mappings merged key by key."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def resolve(kind: str, name: str, scale: str, over: Mapping[str, Any]) -> BenchmarkSettings | DatasetSettings:
    """The settings of one benchmark or data set (`kind` is the folder): the scale's defaults and `over`.

    Raises:
        OctathlonError: listing every error.
    """
    errors = list(_unfit(over, name))
    settings = None if errors else _resolve(kind, name, scale, name, over, errors)
    if errors:
        raise _complaint(errors)
    return settings


def _resolve_all(
    kind: str, needed: Iterable[str], scale: str, where: str, overrides: Mapping[str, Any], errors: list[str]
) -> dict[str, Any]:
    """The settings of each needed name. Overrides of others are checked all the same."""
    known = registry.benchmarks() if kind == "benchmarks" else registry.datasets()
    errors += _unknown(where, overrides, known)
    needed = sorted({name for name in needed if name in known})
    others = [name for name in overrides if name in known and name not in needed]
    settings = {
        name: _resolve(kind, name, scale, f"{where}.{name}", overrides.get(name, {}), errors)
        for name in [*needed, *others]
    }
    return {name: settings[name] for name in needed}


def _resolve(kind: str, name: str, scale: str, where: str, over: Mapping[str, Any], errors: list[str]) -> Any:
    model = registry.benchmark_settings(name) if kind == "benchmarks" else registry.dataset_settings(name)
    defaults = registry.defaults(kind, name, scale)
    for key in OPEN_MAPS:
        if isinstance(over.get(key), Mapping):
            errors += _unknown(f"{where}.{key}", over[key], defaults.get(key, {}))
    if kind == "datasets" and isinstance(given := over.get("archive_sources"), Mapping):
        declared = [archive["name"] for archive in registry.sources(name)["archives"]]
        errors += _unknown(f"{where}.archive_sources", given, declared)
    return _parse(model, merge(defaults, over), where, errors)


def _indivisible(benchmarks: Mapping[str, BenchmarkSettings], systems: Mapping[str, System]) -> Iterator[str]:
    """The batches that can't be shared out among a system's ranks."""
    for name, settings in benchmarks.items():
        for label, system in systems.items():
            try:
                if settings:
                    settings.local_batch_size(system.ranks)
            except OctathlonError as error:
                yield f"overrides.{name}.{error} (system {label})"


def _unfit(value: Any, where: str = "", longest: int = LONGEST_TEXT) -> Iterator[str]:
    """The numbers and texts, keys or values, that no setting needs and no machine, file or command line bears."""
    place = where or "a key"
    if isinstance(value, int) and abs(value) >> 63:
        yield f"{place}: a number of {value.bit_length()} bits is too large"
    elif isinstance(value, str) and len(value) > longest:
        yield f"{place}: a text of {len(value)} characters, {_shown(value)}, is too long; use at most {longest}"
    elif isinstance(value, str) and not all(map(_is_text, value)):
        yield f"{place}: {_shown(value)} has control characters or half a letter in it; leave them out"
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            wrong = list(_unfit(key, where, names.LONGEST))
            yield from wrong or _unfit(inner, f"{where}.{key}".strip("."))
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            yield from _unfit(inner, f"{where}.{position}")


def _is_text(character: str) -> bool:
    return unicodedata.category(character) not in ("Cc", "Cs") or character in "\n\t"


def _parse_keys(raw: Any, errors: list[str]) -> Keys:
    """The top level; of a bad one the good part, so that the other errors are found too."""
    if not isinstance(raw, Mapping):
        raise _complaint([f"a map of keys is expected, not {_shown(raw)}"])
    try:
        return Keys.model_validate(dict(raw))
    except ValidationError as error:
        errors += _sentences(Keys, raw, "", error)
        wrong = {tuple(_location(raw, problem["loc"])[:2]) for problem in error.errors()}
        return Keys.model_validate(_without(raw, wrong))


def _without(raw: Mapping[Any, Any], wrong: set[tuple[str, ...]]) -> dict[str, Any]:
    """`raw` without the entries at `wrong`, which are paths of one or two keys, and without any that has no name.

    Nor are there nulls in its maps: of a map that lost all else to `wrong`, nothing is left.
    """
    good = {}
    for key, value in raw.items():
        if isinstance(value, Mapping):
            value = {
                inner: entry
                for inner, entry in value.items()
                if isinstance(inner, str) and entry is not None and (key, inner) not in wrong
            }
            usable = bool(value)
        else:
            usable = not any(path[:1] == (key,) for path in wrong)
        if isinstance(key, str) and (key,) not in wrong and usable:
            good[key] = value
    return good


def _parse(model: type[BaseModel], values: Mapping[str, Any], where: str, errors: list[str]) -> Any:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        errors += _sentences(model, values, where, error)
        return None


def _sentences(model: Any, values: Any, where: str, error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        location = _location(values, problem["loc"]) or [str(part) for part in problem["loc"][-1:]]
        key = ".".join(part for part in (where, *location) if part)
        if problem["type"] == "extra_forbidden":
            yield f"{key}: unknown key{_nearest(location[-1], _fields(model, location[:-1]))}"
        elif problem["type"] == "missing":
            yield f"{'.'.join(filter(None, [where, *map(str, problem['loc'])]))}: missing"
        elif problem["type"] == "value_error":  # a sentence of ours
            yield f"{key}: {problem['ctx']['error']}"
        else:
            yield f"{key}: {problem['msg']}, not {_shown(problem['input'])}"


def _location(values: Any, parts: Iterable[int | str]) -> list[str]:
    """The keys that lead to an error, without the validator's own marks, which are no keys of `values`."""
    location = []
    for part in parts:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            continue
        location.append(str(part))
    return location


def _fields(model: Any, location: list[str]) -> list[str]:
    """The keys that `model` knows at a location, following nested models and maps or lists of models."""
    for part in location:
        if get_origin(model) in (dict, list):
            model = get_args(model)[-1]
        else:
            field = getattr(model, "model_fields", {}).get(part)
            model = field.annotation if field else None
    return list(getattr(model, "model_fields", {}))


def _shown(value: Any) -> str:
    return _brief(names.without_login(repr(value)))


def _brief(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."


def _unknown(where: str, names: Iterable[Any], known: Iterable[str]) -> list[str]:
    known = list(known)
    return [
        f"{where}.{_brief(str(name))}: unknown name{_nearest(str(name), known)}"
        for name in names
        if name not in known
    ]


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"


def _complaint(errors: list[str]) -> OctathlonError:
    count = "one error" if len(errors) == 1 else f"{len(errors)} errors"
    return OctathlonError(f"the configuration has {count}:\n" + "\n".join(f"  {error}" for error in errors))
