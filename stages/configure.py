"""Validate params.yaml and write each consumer's effective settings to configs/."""

import difflib
from pathlib import Path

from ruamel.yaml import YAML

from stages import run
from wbc.config import complete, overridden, read_yaml, resolve
from wbc.io import atomic

CONFIGS = Path("configs")


def main() -> None:
    params = read_yaml("params.yaml")
    resolved = resolve(params)
    report = CONFIGS / "report.yaml"
    known = read_yaml(report)["models"] if report.exists() else {}  # as accepted the last time
    complete(resolved, known.values())  # nothing is written before all of it is valid
    for row in resolved["report"]["models"].keys() - known:
        if close := difflib.get_close_matches(row, known, n=1, cutoff=0.7):
            print(f"  ladder.{row} is a new row, whose name resembles {close[0]!r}")
    yaml = YAML()
    yaml.default_flow_style = False  # one value per line: branches merge cleanly
    for name, values in resolved.items():
        with atomic(CONFIGS / f"{name}.yaml") as path:
            yaml.dump(values, path)
    for stale in set(CONFIGS.glob("*.yaml")) - {CONFIGS / f"{name}.yaml" for name in resolved}:
        stale.unlink()
    print(f"profile {params['profile']}: {len(resolved)} settings files in {CONFIGS}/")
    if keys := overridden(params):
        print(f"  set by the profile, whatever the base value: {', '.join(keys)}")


if __name__ == "__main__":
    run(main)
