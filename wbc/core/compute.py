"""Make floating-point results depend on the settings rather than on the machine.

Another thread count changes the order of sums, and wider vector instructions change their rounding. The libraries read
these variables when they are first imported.
"""

import os
import sys
import time
from pathlib import Path

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
AVX2 = {
    "ATEN_CPU_CAPABILITY": "avx2",  # PyTorch's own kernels
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # convolutions
    "MKL_CBWR": "COMPATIBLE",  # matrix products in PyTorch; the only branch that does not need an Intel processor
    "OPENBLAS_CORETYPE": "Haswell",  # matrix products in NumPy and SciPy
    "NPY_ENABLE_CPU_FEATURES": "X86_V3",  # NumPy's vectorised loops
    # Intel's functions within OpenCV depend on the processor, the distance transform even on the array's address
    "OPENCV_IPP": "disabled",
    "OPENCV_LOG_LEVEL": "ERROR",  # otherwise each process warns that they are disabled
}
CPUINFO = Path("/proc/cpuinfo")  # Linux only


def pin(threads: int, isa: str) -> None:
    """Fix the thread count and the instruction set (`avx2` or `native`) of every numeric library.

    Call it before NumPy and PyTorch are imported; child processes inherit it.
    """
    os.environ |= dict.fromkeys(THREADS, str(threads))
    # OpenMP's waiting threads would spin and slow down a busy machine; results do not change (benchmarks/README.md)
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    if isa == "avx2":
        os.environ |= AVX2
        os.environ.pop("NPY_DISABLE_CPU_FEATURES", None)  # NumPy refuses to start with both variables
        # OpenCV's own loops; each process would warn if a disabled feature is missing
        wide = CPUINFO.exists() and "avx512vl" in CPUINFO.read_text()
        os.environ["OPENCV_CPU_DISABLE"] = "AVX512-SKX" if wide else ""


def used() -> str:
    """The CPU time of this process and its children, and the memory of the largest of them."""
    try:
        import resource
    except ImportError:  # Windows
        return f"  {time.process_time():.0f} s of CPU time"
    if loky := sys.modules.get("joblib.externals.loky"):  # children count when they have ended
        loky.get_reusable_executor().shutdown()
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = sum(usage.ru_utime + usage.ru_stime for usage in usages)
    memory = max(usage.ru_maxrss for usage in usages) / (2**20 if sys.platform == "darwin" else 2**10)
    return f"  {seconds:.0f} s of CPU time, {memory:,.0f} MiB in the largest process"
