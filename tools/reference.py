"""Generate docs/reference.md from params.yaml, dvc.yaml and the tables of `wbc/`.

python -m tools.reference > docs/reference.md
"""

import copy
import functools
import json
import re
import tempfile
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import networkx as nx
from dvc.repo import Repo

from wbc.config.files import ConfigError, dumped, read_yaml
from wbc.config.resolve import READ_BY_DVC, resolve
from wbc.config.schema import PROFILES, Params
from wbc.core.classes import CLASSES, NAMES
from wbc.dataset.public import SETS as PUBLIC
from wbc.dataset.public import Label
from wbc.features import SETS, feature_set
from wbc.features.definitions import ANGLES, CHANNELS, GLCM, GREY_LEVELS, HU, HU_NOISE
from wbc.features.sets.v3 import SMOOTH
from wbc.features.sets.v4 import DIAMETER
from wbc.report.published import ROWS

ROOT = Path(__file__).parent.parent
# The value that a setting is changed to where it is neither a number nor one of several choices.
EXAMPLES = {
    "rows": ["final"],
    "repeats": [0, 1],
    "data.source": "folder",
    "blend.row": "final",
    "blend.features": "v2",
    "robustness.rows": [],
}
PLACEHOLDERS = {
    **dict.fromkeys(("cell", "nucleus", "cytoplasm"), "<region>"),
    **dict.fromkeys(CHANNELS, "<channel>"),
    **dict.fromkeys(GLCM, "<property>"),
}


def markdown() -> str:
    """The text of docs/reference.md."""
    columns = " | ".join(f"`{name}`" for name in PUBLIC)
    labels = [f"| {label}, {NAMES[label]} | {_labels(label)} |" for label in CLASSES]
    lines = [HEAD, *_settings(), FEATURES, *_features(), SOURCES, PUBLIC_SETS, *_public_sets(), "", *_tried(), LABELS]
    lines += [f"| ours | {columns} |", f"| --- |{' --- |' * len(PUBLIC)}", *labels, f"| none | {_labels('')} |", FOOT]
    return "\n".join(lines)


# --- settings and what they rerun -------------------------------------------------------------------------------------


def reruns(before: dict, after: dict) -> tuple[set[str], set[str]]:
    """The stages that run again when params.yaml changes from `before` to `after`, without `configure`.

    Returns:
        Those that read what changed and depend on no other of them; and all, with every stage that depends on these.
    """
    old, new = resolve(before), resolve(after)
    known, stages = _stages(_read_by_dvc(before)).nodes, _stages(_read_by_dvc(after))
    changed = {f"settings/{name}.yaml" for name, values in new.items() if old.get(name) != values}
    stale = {
        name
        for name, stage in stages.nodes.items()
        if name not in known or stage != known[name] or changed & {*stage["deps"]}
    }
    return _first_and_all(stages, stale)


def rooms(params: dict) -> dict[str, str]:
    """By folder of `wbc/`, the first stages that a change of its code reruns."""
    stages = _stages(_read_by_dvc(params))
    found = {}
    for room in sorted(path.parent.name for path in ROOT.glob("wbc/*/__init__.py")):
        users = {name for name, stage in stages.nodes.items() if f"wbc/{room}" in stage["deps"]}
        found[room] = _names(*_first_and_all(stages, users), params)
    return found


def _first_and_all(stages: nx.DiGraph, stale: set[str]) -> tuple[set[str], set[str]]:
    later = set().union(*(nx.ancestors(stages, name) for name in stale))
    return stale - later, stale | later


def _read_by_dvc(params: dict) -> str:
    return json.dumps({key: params[key] for key in READ_BY_DVC} | {"ladder": dict.fromkeys(params["ladder"])})


