"""docs/reference.md against what `tools.reference` generates."""

from study import ROOT
from tools.reference import markdown


def test_the_reference_is_up_to_date():
    """If this fails: python -m tools.reference > docs/reference.md"""
    assert (ROOT / "docs/reference.md").read_text(encoding="utf-8") == markdown()
