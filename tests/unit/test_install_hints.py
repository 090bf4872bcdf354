"""Whoever misses a package reads one form of command, which works where they are."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

from node.doctor import check_extras
from node.failures import explain
from policies import install_hints
from policies.install_hints import in_checkout, install_anew, install_extras, install_packages, upgrade
from swarm.wire.fields import OtherVersion, check_version

ROOT = Path(__file__).parents[2]
PRINTED = re.compile(r"((?:sudo \S*)?pip install[^\n`]*?\[)([a-z,]+)\]")
PAST = ("lab-book.md", "earlier-results.md")  # what was done, as it was done
NAMED = re.compile(r"install_extras\(\"(\w+)\"\)|install_extras\('(\w+)'\)")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """As from a wheel, beside a package that left its own pyproject.toml in site-packages."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "another"\n')
    monkeypatch.setattr(install_hints, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "executable", "/opt/my env/bin/python")
    return tmp_path


@pytest.mark.usefixtures("installed")
def test_an_installed_package_is_named() -> None:
    assert not in_checkout()
    assert (
        install_extras("envs", "gguf") == "'/opt/my env/bin/python' -m pip install 'murmuration[envs,gguf]'"
    )
    assert install_anew() == "'/opt/my env/bin/python' -m pip install --force-reinstall murmuration"
    assert upgrade() == "'/opt/my env/bin/python' -m pip install --upgrade murmuration"


def test_a_checkout_is_named_by_its_path_and_in_its_own_folder_by_a_dot(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", "/venv/bin/python")
    monkeypatch.chdir(ROOT)
    assert in_checkout() and install_extras("envs") == "/venv/bin/python -m pip install -e '.[envs]'"
    monkeypatch.chdir(tmp_path)
    assert install_extras("envs") == f"/venv/bin/python -m pip install -e '{ROOT}[envs]'"
    assert install_anew() == f"/venv/bin/python -m pip install --force-reinstall -e {ROOT}"
    assert upgrade() == f"git -C {ROOT} pull && /venv/bin/python -m pip install -e {ROOT}"


def test_a_name_that_came_with_an_invite_stays_one_word() -> None:
    assert install_packages("units; rm x").endswith(" -m pip install 'units; rm x'")


def test_every_command_comes_from_there_and_names_an_extra_that_there_is() -> None:
    sources = {
        file: file.read_text()
        for room in ("policies", "swarm", "node")
        for file in (ROOT / room).rglob("*.py")
    }
    own = {file.relative_to(ROOT).as_posix() for file, text in sources.items() if "pip install" in text}
    assert own == {"policies/install_hints.py"}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {a or b for text in sources.values() for a, b in NAMED.findall(text)}
    assert {"envs", "math", "gguf", "diffusion", "observer", "bitsandbytes"} <= named <= set(extras)


@pytest.mark.usefixtures("installed")
def test_doctor_a_broken_library_and_an_old_node_say_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert check_extras().fix == install_extras("envs", "gguf", "observer")
    assert install_anew() in explain(ImportError("libtorch.so: cannot open"))
    with pytest.raises(OtherVersion, match="upgrade this node: ") as told:
        check_version(9999, "the invite")
    assert str(told.value).endswith(upgrade())
    with pytest.raises(OtherVersion, match=r"upgrade the invite$"):
        check_version(1, "the invite")


def test_the_pages_and_presets_say_the_form_of_a_checkout() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    files = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "configs").glob("*.toml")]
    told = [found for file in files if file.name not in PAST for found in PRINTED.findall(file.read_text())]
    own = "sudo /opt/murmur/bin/pip install '.["  # copies itself into a folder of the service's own
    assert len(told) > 10 and {how for how, _ in told} <= {"pip install -e '.[", own}
    assert {name for _, names in told for name in names.split(",")} <= set(extras)
