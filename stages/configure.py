"""Validate params.yaml and write each consumer's effective settings to configs/."""

import difflib
import io
import os
from collections.abc import Sequence
from pathlib import Path

from ruamel.yaml import YAML

from stages import run, say
from wbc.config import complete, read_yaml, resolve
from wbc.io import write_text

CONFIGS = Path("configs")


def main() -> None:
    resolved = resolve(read_yaml("params.yaml"))
    lend([resolved["data"]["data"]["path"], *(each["path"] for each in resolved["external"]["sets"].values())])
    report = CONFIGS / "report.yaml"
    known = read_yaml(report)["models"] if report.exists() else {}  # as accepted the last time
    complete(resolved, known.values())  # nothing is written before all of it is valid
    for row in resolved["report"]["models"].keys() - known:
        if close := difflib.get_close_matches(row, known, n=1, cutoff=0.7):
            print(f"  ladder.{row} is a new row, whose name resembles {close[0]!r}")
    before = {path.stem: path.read_text(encoding="utf-8") for path in CONFIGS.glob("*.yaml")}
    after = {name: dumped(values) for name, values in resolved.items()}
    for name in before.keys() - after:
        (CONFIGS / f"{name}.yaml").unlink()
    for name, text in after.items():
        write_text(CONFIGS / f"{name}.yaml", text)
    changed = [name for name in sorted(before | after) if before.get(name) != after.get(name)] or ["none"]
    profile = resolved["report"]["profile"]
    say(f"profile {profile}: {len(after)} settings files in {CONFIGS}/; {', '.join(changed)} changed")


def lend(folders: Sequence[str]) -> None:
    """Link images that are not there, as in the copy that a queued experiment runs in, to those of the repository.

    Neither git nor DVC brings them along. DVC_ROOT is the way out of the copy.
    """
    home = Path(os.environ.get("DVC_ROOT", ".")).absolute()
    for folder in map(Path, folders):
        if not folder.exists() and (home / folder).is_dir():
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.symlink_to(home / folder)


def dumped(values: dict) -> str:
    yaml = YAML()
    yaml.default_flow_style = False  # one value per line: branches merge cleanly
    text = io.StringIO()
    yaml.dump(values, text)
    return text.getvalue()


if __name__ == "__main__":
    run(main)
