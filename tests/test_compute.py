"""What `pin` asks for is what the libraries do, and CI tells whether a machine's results are the committed ones."""

import os
import platform
import subprocess
import sys

import pytest

from study import ROOT

COMPATIBLE = 3  # MKL_CBWR_COMPATIBLE of mkl_types.h
SCRIPT = """
import ctypes
from pathlib import Path
from wbc.core.compute import pin
pin(2, "avx2")
import torch
mkl = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
print(mkl.mkl_serv_cbwr_get(1))
"""
X86 = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="asks MKL and disables instructions: Linux on x86"
)


def output(script, env):
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env)


@X86
def test_the_pinned_libraries_take_the_branch_of_all_makes_and_hardly_spin():
    """MKL's AVX2 branch is Intel's alone: on AMD it quietly runs another one, with other last bits."""
    unset = {name: value for name, value in os.environ.items() if name not in ("MKL_CBWR", "GOMP_SPINCOUNT")}
    found = output(SCRIPT, unset | {"OMP_DISPLAY_ENV": "verbose"})
    assert int(found.stdout) == COMPATIBLE, found.stderr
    assert "GOMP_SPINCOUNT = '20000'" in found.stderr


DISPATCHED = """
import hashlib
from wbc.core.compute import pin
pin(1, "avx2")
import cv2
import numpy as np
image = np.random.default_rng(0).integers(0, 256, (97, 131, 3), np.uint8)
grey, mask = np.float32(image[..., 0]), np.uint8(cv2.blur(image, (9, 9))[..., 0] > 127)

def at(array, place):  # a copy that begins so many bytes after an address that 64 divides
    room = np.empty(array.size + 128, np.uint8)
    copy = room[-room.ctypes.data % 64 + place :][: array.size].reshape(array.shape)
    copy[:] = array
    return copy

results = [
    cv2.resize(image, (240, 177), interpolation=cv2.INTER_CUBIC),
    cv2.resize(grey, (240, 177), interpolation=cv2.INTER_CUBIC),
    *(cv2.distanceTransform(at(mask, place), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for place in range(2)),
    cv2.GaussianBlur(grey, (0, 0), 2.7),
    cv2.cvtColor(np.float32(image) / 255, cv2.COLOR_RGB2HSV),
    cv2.filter2D(image, -1, np.float32(image[:7, :7, 0]) / 1e4),
    np.exp(grey / 99),
]
print(*(hashlib.sha256(result.tobytes()).hexdigest()[:12] for result in results))
print(cv2.getCPUFeaturesLine())
"""


@X86
def test_opencv_and_numpy_give_the_same_bytes_as_on_another_processor():
    """The other processors are this one with instructions taken away, or, where it has AVX-512, the one without."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OPENCV_", "NPY_"))}
    here = output(DISPATCHED, clean)
    for other in ({"OPENCV_IPP": "sse42"}, {"OPENCV_CPU_DISABLE": "AVX2"}, {"NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3"}):
        found = output(DISPATCHED, clean | other)
        assert (found.stdout, found.stderr) == (here.stdout, "")
    assert "*AVX2 *AVX512-SKX?" in here.stdout
    hashes = here.stdout.split()
    assert hashes[2] == hashes[3]  # wherever in memory the array lies


def test_ci_shows_where_each_result_differs(tmp_path):
    def run(*command):
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    after_repro = ("bash", "-euo", "pipefail", "-c", (ROOT / ".ci/run").read_text().partition("make repro\n")[2])
    (tmp_path / "loss.tsv").write_text("epoch\tloss\n5\t1.307523\n6\t1.2\n")
    (tmp_path / "curve.png").write_bytes(b"\x00\x01")
    run("git", "init", "-q")
    run("git", "add", ".")
    run("git", "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "results")
    assert run(*after_repro) == "Every result is the committed one, byte for byte.\n"

    (tmp_path / "loss.tsv").write_text("epoch\tloss\n5\t1.30754\n6\t1.3\n")
    (tmp_path / "curve.png").write_bytes(b"\x00\x02")
    (tmp_path / "more.csv").touch()
    assert run(*after_repro).splitlines()[1:] == [
        "Binary files a/curve.png and b/curve.png differ",
        "loss.tsv: 5\t[-1.307523-]{+1.30754+}",
        "more.csv: new",
    ]
