"""What a user does with the archive: download it from a server, here on this machine, and work in the folder.

MONAI's sources are pointed at the server: by `--url` and, for `huggingface_hub` and `monaihosting`, by the environment;
for `github` and `ngc`, whose addresses are constants of MONAI, by patching these. `ngc_private` needs a key.
"""

import csv
import hashlib
import json
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import monai.bundle.scripts
import pytest
import torch
from monai.bundle import download

from bundle import package
from tests.conftest import ROOT, SMALL
from tests.processes import run_python

NAME = package.BUNDLE_NAME
VERSION = json.loads((ROOT / "configs" / "metadata.json").read_text())["version"]
HUB_PACKAGE = "huggingface_hub"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return package.package(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture
def serve():
    """A function that serves contents by their paths on 127.0.0.1 and gives the server's address."""
    contents: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            self.answer(body=True)

        def answer(self, *, body):
            content = contents.get(self.path.split("?")[0])
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            if content is not None:  # what a client of the hub reads
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if body and content is not None:
                self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def add(added):
        contents.update(added)
        return f"http://127.0.0.1:{server.server_port}"

    yield add
    server.shutdown()
    server.server_close()


def python(arguments, cwd, **environment):
    """Run Python in a folder, without this repository on its path."""
    result = run_python(arguments, cwd, environment)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout


def options(**values):
    return [argument for name, value in values.items() for argument in (f"--{name}", str(value))]


def files_of(archive):
    """The SHA-256 of each file of an archive, as its manifest has them."""
    return json.loads(archive.with_suffix(".json").read_text())["files"]


def downloaded_as_packed(folder, archive):
    """Whether a folder holds the files of an archive, bit for bit, and the archive's alone."""
    expected = files_of(archive)
    found = {path.relative_to(folder).as_posix(): package.sha256(path) for path in folder.rglob("*") if path.is_file()}
    found = {name: digest for name, digest in found.items() if not name.startswith(".")}  # the hub's own notes
    return found == expected


LOAD = """
import sys, monai.bundle, torch
for workflow_type in ("inference", "train"):
    network = monai.bundle.load(sys.argv[1], bundle_dir=sys.argv[2], workflow_type=workflow_type, device="cpu")
    state = torch.load(f"{sys.argv[2]}/{sys.argv[1]}/models/model.pt", weights_only=True)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    with torch.no_grad():
        assert network.eval()(torch.rand(1, 11, 32, 32)).shape == (1, 2, 32, 32)
    print(type(network).__module__, sys.modules["scripts"].__file__)
"""


@pytest.mark.slow
def test_a_user_downloads_loads_infers_and_trains(archive, serve, dataset_dir, tmp_path):
    url = f"{serve({f'/{archive.name}': archive.read_bytes()})}/{archive.name}"
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    python(["-m", "monai.bundle", "download", "--name", NAME, "--bundle_dir", fresh, "--url", url], fresh)
    bundle = fresh / NAME
    assert downloaded_as_packed(bundle, archive)

    # `run` puts the bundle's folder on the path, `load` does not.
    printed = python(["-c", LOAD, NAME, fresh], tmp_path, PYTHONPATH=str(bundle))
    assert printed.count("scripts.networks.stroke_lesion_net") == printed.count(str(bundle / "scripts")) == 2

    small = {name: value for name, value in SMALL.items() if name != "features"} | {
        "dataset_dir": dataset_dir,
        "use_given_maps": True,
    }
    inference = ["-m", "monai.bundle", "run", "--config_file", "configs/inference.json", *options(**small)]
    python(inference, bundle)
    with (bundle / "eval" / "cases.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["case"] for row in rows] == ["case_2", "case_3", "case_4"]
    assert all((bundle / "eval" / row["case"] / f"{row['case']}_lesion.nii.gz").is_file() for row in rows)

    sections = json.loads((dataset_dir / "datalist.json").read_text())
    (dataset_dir / "datalist.json").write_text(json.dumps(sections | {"validation": sections["testing"][:1]}))
    train = ["-m", "monai.bundle", "run", "training", "--config_file", "configs/train.json"]
    python([*train, *options(**small, ckpt_dir=fresh / "trained"), "--features", str(SMALL["features"])], bundle)
    assert torch.load(fresh / "trained" / "model.pt", weights_only=True)
    assert downloaded_as_packed_but_for_results(bundle, archive)


def downloaded_as_packed_but_for_results(folder, archive):
    """Whether the bundle's own files are as they were, after it has run."""
    return all(package.sha256(folder / name) == digest for name, digest in files_of(archive).items())


def test_from_a_github_release(archive, serve, tmp_path, monkeypatch):
    address = serve({f"/owner/repo/releases/download/tag/{archive.name}": archive.read_bytes()})
    monkeypatch.setattr(
        monai.bundle.scripts,
        "_get_git_release_url",
        lambda owner, repo, tag_name, filename: f"{address}/{owner}/{repo}/releases/download/{tag_name}/{filename}",
    )
    download(NAME, VERSION, bundle_dir=tmp_path, source="github", repo="owner/repo/tag", progress=False)
    assert downloaded_as_packed(tmp_path / NAME, archive)


def test_from_ngc(archive, serve, tmp_path, monkeypatch):
    with zipfile.ZipFile(archive) as opened:
        files = {name.partition("/")[2]: opened.read(name) for name in opened.namelist() if name[-1] != "/"}
    folder = f"/models/monai_{NAME}/versions/{VERSION}/files"
    listing = json.dumps({"modelFiles": [{"path": name} for name in files]}).encode()
    address = serve({folder: listing} | {f"{folder}/{name}": content for name, content in files.items()})
    monkeypatch.setattr(monai.bundle.scripts, "NGC_BASE_URL", f"{address}/models")
    download(NAME, VERSION, bundle_dir=tmp_path, source="ngc", progress=False)
    assert downloaded_as_packed(tmp_path / NAME, archive)


def hub_contents(archive, repository, revision):
    """What a server of the hub answers about one revision of a repository, as far as a download asks."""
    with zipfile.ZipFile(archive) as opened:
        files = {name.partition("/")[2]: opened.read(name) for name in opened.namelist() if name[-1] != "/"}
    siblings = [{"rfilename": name} for name in files]
    entries = [{"type": "file", "oid": COMMIT, "size": len(content), "path": name} for name, content in files.items()]
    info = {"id": repository, "modelId": repository, "sha": COMMIT, "siblings": siblings, "tags": [], "private": False}
    refs = {
        "branches": [],
        "converts": [],
        "tags": [{"name": revision, "ref": f"refs/tags/{revision}", "targetCommit": COMMIT}],
    }
    api = f"/api/models/{repository}"
    return (
        {f"{api}/revision/{revision}": json.dumps(info).encode(), f"{api}/refs": json.dumps(refs).encode()}
        | {f"{api}/tree/{commit}": json.dumps(entries).encode() for commit in (COMMIT, revision)}
        | {f"/{repository}/resolve/{COMMIT}/{name}": content for name, content in files.items()}
    )


@pytest.mark.slow
@pytest.mark.parametrize("version", [[], ["--version", VERSION]], ids=["latest", "version"])
def test_from_the_hugging_face_hub(version, archive, serve, tmp_path):
    pytest.importorskip(HUB_PACKAGE)
    address = serve(hub_contents(archive, f"owner/{NAME}", VERSION))
    command = ["-m", "monai.bundle", "download", "--name", NAME, "--bundle_dir", tmp_path, *version]
    source = ["--source", HUB_PACKAGE, "--repo", f"owner/{NAME}"]
    python([*command, *source], tmp_path, HF_ENDPOINT=address, HF_HOME=str(tmp_path / "home"))
    assert downloaded_as_packed(tmp_path / NAME, archive)


@pytest.mark.slow
def test_from_monaihosting(archive, serve, tmp_path):
    """MONAI's hosting is a repository of the hub, too."""
    pytest.importorskip(HUB_PACKAGE)
    address = serve(hub_contents(archive, f"MONAI/{NAME}", VERSION))
    command = ["-m", "monai.bundle", "download", "--name", NAME, "--bundle_dir", tmp_path, "--version", VERSION]
    environment = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home")}
    python([*command, "--source", "monaihosting"], tmp_path, **environment)
    assert downloaded_as_packed(tmp_path / NAME, archive)
