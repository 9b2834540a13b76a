"""What only a GPU can show (`pytest -m gpu`), and on any machine that the checks themselves work."""

import sys

import pytest
import torch

from benchmarks import gpu

CORRECT = [name for name in gpu.CHECKS if name != "depthwise" and not name.startswith("row-")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return gpu.Bench(gpu.device(), tmp_path_factory.mktemp("gpu"))  # the images are drawn once


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason=gpu.NO_GPU)
@pytest.mark.parametrize("name", CORRECT)
def test_on_a_gpu(name, whole):
    assert [line for line in gpu.run(whole, name) if line.ok is False] == []


@pytest.fixture
def bench(tmp_path):
    """The checks' subject on a CPU, where each takes seconds."""
    return gpu.Bench(
        torch.device("cpu"), tmp_path, model="test_convnext", size=32, batch_size=8, few=16, images=16, rounds=1
    )


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "draws" else [pytest.mark.slow])
        for name in (*CORRECT, "row-efficientnet", "row-final")
    ],
)
def test_the_checks_themselves(name, bench, monkeypatch, capsys):
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: real(model, backend="aot_eager"))  # the other takes minutes
    found = gpu.run(bench, name)
    assert found
    assert [line for line in found if line.ok is False and not name.startswith("row-")] == []
    gpu.show(bench, {name: found}, gpu.machine(bench.device))
    table = capsys.readouterr().out
    assert all(f"| `{name}` | {line.what} | {line.found} |" in table for line in found)


def test_determinism_is_measured_and_stays_on(bench, monkeypatch):
    monkeypatch.setattr(gpu, "STAGES", ((8, 7),))
    assert [line.what for line in gpu.run(bench, "depthwise")][-1] == "a whole step, deterministic"
    assert torch.are_deterministic_algorithms_enabled()


def test_the_ladder_is_extrapolated_from_every_rows_speed(bench, capsys):
    speeds = {way: [way_speed] * 3 for way, way_speed in (("end to end", 2000), ("compiled", 4000), ("inference", 1e9))}
    speeds |= {"step alone": [2000] * 3}
    for name in bench.settings:
        bench.figures[name] = {"model": name, "images_per_second": speeds, "peak_bytes": dict.fromkeys(speeds, 7e9)}
    rows = [row["train"] for row in bench.settings.values()]
    images = sum(row["epochs"] * (1 - row["validation"]) for row in rows) * 28901
    assert gpu.ladder_minutes(bench, "end to end") == pytest.approx(images / 2000 / 60, rel=1e-3)
    gpu.show(bench, {}, gpu.machine(bench.device))
    table = capsys.readouterr().out
    assert f"{images / 4000 / 60:.0f} minutes | < 60" in table
    assert "| final: final | 2,000 (2,000–2,000); 7.0 | – | 4,000" in table


def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu", "--only", "resume", "row-f*"])
    gpu.main()
    assert capsys.readouterr().out == "skipped resume, row-freeze, row-final: needs a GPU: none here\n"
    monkeypatch.setattr(sys, "argv", ["gpu", "--only", "resum"])
    with pytest.raises(SystemExit, match="--only resum: no such check; there are: depthwise, bytes"):
        gpu.main()
