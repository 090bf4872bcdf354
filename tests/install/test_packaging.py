"""Service unit, Dockerfile and compose files: linted as far as goes without an engine, and true to the program.

What no test here can do is build the images and start the containers.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from node.cli import app
from node.config.reading import load_config

yaml = pytest.importorskip("yaml", reason="PyYAML comes with the extra dev")

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "packaging" / "docker"
UNIT = ROOT / "packaging" / "systemd" / "murmur@.service"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
CUDA: dict[str, Any] = yaml.safe_load((DOCKER / "compose.cuda.yaml").read_text())
UV = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))


def options_of(command: str) -> set[str]:
    return {name for p in get_command(app).commands[command].params for name in p.opts}  # type: ignore[attr-defined]


def murmur_in(script: str) -> list[str]:
    """The words of the murmur command in a service's script."""
    words = shlex.split(script.replace("$$", "$"))
    return words[words.index("murmur") + 1 :]


def test_three_services_share_a_swarm_and_come_back() -> None:
    services = COMPOSE["services"]
    assert sorted(services) == ["bootstrap", "first", "second"]
    for name, service in services.items():
        assert service["restart"] == "unless-stopped" and service["logging"]["options"]["max-size"]
        assert {volume.partition(":")[0] for volume in service["volumes"]} <= {
            "./swarm.toml",
            *COMPOSE["volumes"],
        }
        (script,) = service["command"]
        verb, *words = murmur_in(script)
        assert {word for word in words if word.startswith("--")} <= options_of(verb)
        assert verb == "bootstrap" or "--resume-or-start" in words
        assert words[words.index("--run-dir") + 1] == name and "exec murmur" in script  # signals reach it


def test_files_that_the_images_are_made_of_are_there() -> None:
    services = [*COMPOSE["services"].values(), *CUDA["services"].values()]
    for build in (service["build"] for service in services):
        context = (DOCKER / build["context"]).resolve()
        assert context == ROOT and (context / build["dockerfile"]).is_file()
        assert build["args"]["TORCH"] in ("cpu", "cuda")
    assert set(CUDA["services"]) < set(COMPOSE["services"])
    allowed = re.findall(r"^!(\S+)$", (DOCKER / "Dockerfile.dockerignore").read_text(), re.M)
    copied = [w for line in dockerfile() if line[0] == "COPY" and line[1][:2] != "--" for w in line[1:-1]]
    assert [name for name in allowed if not (ROOT / name).exists()] == []
    assert [name for name in copied if name != "." and name not in allowed] == []


def test_the_dockerfile_ends_as_a_user_that_signals_reach() -> None:
    lines = dockerfile()
    words = {line[0] for line in lines}
    assert words <= {
        "ARG",
        "FROM",
        "ENV",
        "COPY",
        "WORKDIR",
        "RUN",
        "USER",
        "VOLUME",
        "STOPSIGNAL",
        "ENTRYPOINT",
        "CMD",
    }
    last = lines[max(n for n, line in enumerate(lines) if line[0] == "FROM") :]
    assert ["USER", "murmur"] in last and ["STOPSIGNAL", "SIGTERM"] in last
    assert ["ENTRYPOINT", "[murmur]"] in last  # the exec form, quotes apart
    stages = [line[3] for line in lines if line[0] == "FROM" and len(line) > 2]
    sources = [line[1].removeprefix("--from=") for line in lines if line[0] == "COPY" and line[1][:2] == "--"]
    assert set(sources) == set(stages) == {"uv", "build"}


def dockerfile() -> list[list[str]]:
    text = re.sub(r"^#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.M).replace("\\\n", "")
    return [shlex.split(line) for line in text.splitlines() if line.strip()]


def test_the_swarms_config_is_one() -> None:
    config = load_config(DOCKER / "swarm.toml")
    assert config.swarm.type == "dht" and config.sampler.external > 0


@pytest.mark.skipif(not shutil.which("sh"), reason="no shell")
@pytest.mark.parametrize("script", sorted(path.name for path in DOCKER.glob("*.sh")))
def test_scripts_are_read_by_the_shell(script: str) -> None:
    subprocess.run(["sh", "-n", str(DOCKER / script)], check=True)


@pytest.mark.skipif(not Path(UV).exists(), reason="uv is not here")
@pytest.mark.parametrize(("variant", "with_cuda"), [("cpu", False), ("cuda", True)])
def test_the_packages_of_an_image_are_those_of_the_lock(
    variant: str, with_cuda: bool, tmp_path: Path
) -> None:
    """With the script itself, and a `uv` that exports and only notes what it would install."""
    for name in ("pyproject.toml", "uv.lock"):
        shutil.copy(ROOT / name, tmp_path)
    stand_in = tmp_path / "bin" / "uv"
    stand_in.parent.mkdir()
    stand_in.write_text(
        f'#!/bin/sh\n[ "$1" = export ] && exec {shlex.quote(UV)} --no-config --offline "$@"\necho "$@" >> asked\n'
    )
    stand_in.chmod(0o755)
    script = ["sh", str(DOCKER / "install_locked.sh"), "venv", variant]
    environment = os.environ | {"PATH": f"{stand_in.parent}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(script, cwd=tmp_path, env=environment, check=True)
    exported = set(re.findall(r"^([\w-]+)==", (tmp_path / "requirements.txt").read_text(), re.M))
    asked = (tmp_path / "asked").read_text()
    (torch,) = [p for p in tomllib.loads((ROOT / "uv.lock").read_text())["package"] if p["name"] == "torch"]
    assert {"hivemind", "transformers", "prometheus-client"} <= exported and "pytest" not in exported
    assert ("nvidia-cublas" in exported) == ("torch" in exported) == with_cuda
    assert (f"--torch-backend cpu torch=={torch['version']}" in asked) != with_cuda
    assert "--no-deps --require-hashes --requirement requirements.txt" in asked


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not here")
def test_systemd_has_nothing_against_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/opt/murmur/bin/murmur", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if UNIT.stem in line]) == (0, [])


def test_the_unit_starts_and_resumes_and_does_not_repeat_what_would_fail_again() -> None:
    said = dict(re.findall(r"^(\w+)=(.*)$", UNIT.read_text(), re.M))
    assert "--resume-or-start --run-dir" in said["ExecStart"] and said["Restart"] == "on-failure"
    assert said["RestartPreventExitStatus"].split() == ["2", "5"] and said["KillMode"] == "mixed"
