"""What was pushed to S3 is there for others: data, models, earlier runs and experiments, unless somebody changed it."""

import pytest

from study import environment, ran
from tools import remote_demo


@pytest.mark.slow
def test_a_team_shares_its_work_through_a_bucket(study, tmp_path, monkeypatch):
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    with remote_demo.server() as client:
        outputs = remote_demo.walk(study, tmp_path, client)
    assert not ran(outputs["there$ dvc repro"])
    assert not ran(outputs["elsewhere$ dvc repro"])
    assert "tuned.val_f1" in outputs["elsewhere$ dvc metrics diff"]
    again = outputs[f"again$ {remote_demo.EXPERIMENT} --pull"]
    assert "Stage 'train@tuned-0' is cached - skipping run" in again
    assert "Running stage 'train@" not in again
    failed = "ERROR: failed to pull data from the cloud - Checkout failed for following targets:"
    assert f"{failed}\nruns/final-0/train\n" in outputs[f"tampered$ dvc pull {remote_demo.MODEL}"]
    assert not (tmp_path / "tampered" / remote_demo.MODEL).exists()
