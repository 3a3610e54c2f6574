"""What is taken from Debian, with and without root: apt is a stand-in here, the packages and dpkg are real."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("debian.sh")
TOOLS = ["sh", "rm", "mkdir", "cp", "cat", "chmod", "find", "sort", "paste", "ln", "dpkg-deb", "tar"]

# Puts the package where apt would, or says that it was asked to install; fails where there is no package to be had.
APT = """#!/bin/sh
echo "$@" >> {asked}
for word; do case $word in Dir::Cache=*) cache=${{word#*=}} ;; esac; done
case "$*" in *--download-only*) cp {package} "$cache/archives/" ;; esac
"""

ENVSUBST = """#!/bin/sh
echo "$LD_LIBRARY_PATH $FONTCONFIG_FILE $@"
"""


class Machine:
    """A PATH with the few tools that are always there, every program that the tests need but envsubst, and apt."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.made = folder / "bin", folder / "a folder"
        self.asked, self.package = folder / "asked", folder / "gettext-base.deb"
        self.bin.mkdir()
        for name in TOOLS:
            found = shutil.which(name)
            if found is None:
                pytest.skip(f"there is no {name}: this is no Debian")
            (self.bin / name).symlink_to(found)
        for name in ("chromium", "redis-server", "promtool", "curl"):
            self.has(name, "#!/bin/sh\n")
        self.has("apt-get", APT.format(asked=self.asked, package=self.package))

    def has(self, name: str, script: str) -> None:
        (self.bin / name).write_text(script)
        (self.bin / name).chmod(0o755)

    def offers(self, folder: Path) -> None:
        """Let apt have the package: a program, and a library where the loader does not look."""
        control, program = folder / "DEBIAN/control", folder / "usr/bin/envsubst"
        library = folder / "usr/lib/some-linux-gnu/libsome.so.1"
        for each in (control, program, library):
            each.parent.mkdir(parents=True)
        control.write_text(
            "Package: gettext-base\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: none\n"
        )
        program.write_text(ENVSUBST)
        program.chmod(0o755)
        library.touch()
        subprocess.run(["dpkg-deb", "-b", folder, self.package], check=True, capture_output=True)

    def run(self, *, root: bool, **environment: str) -> subprocess.CompletedProcess[str]:
        self.has("id", f"#!/bin/sh\necho {0 if root else 1000}\n")
        return subprocess.run(
            ["sh", SCRIPT, self.made],
            env={"PATH": str(self.bin), **environment},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_what_is_there_already_is_not_asked_for(machine: Machine):
    machine.has("envsubst", "#!/bin/sh\n")

    ran = machine.run(root=False)

    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert not machine.asked.exists()


def test_root_installs_what_is_missing_and_nothing_else(machine: Machine):
    ran = machine.run(root=True)

    assert ran.returncode == 0, ran.stderr
    assert machine.asked.read_text().splitlines() == [
        "update -qq",
        "install -qq -y --no-install-recommends gettext-base",
    ]
    assert not machine.made.exists()


def test_anybody_else_gets_programs_that_find_their_libraries(machine: Machine, tmp_path: Path):
    machine.offers(tmp_path / "package")

    ran = machine.run(root=False)

    assert ran.returncode == 0, ran.stderr
    said = subprocess.run(
        [machine.made / "bin/envsubst", "two words"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    tree, fonts = machine.made / "tree", machine.made / "fonts.conf"
    assert said.stdout.strip() == f"{tree}/usr/lib/some-linux-gnu {fonts} two words"
    assert f"<dir>{tree}/usr/share/fonts</dir>" in fonts.read_text()


def test_without_root_apt_keeps_to_the_folder(machine: Machine, tmp_path: Path):
    machine.offers(tmp_path / "package")

    machine.run(root=False)

    for asked in machine.asked.read_text().splitlines():
        assert f"-o Dir::State={machine.made}/apt " in asked
        assert f"-o Dir::Cache={machine.made}/apt " in asked
    assert not (machine.made / "apt").exists(), "what was downloaded is not kept twice"


@pytest.mark.parametrize(("required", "code"), [("", 0), ("1", 1)])
def test_where_the_packages_cannot_be_had_a_line_names_them_and_the_folder_is_gone(
    machine: Machine, required: str, code: int
):
    ran = machine.run(root=False, REQUIRE_ALL=required)

    assert ran.returncode == code
    assert "SKIPPED" in ran.stdout
    assert "as root: apt-get install gettext-base" in ran.stdout
    assert not machine.made.exists()


def test_where_there_is_no_apt_a_line_says_what_is_missing(machine: Machine):
    (machine.bin / "apt-get").unlink()

    ran = machine.run(root=True)

    assert ran.returncode == 0
    assert "SKIPPED: the tests that need Debian's gettext-base" in ran.stdout
