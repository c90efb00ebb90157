"""Check the wheel: it holds the page, the types and the command, and nothing else of this tree."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel of this tree as pip does, with the installed hatchling."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-cache-dir"]
    done = subprocess.run([*pip, "--wheel-dir", folder, ROOT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("datachan-*.whl")
    return built


def test_the_wheel_holds_the_package_with_its_page_and_types(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {"datachan/__init__.py", "datachan/py.typed", "datachan/web/index.html"} <= set(names)
    page = {f"datachan/{path.relative_to(ROOT)}" for path in (ROOT / "web").rglob("*") if path.is_file()}
    assert page <= set(names)


def test_the_wheel_holds_nothing_but_the_package(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert tops == {"datachan", wheel.name.rpartition("-py3")[0] + ".dist-info"}


def test_the_installed_package_finds_its_page(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "from datachan.signaling.assets import page_folder; print(page_folder())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert Path(done.stdout.strip()).samefile(tmp_path / "datachan" / "web")


def test_installing_the_wheel_puts_the_command_on_the_path(wheel: Path, tmp_path: Path) -> None:
    # Without --ignore-installed pip would remove the package from the environment that runs the tests.
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--ignore-installed"]
    install = [*pip, "--prefix", tmp_path, wheel]
    subprocess.run(install, check=True)
    (package,) = tmp_path.glob("lib*/python*/site-packages")
    done = subprocess.run(
        [tmp_path / "bin" / "datachan", "serve", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(package)},
    )
    assert "--port" in done.stdout


def test_the_wheel_names_the_pages_of_the_project(wheel: Path) -> None:
    (metadata,) = (name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".dist-info/METADATA"))
    lines = zipfile.ZipFile(wheel).read(metadata).decode().splitlines()
    named = {line.split(",")[0].removeprefix("Project-URL: ") for line in lines if line.startswith("Project-URL: ")}
    assert named == {"Homepage", "Documentation", "Source", "Issues", "Changelog"}
