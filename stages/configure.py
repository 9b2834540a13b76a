"""Validate params.yaml and write the effective settings of every stage to settings/."""

import difflib
import os
from pathlib import Path

from wbc.config.files import SETTINGS, dumped, load, read_yaml
from wbc.config.resolve import complete, resolve
from wbc.core.io import write_text


def main() -> None:
    resolved = resolve(read_yaml("params.yaml"))
    for settings in resolved.values():
        if "path" in settings:
            link_images(Path(settings["path"]))
    known = load("report").networks if (SETTINGS / "report.yaml").exists() else {}  # accepted by an earlier run
    complete(resolved, known.values())
    for row in resolved["report"]["networks"].keys() - known:
        if close := difflib.get_close_matches(row, known, n=1, cutoff=0.7):
            print(f"  ladder.{row} is a new row, whose name resembles {close[0]!r}")
    before = {path: path.read_text(encoding="utf-8") for path in SETTINGS.rglob("*.yaml")}
    after = {SETTINGS / f"{name}.yaml": dumped(settings) for name, settings in resolved.items()}
    for path in before.keys() - after:
        path.unlink()
    for path, text in after.items():
        write_text(path, text)
    changed = sum(before.get(path) != after.get(path) for path in before | after)
    print(f"profile {resolved['report']['profile']}: {len(after)} settings files in {SETTINGS}/, {changed} changed")


def link_images(folder: Path) -> None:
    """Link images that git and DVC do not copy to where a queued experiment runs, which DVC_ROOT is the way out of."""
    home = Path(os.environ.get("DVC_ROOT", ".")).absolute()
    if not folder.exists() and (home / folder).is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.symlink_to(home / folder)
