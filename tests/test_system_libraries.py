"""What a machine must have before pip: the C and C++ runtimes and zlib, no graphics, no X11."""

import re
import sys
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile

ROOT = Path(__file__).resolve().parent.parent
# glibc in its parts, the compilers' runtimes, and zlib: on any Linux that runs Python.
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


@pytest.mark.skipif(sys.platform != "linux", reason="wheels for Linux are looked at")
def test_no_wheel_needs_a_library_that_a_bare_linux_lacks():
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


def test_opencv_comes_without_its_graphical_half():
    assert distribution("opencv-python-headless").version.startswith("5")
    names = {wheel.name.lower() for wheel in distributions()}
    assert not names & {"opencv-python", "opencv-contrib-python"}, "both would install the same `cv2`"
