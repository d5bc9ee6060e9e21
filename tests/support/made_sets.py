"""Small finished sets, in a folder or on the real server, and ways to harm them, for tests."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from s3_servers import ROOT_ACCESS, ROOT_SECRET, S3Server

from transforms.dataset.layout import SCHEMA
from transforms.dataset.publish import Contents, commit
from transforms.dataset.shard_writer import ShardWriter
from transforms.quality.gates import Gates
from transforms.records import Shard, Written
from transforms.storage.local import LocalStore
from transforms.storage.manifest_parts import Run
from transforms.storage.names import shard_path
from transforms.storage.s3 import client as s3_client
from transforms.storage.s3.bucket import Bucket
from transforms.storage.s3.store import S3Store
from transforms.storage.s3.uri import S3Options, S3Uri, is_s3
from transforms.storage.store import DatasetStore

CONTENTS = Contents(
    dataset="some/set",
    revision="abc",
    plan_digest="0123456789abcdef",
    plan={"seed": 42},
    run=Run(started="2024-01-31T10:00:00+00:00", runner="Test"),
    gates=Gates(max_reject_rate=0.5),
    summary="Made from `some/set`.",
)
ROWS = {"train": 2500, "validation": 1200}  # of a unit; more than one record batch each
UNITS = 2
FILES = 12  # that the manifest names: 4 shards, 2 of rejects, 4 JSON files, card and report

_clients_of: dict[tuple[str, str], dict[S3Options, Any]] = {}  # each takes a while to make


def use_server(
    monkeypatch: pytest.MonkeyPatch,
    server: S3Server,
    access: str = ROOT_ACCESS,
    secret: str = ROOT_SECRET,
) -> None:
    """Makes this process a user of the server, with no client that knows another user."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in server.environment({}, access, secret).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(
        s3_client, "_clients", _clients_of.setdefault((server.endpoint, access), {})
    )


def make_set(folder: DatasetStore, dataset: str = "some/set") -> None:
    """A finished set of two units, each with 3,700 rows and a reject."""
    with folder.claimed(CONTENTS.plan_digest):
        shards = []
        for number in range(UNITS):
            read = sum(ROWS.values()) + 1
            for split, count in ROWS.items():
                writer = ShardWriter(folder.scratch_file())
                cells = [f"{split} {number} {n}" for n in range(count)]
                writer.append(pa.table([cells] * 3, schema=SCHEMA))
                done = writer.close()
                path = shard_path(split, number, UNITS)
                folder.publish(writer.path, path, done)
                shards.append(Shard(number, split, path, count, read, done.bytes, done.sha256))
            path, line = shard_path("rejects", number, UNITS), b"{}\n"
            file = folder.scratch_file()
            file.write_bytes(line)
            digest = hashlib.sha256(line).hexdigest()
            folder.publish(file, path, Written(1, len(line), digest))
            more = {"codes": {"broken-json": 1}, "examples": {"broken-json": "a.jsonl row 5"}}
            shards.append(Shard(number, "rejects", path, 1, read, len(line), digest, **more))
        commit(folder, UNITS, replace(CONTENTS, dataset=dataset), shards)


@dataclass(frozen=True)
class MadeSet:
    """A set at ``place``; its files are below ``root``, also those of the server."""

    place: str
    root: Path

    @property
    def on_s3(self) -> bool:
        return is_s3(self.place)

    def _object(self, name: str) -> tuple[Bucket, str]:
        place = S3Uri.parse(self.place)
        return Bucket(place.bucket), place.key(name)

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def damage(self, name: str, data: bytes) -> None:
        """Changes a file's bytes as a disk would: the store does not know."""
        (self.root / name).write_bytes(data)

    def put(self, name: str, data: bytes) -> None:
        """Writes a file as a user would: the store keeps the right checksum of it."""
        if self.on_s3:
            bucket, key = self._object(name)
            bucket.put(key, data)
        else:
            (self.root / name).write_bytes(data)

    def remove(self, name: str) -> None:
        if self.on_s3:
            bucket, key = self._object(name)
            bucket.delete([key])
        else:
            (self.root / name).unlink()

    def manifest(self) -> Any:
        return json.loads(self.read("manifest.json"))

    def put_manifest(self, manifest: object) -> None:
        """Writes another manifest, as one who can also write what the store keeps of it."""
        self.put("manifest.json", json.dumps(manifest).encode())
        if self.on_s3 and (self.root / "dataset_dict.json").exists():
            self.put("dataset_dict.json", self.read("dataset_dict.json"))

    def forge(self, name: str, data: bytes, **changes: Any) -> None:
        """Writes a file and what the manifest says of it: it is damaged but consistent."""
        self.put(name, data)
        manifest = self.manifest()
        (entry,) = (file for file in manifest["files"] if file["path"] == name)
        digest = hashlib.sha256(data).hexdigest()
        entry.update({"bytes": len(data), "sha256": digest, **changes})
        self.put_manifest(manifest)
        if name.endswith(".arrow"):
            self._forge_info(name.partition("/")[0], manifest["files"])

    def _forge_info(self, split: str, files: list[dict[str, Any]]) -> None:
        shards = [file for file in files if file["path"].startswith(f"{split}/data-")]
        info = json.loads(self.read(f"{split}/dataset_info.json"))
        size = info["size_in_bytes"] = sum(file["bytes"] for file in shards)
        rows = sum(file["rows"] for file in shards)
        info["splits"][split].update({"num_bytes": size, "num_examples": rows})
        self.forge(f"{split}/dataset_info.json", json.dumps(info).encode())


def local_set(tmp_path: Path) -> MadeSet:
    root = tmp_path / "set"
    make_set(LocalStore(str(root)))
    return MadeSet(str(root), root)


def s3_set(server: S3Server, bucket: str, prefix: str = "datasets/set") -> MadeSet:
    place = S3Uri(bucket, prefix)
    make_set(S3Store(place))
    return MadeSet(place.uri, server.data / bucket / prefix)
