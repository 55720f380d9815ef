"""The images: every path, setting and command that they name is there. Building one takes a registry and minutes."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from golek_program.settings import monitor
from golek_worker import settings

FILES = ("Dockerfile", "Dockerfile.cuda")
ENTRYPOINT = Path("docker/entrypoint.sh")
CHECK = {"interval": "60s", "timeout": "30s", "retries": 3, "start_period": "120s"}


def instructions(file: str) -> list[tuple[str, str]]:
    """Each instruction with its arguments in one line."""
    text = re.sub(r"^#.*\n", "", Path(file).read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in text.splitlines() if line.strip()]


def given(file: str, name: str) -> list[str]:
    return [arguments for instruction, arguments in instructions(file) if instruction == name]


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps all of `path` out: only what it names again comes in."""
    named = [line[1:] for line in Path(".dockerignore").read_text().splitlines() if line.startswith("!")]
    return not any(one == path or one.startswith(f"{path}/") or path.startswith(f"{one}/") for one in named)


@pytest.mark.parametrize("file", FILES)
def test_what_is_copied_is_there(file: str) -> None:
    """In the repository, and not kept out of the build."""
    copied = [one.split() for one in given(file, "COPY")]
    sources = [part for parts in copied if "--from=build" not in parts for part in parts[:-1] if part[:2] != "--"]
    packages = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "packages"
    ]
    assert {*packages, "envs", "requirements"} <= set(sources)
    for source in sources:
        assert Path(source).exists(), source
        assert not ignored(source), source


@pytest.mark.parametrize("file", FILES)
def test_the_image_serves(file: str) -> None:
    """`golek serve`, installed as everywhere, at an address that others reach, with the health check that is usual."""
    assert given(file, "ENTRYPOINT") == ['["golek-entrypoint"]']
    assert given(file, "CMD") == ['["serve"]']
    assert any(f"{ENTRYPOINT} /usr/local/bin/golek-entrypoint" in one for one in given(file, "COPY"))
    installs = [one for one in given(file, "RUN") if "install.sh" in one]
    assert installs == ["requirements/install.sh worker python3 .venv/.golek-image"]
    health = " ".join(given(file, "HEALTHCHECK")[0].split())
    assert health.startswith("--interval=60s --timeout=30s --retries=3 --start-period=120s CMD curl ")
    variables = dict(re.findall(r"(\w+)=(\S+)", " ".join(given(file, "ENV"))))
    assert variables["INFERENCE_HOST"] == "0.0.0.0"
    assert set(variables) - {"PATH", "CMAKE_ARGS", "LIBRARY_PATH", "DGGML_CUDA", "DGGML_NATIVE"} <= set(settings.KNOWN)
    service = settings.load_service(Path(), {})
    ports = {str(service.inference_port), str(service.golek_health_port), str(monitor.load(Path(), {}).where.port)}
    assert set(given(file, "EXPOSE")[0].split()) == ports


def test_both_images_run_alike() -> None:
    """Only what they are built from differs: from WORKDIR on the last stage is the same."""
    stages = [Path(file).read_text().rpartition("\nWORKDIR /app\n")[2] for file in FILES]
    plain, cuda = (re.sub(r"^#.*\n", "", stage, flags=re.MULTILINE) for stage in stages)
    assert plain == cuda


def test_compose_has_the_fleet_and_redis() -> None:
    """Known settings alone; reached from this machine alone, for nobody needs a key."""
    services = yaml.safe_load(Path("docker-compose.yml").read_text())["services"]
    golek, redis = services["golek"], services["redis"]
    assert set(golek["environment"]) <= set(settings.KNOWN)
    assert all(port.startswith("127.0.0.1:") for port in golek["ports"])
    check = golek["healthcheck"]
    assert {key: value for key, value in check.items() if key != "test"} == CHECK
    assert golek["environment"]["GOLEK_SESSION_STORE"] == "redis://redis:6379/0"
    assert golek["env_file"] == [{"path": ".env", "required": False}]
    assert golek["build"] == "."
    assert "image" in redis


def test_the_entrypoint_finds_the_data(tmp_path: Path) -> None:
    """GOLEK_DATA as it is given, else /data, where no volume is mounted on the shipped folder."""
    golek = tmp_path / "golek"
    golek.write_text('#!/bin/sh\necho "$GOLEK_DATA $*"\n')
    golek.chmod(0o755)
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    for data, expected in (({}, "/data serve a b"), ({"GOLEK_DATA": "/srv"}, "/srv serve a b")):
        said = subprocess.run(
            [ENTRYPOINT, "serve", "a", "b"], env=path | data, capture_output=True, text=True, check=True
        )
        assert said.stdout.strip() == expected
