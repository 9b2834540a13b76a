"""Makes floating-point results depend on the settings rather than on the machine.

Sums are reordered by another thread count and contracted by wider vector instructions, so the last bits differ and,
over a training, everything after them. The libraries read these variables when they are first imported.
"""

import os
import sys
import time
from pathlib import Path

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",  # PyTorch's own kernels
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # convolutions
    "MKL_CBWR": "COMPATIBLE",  # matrix products in PyTorch; of its branches the only one that is not Intel's alone
    "OPENBLAS_CORETYPE": "Haswell",  # matrix products in NumPy and SciPy
    "NPY_ENABLE_CPU_FEATURES": "X86_V3",  # NumPy's vectorised loops
    # Intel's functions within OpenCV: they follow the processor, and the distance transform even the array's address
    "OPENCV_IPP": "disabled",
    "OPENCV_LOG_LEVEL": "ERROR",  # else each process warns that they are disabled
}
CPUINFO = Path("/proc/cpuinfo")  # on Linux


def pin(threads: int, isa: str) -> None:
    """Fix the thread count and the instruction set (`avx2` or `native`) of every numeric library.

    Must run before NumPy or PyTorch is imported; child processes inherit it.
    """
    os.environ |= dict.fromkeys(THREADS, str(threads))
    # At a barrier OpenMP's threads would spin until the others come, which a busy machine keeps from coming; no result
    # depends on it: benchmarks/README.md
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    if isa == "avx2":
        os.environ |= AVX2
        os.environ.pop("NPY_DISABLE_CPU_FEATURES", None)  # beside the other one NumPy would not start
        # OpenCV's own loops; of a processor without what is to be disabled it would print a line in each process
        wide = CPUINFO.exists() and "avx512vl" in CPUINFO.read_text()
        os.environ["OPENCV_CPU_DISABLE"] = "AVX512-SKX" if wide else ""


def used() -> str:
    """CPU time of this process and those it started, and the most memory that one of them had, in a line."""
    try:
        import resource
    except ImportError:  # Windows
        return f"  {time.process_time():.0f} s of CPU time"
    if "joblib.externals.loky" in sys.modules:  # its workers count once they have ended
        sys.modules["joblib.externals.loky"].get_reusable_executor().shutdown()
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    seconds = sum(usage.ru_utime + usage.ru_stime for usage in (own, others))
    unit = 2**20 if sys.platform == "darwin" else 2**10  # of ru_maxrss per MiB
    return (
        f"  {seconds:.0f} s of CPU time, {max(own.ru_maxrss, others.ru_maxrss) / unit:,.0f} MiB in the largest process"
    )
