"""What the pinned environment costs a training on a CPU, on the machine as it is and beside a busy process per core.

    python -m benchmarks.pinned --json pinned.json

Images/s of an epoch of one of the sample's rows, in a process for each variant of what `wbc.core.compute.pin` sets:

- how long OpenMP's threads spin at a barrier before they sleep (`GOMP_SPINCOUNT`)
- which branch MKL takes (`MKL_CBWR`)

Each round measures all variants in turn, first as it is, then beside the neighbours; the table gives the median and the
range over the rounds, ratios to what `pin` sets are taken within a round.

Needs torch, torchvision, timm, scikit-learn, pandas, safetensors, kornia, pydantic, ruamel.yaml and tqdm: no data.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from multiprocessing import Process
from pathlib import Path

from wbc.config.files import read_yaml
from wbc.config.resolve import resolve
from wbc.config.schema import Training
from wbc.core.compute import pin

UNSET = ""
VARIANTS = {  # from what `pin` sets
    "as pinned": {},
    "GOMP_SPINCOUNT=1000": {"GOMP_SPINCOUNT": "1000"},
    "GOMP_SPINCOUNT=100000": {"GOMP_SPINCOUNT": "100000"},
    "GOMP_SPINCOUNT unset": {"GOMP_SPINCOUNT": UNSET},
    "MKL_CBWR=AVX2,STRICT": {"MKL_CBWR": "AVX2,STRICT"},
}
STATES = ("as it is", "busy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row", default="convnext_cosine", help="of the sample's ladder (default: %(default)s)")
    parser.add_argument("--images", type=int, default=900, help="images of an epoch (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions of every measurement (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--variant", help=argparse.SUPPRESS)  # this process measures one
    arguments = parser.parse_args()
    if arguments.variant:
        serve(arguments.row, arguments.images, VARIANTS[arguments.variant])
        return
    results = measure(arguments.row, arguments.images, arguments.rounds)
    show(results)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


def serve(name: str, images: int, changes: dict[str, str]) -> None:
    """Train an epoch for every line of the standard input, and answer by its images/s."""
    settings = resolve(read_yaml("params.yaml") | {"profile": "sample"})
    values = settings[f"train/{name}"]
    pin(values["compute"]["threads"], "avx2")
    os.environ |= changes
    for variable in [variable for variable, value in changes.items() if value == UNSET]:
        del os.environ[variable]

    import numpy as np
    import torch
    from tqdm import tqdm

    from wbc.network.pixels import Part, Pixels
    from wbc.train.engine import Trainer, drop_last

    row = Training(**values | {"model": values["model"] | {"weights": "none"}})
    size, order = row.images.size, np.arange(images)
    pixels = np.random.default_rng(0).integers(0, 256, (images, size, size, 3), np.uint8)
    part = Part(order.astype(str), Pixels(pixels, order, torch.device("cpu")), torch.from_numpy(order % 13))
    trainer = Trainer(row, part)
    for _ in sys.stdin:
        started = time.perf_counter()
        trainer.epoch(row.train.freeze, tqdm(disable=True))
        print(drop_last(images, row.train.batch_size) / (time.perf_counter() - started), flush=True)


def measure(row: str, images: int, rounds: int) -> dict:
    """Lists over the rounds of images/s, by state and variant, and the load before each round."""
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    command = [sys.executable, "-m", "benchmarks.pinned", "--row", row, "--images", str(images), "--variant"]
    servers = {
        name: subprocess.Popen(
            [*command, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, env=environment
        )
        for name in VARIANTS
    }

    def speed(name: str) -> float:
        servers[name].stdin.write("\n")
        return float(servers[name].stdout.readline())

    speeds = {state: {name: [] for name in VARIANTS} for state in STATES}
    loads = []
    for name in VARIANTS:  # warms up
        speed(name)
    for _ in range(rounds):
        loads.append(os.getloadavg()[0])
        for state, of_state in speeds.items():
            with neighbours(os.cpu_count() if state == "busy" else 0):
                for name, values in of_state.items():
                    values.append(speed(name))
    for server in servers.values():
        server.communicate()
    return {"row": row, "cores": os.cpu_count(), "loads": loads, "images_per_second": speeds}


@contextmanager
def neighbours(count: int):
    """So many processes that do nothing but compute."""
    processes = [Process(target=compute, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


def compute() -> None:
    while True:
        pass


def show(results: dict) -> None:
    """Print the figures as Markdown."""
    speeds = results["images_per_second"]
    rounds = len(results["loads"])
    print(f"{results['row']}, {results['cores']} cores, n = {rounds} rounds, load before each: ", end="")
    print(", ".join(f"{load:.1f}" for load in results["loads"]), end="\n\n")
    print(f"| images/s | {' | '.join(f'{state} | : as pinned' for state in speeds)} |")
    print("| --- |" + " ---: |" * 2 * len(speeds))
    for name in VARIANTS:
        cells = []
        for of_state in speeds.values():
            ratios = [a / b for a, b in zip(of_state[name], of_state["as pinned"], strict=True)]
            cells += [spread(of_state[name], ".0f"), spread(ratios, ".2f")]
        print(f"| {name} | {' | '.join(cells)} |")


def spread(values: list[float], form: str) -> str:
    return f"{statistics.median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


if __name__ == "__main__":
    main()
