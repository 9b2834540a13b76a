"""What needs a GPU (`pytest -m gpu`); without one, the checks themselves on a CPU."""

import sys

import pytest
import torch

from benchmarks import gpu

CORRECT = [name for name in gpu.CHECKS if name != "determinism" and not name.startswith("row-")]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason=gpu.NO_GPU)
@pytest.mark.parametrize("name", CORRECT)
def test_on_a_gpu(name, tmp_path_factory):
    bench = gpu.Bench(gpu.choose_device(), tmp_path_factory.getbasetemp())  # which keeps the images that were drawn
    assert [line for line in gpu.run(bench, name) if line.ok is False] == []


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in (*CORRECT, "row-final") if name != "draws"]


@pytest.mark.parametrize("name", ["draws", "determinism", *SLOW])
def test_the_checks_themselves(name, tmp_path, monkeypatch, capsys):
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: compile_(model, backend="aot_eager"))  # others take minutes
    small = {"model": "test_convnext", "size": 32, "batch_size": 8, "few": 16, "images": 16, "rounds": 1}
    bench = gpu.Bench(torch.device("cpu"), tmp_path, **small)
    found = gpu.run(bench, name)
    assert found
    assert name not in CORRECT or [line for line in found if line.ok is False] == []
    assert torch.are_deterministic_algorithms_enabled() or name != "determinism"
    if name == "row-final":
        bench.figures |= dict.fromkeys(bench.rows, bench.figures["final"])
    gpu.show(bench, {name: found}, gpu.machine(bench.device))
    table = capsys.readouterr().out
    assert all(f"| `{name}` | {line.what} | {line.found} |" in table for line in found)
    assert ("the ladder at 28,901 images" in table) == (name == "row-final")


def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu", "--only", "resume", "row-final"])
    gpu.main()
    assert capsys.readouterr().out == "skipped resume, row-final: needs a GPU: none here\n"
