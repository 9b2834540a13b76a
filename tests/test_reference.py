"""docs/reference.md and the table of rooms in CONTRIBUTING.md against what `tools.reference` generates."""

import re

from study import ROOT, study_params
from tools.reference import markdown, rooms


def test_the_reference_is_up_to_date():
    """If this fails: python -m tools.reference > docs/reference.md"""
    assert (ROOT / "docs/reference.md").read_text(encoding="utf-8") == markdown()


def test_contributing_says_what_each_room_reruns():
    table = re.findall(r"^\| `(\w+)` \| .+ \| (.+) \|$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.M)
    assert dict(table) == rooms(study_params())
