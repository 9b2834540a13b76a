"""How a team shares data, models and experiments through a remote: `make remote-demo`.

Clones this repository with its data and models into a temporary folder, pushes them to a local S3 server (Moto, in
memory), continues in other clones, and shows each command with its output.
"""

import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "wbc"
ACCOUNT = {"AWS_ACCESS_KEY_ID": "anyone", "AWS_SECRET_ACCESS_KEY": "anything", "AWS_DEFAULT_REGION": "us-east-1"}
MODEL = "runs/final-0/train/model.safetensors"
EXPERIMENT = "dvc exp run -S '+ladder.tuned.seed=1'"


@contextmanager
def server() -> Iterator[boto3.client]:
    """A client of a new S3 server with one bucket; while it runs, the environment has the account."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would print every request
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    with mock.patch.dict(os.environ, ACCOUNT):
        client = boto3.client("s3", endpoint_url="http://{}:{}".format(*moto.get_host_and_port()))
        client.create_bucket(Bucket=BUCKET)
        yield client
    moto.stop()


def objects(client: boto3.client) -> list[str]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    return [found["Key"] for page in pages for found in page.get("Contents", [])]


def tamper(client: boto3.client, model: Path) -> None:
    """Change one byte of a model in the bucket."""
    md5 = hashlib.md5(model.read_bytes()).hexdigest()
    (key,) = (key for key in objects(client) if key.endswith(f"{md5[:2]}/{md5[2:]}"))
    content = bytearray(client.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    content[-1] ^= 1
    client.put_object(Bucket=BUCKET, Key=key, Body=bytes(content))


def walk(source: Path, folder: Path, client: boto3.client) -> dict[str, str]:
    """Run all commands in clones below `folder`, and return the output of each."""
    outputs = {}

    def show(where: str, *commands: str) -> None:
        for command in commands:
            print(f"\n{where}$ {command}", flush=True)
            done = subprocess.run(
                command, shell=True, cwd=folder / where, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            outputs[f"{where}$ {command}"] = done.stdout
            print(done.stdout.strip(), flush=True)

    def clone(of: Path, name: str) -> None:
        print(f"\n$ git clone {of.name} {name}")
        subprocess.run(["git", "clone", "--quiet", of, folder / name], check=True)
        for key, value in (("user.name", name), ("user.email", f"{name}@example.com")):
            subprocess.run(["git", "config", key, value], cwd=folder / name, check=True)

    clone(source, "here")
    cache = subprocess.run(["dvc", "cache", "dir"], cwd=source, check=True, capture_output=True, text=True).stdout
    shutil.copytree(source / cache.strip(), folder / "here/.dvc/cache", ignore=shutil.ignore_patterns("*.tmp"))
    show(
        "here",
        f"dvc remote add --default storage s3://{BUCKET}/study",
        f"dvc remote modify storage endpointurl {client.meta.endpoint_url}",
        "dvc remote modify storage verify true",
        "git commit --quiet --all --message 'A remote'",
        "dvc push --quiet --run-cache",
    )
    before = len(objects(client))
    print(f"{before} objects in the bucket")
    clone(folder / "here", "there")
    show("there", "dvc pull --quiet --run-cache", "dvc repro", f"{EXPERIMENT} --name seed")
    show("there", "dvc push --quiet --run-cache", "dvc exp push origin seed")
    clone(folder / "here", "elsewhere")
    show("elsewhere", "dvc exp pull origin seed", "dvc exp apply seed", "dvc repro", "dvc metrics diff")
    clone(folder / "here", "again")
    show("again", "dvc pull --quiet --run-cache", f"{EXPERIMENT} --pull")
    before = len(objects(client))
    show("here", "dvc gc --quiet --workspace --cloud --force")
    print(f"{before - len(objects(client))} of {before} objects are gone from the bucket: the experiment's")
    tamper(client, folder / "there" / MODEL)
    print(f"\nOne byte of {MODEL} is changed in the bucket.")
    clone(folder / "here", "tampered")
    show("tampered", f"dvc pull {MODEL}", f"ls {MODEL}")
    return outputs


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary, server() as client:
        walk(Path(__file__).parent.parent, Path(temporary), client)