@functools.cache
def _stages(read_by_dvc: str) -> nx.DiGraph:
    """The stages of dvc.yaml but `configure`, with an edge from each to the stages it depends on."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
        Path(folder, "params.yaml").write_text(dumped(json.loads(read_by_dvc)), encoding="utf-8")
        graph = Repo(folder, uninitialized=True).index.graph
    stages = nx.DiGraph((stage.name, other.name) for stage, other in graph.edges)
    for stage in graph:
        stages.add_node(stage.name, cmd=stage.cmd, deps=[dep.def_path for dep in stage.deps])
    stages.remove_node("configure")
    return stages


def _names(first: set[str], reached: set[str], params: dict) -> str:
    """The first stages that run again or, where some rows are trained, these rows; as in a cell of a table."""
    if not first:
        return "nothing"
    if reached == {*_stages(_read_by_dvc(params))}:
        return "every stage"
    ladder = list(params["ladder"])
    trained = [row for row in ladder if any(name.startswith(f"train@{row}-") for name in first)]
    words = sorted({f"`{name.partition('@')[0].removesuffix('_external')}`" for name in first})
    if not trained or trained == ladder:
        return ", ".join(words)
    spans = [[trained[0], trained[0]]]
    for row in trained[1:]:
        if ladder.index(row) == ladder.index(spans[-1][1]) + 1:
            spans[-1][1] = row
        else:
            spans.append([row, row])
    return ", ".join("–".join(dict.fromkeys(span)) for span in spans)


def _settings() -> list[str]:
    """A line for each key of params.yaml and each comment of a group; rows that somebody added are left out."""
    params = read_yaml(ROOT / "params.yaml")
    standard = {*ROWS, params["blend"]["row"]}
    params["ladder"] = {name: row for name, row in params["ladder"].items() if name in standard}
    lines = []
    for key, comment in _comments((ROOT / "params.yaml").read_text(encoding="utf-8")).items():
        value = functools.reduce(dict.__getitem__, key.split("."), params)
        group = isinstance(value, dict) and value.keys().isdisjoint(PROFILES)
        if comment or not group:
            lines.append(f"| `{key}` | {comment} | {'' if group else _reruns_of(key, value, params)} |")
    return lines


def _comments(text: str) -> dict[str, str]:
    """The comment beside or above each key of params.yaml, by dotted key, but for profiles and the ladder's rows."""
    found, above, parents = {}, [], []
    for line in text.splitlines():
        if match := re.match(r"( *)(\w+):[^#]*(?:# (.*))?$", line):
            parents = [*parents[: len(match[1]) // 2], match[2]]
            if parents[0] not in ("ladder", "external") and match[2] not in PROFILES:
                found[".".join(parents)] = " ".join([*above, match[3] or ""]).strip().replace(" | ", "; ")
        above = [*above, line.strip(" #")] if re.match(" *# (?!---)", line) else []
    return found


def _reruns_of(key: str, value: Any, params: dict) -> str:
    if isinstance(value, dict):
        value = value.get(params["profile"], value[PROFILES[0]])
    after = copy.deepcopy(params)
    *parents, last = key.split(".")
    changed = functools.reduce(dict.__getitem__, parents, after)[last] = _another(key, value)
    if key == "split.outer":
        after["repeats"] = list(range(changed))
    try:
        names = _names(*reruns(params, after), params)
    except ConfigError:  # not all rows can have it
        return "rows that set it"
    return f"{names}, for {changed}" if key in ("rows", "repeats") else names


def _another(key: str, value: Any) -> Any:
    """Another value that is allowed for a setting."""
    if key in EXAMPLES:
        return EXAMPLES[key]
    kind = Params
    for part in key.split("."):
        fields = getattr(kind, "model_fields", None)
        kind = fields[part].annotation if fields else get_args(kind)[1]
    if get_origin(kind) is Literal:
        return next(choice for choice in get_args(kind) if choice != value)
    match value:
        case bool():
            return not value
        case int():
            return value + 2 if value != 180 else 90  # degrees
        case float():
            return value + 0.05
        case [float(low), float(high)]:
            return [low, high + 0.05]
        case list():
            return value[:1]
    return f"{value}x"


# --- features ---------------------------------------------------------------------------------------------------------


def _features() -> list[str]:
    """A line for each feature, or family of features whose names differ in a region, a channel or a number."""
    tables = {name: feature_set(name).TABLE for name in SETS}
    families = {}
    for table in reversed(tables.values()):
        for feature in table:
            families.setdefault(_family(feature.name), {}).setdefault(feature.name, feature)
    lines = []
    for members in families.values():
        name = "_".join(_placeholder(parts) for parts in zip(*(name.split("_") for name in members), strict=True))
        sets = [of for of, table in tables.items() if not members.keys().isdisjoint(feature.name for feature in table)]
        definition = _joined([feature.definition.replace("|", "\\|") for feature in members.values()])
        units = " or ".join(dict.fromkeys(feature.unit for feature in members.values()))
        sources = dict.fromkeys(source for feature in members.values() for source in feature.source.split("; "))
        unit = f" ({units})" if units != "1" else ""
        cells = (f"`{name}`", "–".join(dict.fromkeys((sets[0], sets[-1]))), f"{definition}{unit}", "; ".join(sources))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _family(name: str) -> str:
    return "_".join("<n>" if part.isdigit() else PLACEHOLDERS.get(part, part) for part in name.split("_"))


def _placeholder(parts: tuple[str, ...]) -> str:
    """One part of the name of each member of a family, as it is where it is the same in all."""
    if len({*parts}) == 1:
        return parts[0]
    return "<angle>" if {*parts} == {*map(str, ANGLES)} else PLACEHOLDERS.get(parts[0], "<n>")


def _joined(definitions: list[str]) -> str:
    """The definitions of a family as one: the words in which they differ are listed, at most three of them."""
    words = [definition.split() for definition in dict.fromkeys(definitions)]
    first = words[0]
    if len(words) == 1:
        return definitions[0]
    shortest = min(map(len, words))
    start = next((i for i in range(shortest) if len({word[i] for word in words}) > 1), shortest)
    end = next((i for i in range(shortest - start) if len({word[-1 - i] for word in words}) > 1), shortest - start)
    differing = [" ".join(word[start : len(word) - end]) for word in words]
    middle = ", ".join(differing) if len(differing) < 4 else f"{differing[0]} … {differing[-1]}"
    return " ".join([*first[:start], middle, *first[len(first) - end :]])


# --- public sets ------------------------------------------------------------------------------------------------------


def _public_sets() -> list[str]:
    lines = []
    for name, public in PUBLIC.items():
        ours = [label for label in public.labels.values() if label.ours]
        known = all(label.images is not None for label in ours)
        usable = f"{sum(label.images for label in ours):,}" if known else "unknown"
        licence = f"{public.licence}; forbids {public.forbids}" if public.forbids else public.licence
        cells = (f"[`{name}`]({public.page})", public.title, licence, f"{public.images:,}", usable)
        lines.append(f"| {' | '.join(cells)} | {'yes' if public.patients else 'no'} | {public.size} | {_way(public)} |")
    return lines


def _way(public) -> str:
    if not public.files:
        return public.steps
    return f"automatic; if that fails: {public.steps}" if public.steps else "automatic"


def _tried() -> list[str]:
    """On what each reader was tried."""
    found = {}
    for name, public in PUBLIC.items():
        found.setdefault(public.tried, []).append(f"`{name}`")
    return [f"- {', '.join(names)}: tried on {tried}." for tried, names in found.items()]


def _labels(ours: str) -> str:
    """The labels of each set for one of our classes, with their numbers of images, as cells of a row."""
    return " | ".join(
        "<br>".join(_label(label, known) for label, known in public.labels.items() if known.ours == ours) or "–"
        for public in PUBLIC.values()
    )


def _label(label: str, known: Label) -> str:
    return label if known.images is None else f"{label} {known.images:,}"


# --- text -------------------------------------------------------------------------------------------------------------

HEAD = """# Reference

Generated by `python -m tools.reference > docs/reference.md`. Correct the tables in the code, not this file.

## Settings

Every key of `params.yaml` with its comment there. "(chosen)" marks what the report leaves open. The last column names
the first stages that run again when the value changes in the committed study, or the rows that are trained again.
Stages that depend on these follow. "Nothing": the setting has no effect there. A key of one row, `ladder.<row>.<key>`,
trains that row and the rows below that inherit the value. A new set under `external` or `features` runs its own stages
and those that read it.

| setting | meaning | runs again |
| --- | --- | --- |"""

FEATURES = f"""
## Features

A cell is measured on its 8-bit RGB image and its mask (0 background, 1 cytoplasm, 2 nucleus; the cell is both). Lengths
are in pixels. A value that cannot be measured is 0. § is a section of the report; "own" features are this repository's.

- η: normalised central moments of the mask; p = η30 + η12, q = η21 + η03. h of `hu_1` to `hu_7`:
  {"; ".join(HU.values())}.
  The feature is 0 where |h| ≤ {HU_NOISE:g}.
- Hue: degrees from green, which no stain shows, so that no cell's hues straddle the jump from 360 to 0.
- P: fraction of neighbouring pixel pairs with grey levels i and j (0 to {GREY_LEVELS - 1}), both in the cell and
  counted both ways; µ, σ: mean and standard deviation of its margin. GLCM properties:
  {"; ".join(f"{name} {formula}" for name, (formula, _) in GLCM.items())}.
- Angles: {", ".join(f"{angle}° one step {step}" for angle, step in ANGLES.items())}.
- LBP: 8 neighbours at radius 1, interpolated.
- Radius: √(area / π). Bays and chromatin: of the nucleus mask blurred by {SMOOTH:g} cell radii. A bay lies between the
  nucleus and its convex hull. Optical density: −log₁₀((value + 1) / 256).
- `v4` is `v3` of the cell scaled to a diameter of {DIAMETER} px on a white slide. `-S '+features.v4.masks=polar'` adds
  it.

| feature | sets | definition (unit) | source |
| --- | --- | --- | --- |"""

SOURCES = """
Benkrid, Crookes: Design and FPGA Implementation of a Perimeter Estimator (as `skimage.measure.perimeter`). Bikhet 2000:
ICASSP. Haralick 1973: IEEE SMC 3(6). Hu 1962: IRE Trans. Information Theory 8(2). Ojala 2002: IEEE PAMI 24(7)."""

PUBLIC_SETS = """
## Public sets

`python -m wbc fetch SET data/raw` downloads a set or prints the steps for a person; `-S data.source=SET` uses it.

| set | what | licence | images | of our classes | patients known | download | way |
| --- | --- | --- | ---: | ---: | --- | --- | --- |"""

LABELS = """
Labels of each set, with the number of images where it is published. Images of the last row are left out and counted.
"""

FOOT = """
- `pbc`: the folder; in `ig` and `neutrophil` also the file name before its first `_`.
- `aml_lmu`: the original annotation in `annotations.dat`. MYB is a myelocyte, MYO a myeloblast.
- `apl_aml`: the folder below "Signed slides", signed by a person; not the file's prefix, given by the analyser.
- `wbcbench_hf`: the column `label`. Degraded copies of images that are there too are left out.
"""


if __name__ == "__main__":
    print(markdown(), end="")
