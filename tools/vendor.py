"""Fetch the JavaScript packages of the browser app, as locked in `vendor.json`, and pack the files that it needs.

    python tools/vendor.py            download with npm, check the hashes, and write packages.tar.xz
    python tools/vendor.py --check    compare the hashes of the packed files with the lock file, without a network

`vendor.json` names each package with its version, its licence, the hash of its archive, and the files that are packed
with their own hashes. The archive is compressed with xz: both builds of the runtime share most of their code, so
19 MB of WebAssembly become 2.4 MB.
"""

import argparse
import base64
import hashlib
import io
import json
import lzma
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "pneumonia_nbdev" / "app" / "vendor"
LOCK = FOLDER / "vendor.json"
ARCHIVE = FOLDER / "packages.tar.xz"
# One dictionary of 32 MB covers both builds of the runtime.
FILTERS = [dict(id=lzma.FILTER_LZMA2, preset=9 | lzma.PRESET_EXTREME, dict_size=2**25)]
TITLE = "Third-party parts of this app, with their licences."


def download(name, version, folder):
    "The archive of an npm package"
    command = ["npm", "pack", f"{name}@{version}", "--silent"]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return (folder / done.stdout.split()[-1]).read_bytes()


def integrity(content):
    "The hash of an archive as in the lock files of npm"
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


def member(archive, path):
    "A file of an npm archive"
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return tar.extractfile(f"package/{path}").read()


def replaced(content, changes):
    "A text with its imports changed: browsers don't resolve the names of packages"
    for old, new in changes.items():
        assert content.count(old.encode()) == 1, old
        content = content.replace(old.encode(), new.encode())
    return content


def licences(packages, texts):
    "The texts of all licences in one file"
    parts = [TITLE]
    for package in packages:
        head = f"{package['name']} {package['version']}, {package['license']}, {package['home']}"
        parts.append(f"{'=' * 80}\n{head}\n{'=' * 80}\n\n{texts[package['name']].strip()}")
    return ("\n\n".join(parts) + "\n").encode()


def write_archive(files):
    "Pack files with constant dates and owners, so that the same files give the same archive"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in sorted(files.items()):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    ARCHIVE.write_bytes(lzma.compress(buffer.getvalue(), filters=FILTERS))


def packed():
    "The files of the archive: name -> content"
    with tarfile.open(ARCHIVE) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar if info.isfile()}


def fetch(lock):
    "Download all packages and pack their files; a hash that is missing in the lock file is added"
    files = {}
    texts = {}
    with tempfile.TemporaryDirectory() as name:
        for package in lock["packages"]:
            archive = download(package["name"], package["version"], Path(name))
            found = integrity(archive)
            assert package.setdefault("integrity", found) == found, f"{package['name']}: another archive"
            for entry in package["files"]:
                files[entry["name"]] = replaced(member(archive, entry["path"]), entry.get("changes", {}))
            own = package.get("license_file")
            texts[package["name"]] = (member(archive, own) if own else (ROOT / "LICENSE").read_bytes()).decode()
    files["LICENSES.txt"] = licences(lock["packages"], texts)
    write_archive(files)
    lock["sha256"] = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    LOCK.write_text(json.dumps(lock, indent=1) + "\n", encoding="utf-8")


def check(lock):
    "Raise an error for a packed file that isn't in the lock file, or that has another hash"
    found = {name: hashlib.sha256(content).hexdigest() for name, content in packed().items()}
    differing = sorted(
        name for name in found.keys() | lock["sha256"].keys() if found.get(name) != lock["sha256"].get(name)
    )
    assert not differing, f"{ARCHIVE.name}: {', '.join(differing)}"
    return f"{len(found)} files, {ARCHIVE.stat().st_size / 1e6:.1f} MB"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare the packed files with the lock file")
    args = parser.parse_args()
    lock = json.loads(LOCK.read_text(encoding="utf-8"))
    if not args.check:
        fetch(lock)
    print(check(json.loads(LOCK.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    sys.exit(main())
