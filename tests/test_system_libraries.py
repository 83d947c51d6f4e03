"""Libraries that a machine must have before pip: the C and C++ runtimes and zlib, but no graphics and no X11."""

import re
import sys
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

ROOT = Path(__file__).resolve().parent.parent
# The parts of glibc, the runtimes of the compilers, and zlib: any Linux that runs Python has them.
SYSTEM = {"libc", "libdl", "libm", "libmvec", "libpthread", "librt", "ld-linux", "libgcc_s", "libstdc++", "libz"}
LIBRARY = re.compile(r"\.so(\.\w+)*$")


def libraries(wheel: Distribution) -> list[Path]:
    """The compiled files of an installed wheel."""
    return [Path(str(file.locate())) for file in wheel.files or () if LIBRARY.search(file.name)]


def needed(library: Path) -> set[str]:
    """The names of the libraries that the loader must find for one ELF file."""
    with library.open("rb") as file:
        sections = ELFFile(file).iter_sections()
        dynamic = [section for section in sections if isinstance(section, DynamicSection)]
        return {tag.needed for section in dynamic for tag in section.iter_tags("DT_NEEDED")}


@pytest.mark.skipif(sys.platform != "linux", reason="the test examines Linux wheels")
def test_no_wheel_needs_a_library_that_a_minimal_linux_lacks():
    wheels = list(distributions())
    bundled = {library.name for wheel in wheels for library in libraries(wheel)}
    missing = {
        f"{wheel.name}: {name}"
        for wheel in wheels
        for library in libraries(wheel)
        for name in needed(library) - bundled
        if re.split(r"\.so|-x86|-aarch64", name)[0] not in SYSTEM
    }
    assert missing == set()


def test_opencv_is_installed_without_its_graphical_part():
    assert distribution("opencv-python-headless").version.startswith("5")
    names = {wheel.name.lower() for wheel in distributions()}
    assert not names & {"opencv-python", "opencv-contrib-python"}, "they would install another `cv2`"
