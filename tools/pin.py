"""Pin the actions of the workflows by commit, and the base image of the Dockerfile by digest.

    python tools/pin.py                pin everything; needs api.github.com and the registry of Docker
    python tools/pin.py --check        list what isn't pinned; exit code 1 if anything is
    python tools/pin.py --self-test    test this script and the rules of the workflows, offline

A commit comes from GitHub, and a digest from the registry, which is compared with the hash of the manifest. Nothing is
written if a lookup fails. Dependabot updates pinned versions afterwards.
"""

import hashlib
import json
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = ROOT / ".github" / "workflows"
DOCKERFILE = ROOT / "Dockerfile"
USES = re.compile(r"(?P<before>\buses: )(?P<repo>[\w.-]+/[\w.-]+)(?P<path>/[\w./-]+)?@(?P<ref>[\w./-]+)(?: # \S+)?")
FROM = re.compile(
    r"^(?P<before>FROM )(?P<image>[\w./-]+):(?P<tag>[\w.-]+)(?P<digest>@sha256:[0-9a-f]{64})?", re.MULTILINE
)
SHA = re.compile(r"[0-9a-f]{40}")
MANIFESTS = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json"


# --- lookups


def fetch(url, **headers):
    "Headers and body of a response"
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as response:
        return response.headers, response.read(2**22)


def commit_of(repo, tag, fetch=fetch):
    "The commit of a tag or branch"
    url = f"https://api.github.com/repos/{repo}/commits/{tag}"
    _, body = fetch(url, Accept="application/vnd.github.sha")
    commit = body.decode("ascii", "replace").strip()
    assert SHA.fullmatch(commit), f"{repo}@{tag}: {commit[:80]!r} isn't a commit"
    return commit


def digest_of(image, tag, fetch=fetch):
    "The digest of an image with all its platforms"
    name = image if "/" in image else f"library/{image}"
    scope = f"https://auth.docker.io/token?service=registry.docker.io&scope=repository:{name}:pull"
    _, body = fetch(scope)
    token = json.loads(body)["token"]
    url = f"https://registry-1.docker.io/v2/{name}/manifests/{tag}"
    headers, body = fetch(url, Accept=MANIFESTS, Authorization=f"Bearer {token}")
    digest = headers["Docker-Content-Digest"]
    assert digest == f"sha256:{hashlib.sha256(body).hexdigest()}", f"{image}:{tag}: the manifest has another hash"
    assert json.loads(body)["manifests"], f"{image}:{tag}: not a list of platforms"
    return digest


# --- files


def unpinned(files):
    "What has no fixed hash, in texts by name"
    found = set()
    for text in files.values():
        found |= {f"{m['repo']}@{m['ref']}" for m in USES.finditer(text) if not SHA.fullmatch(m["ref"])}
        found |= {f"{m['image']}:{m['tag']}" for m in FROM.finditer(text) if not m["digest"]}
    return sorted(found)


def pinned(files, fetch=fetch):
    "The same texts with hashes"
    commits = {}
    digests = {}

    def action(match):
        if SHA.fullmatch(match["ref"]):
            return match[0]
        key = match["repo"], match["ref"]
        commits[key] = commits.get(key) or commit_of(*key, fetch)
        return f"{match['before']}{match['repo']}{match['path'] or ''}@{commits[key]} # {match['ref']}"

    def image(match):
        if match["digest"]:
            return match[0]
        key = match["image"], match["tag"]
        digests[key] = digests.get(key) or digest_of(*key, fetch)
        return f"{match['before']}{match['image']}:{match['tag']}@{digests[key]}"

    return {name: FROM.sub(image, USES.sub(action, text)) for name, text in files.items()}


def read_files():
    "The workflows and the Dockerfile: path -> text"
    return {path: path.read_text(encoding="utf-8") for path in [*sorted(WORKFLOWS.glob("*.y*ml")), DOCKERFILE]}


# --- tests


def fake_fetch(url, **headers):
    "Responses as the servers send them, for the tests"
    manifest = json.dumps({"schemaVersion": 2, "manifests": [{"digest": "sha256:" + "0" * 64}]}).encode()
    if url.startswith("https://api.github.com/repos/"):
        assert headers["Accept"] == "application/vnd.github.sha"
        return {}, hashlib.sha1(url.encode()).hexdigest().encode()
    if url.startswith("https://auth.docker.io/"):
        return {}, b'{"token": "a token", "expires_in": 300}'
    assert headers["Authorization"] == "Bearer a token" and url.endswith("/v2/library/python/manifests/3.11-slim")
    return {"Docker-Content-Digest": f"sha256:{hashlib.sha256(manifest).hexdigest()}"}, manifest


def wrong_fetch(url, **headers):
    "A page in place of a commit, and a manifest with another hash"
    if url.startswith("https://api.github.com/"):
        return {}, b"<html>rate limit exceeded</html>"
    response = fake_fetch(url, **headers)
    return (response[0], response[1] + b" ") if "manifests" in url else response


def refuses(function, *arguments):
    "Whether a function raises AssertionError"
    try:
        function(*arguments)
    except AssertionError:
        return True
    return False


def test_pinning():
    "Pinning with fake responses"
    workflow = "steps:\n  - uses: actions/checkout@v4\n  - id: x\n    uses: a/b/sub/path@v1.2 # old\n  - run: make\n"
    files = {"w": workflow, "d": "FROM python:3.11-slim AS build\nRUN x\nFROM python:3.11-slim\n"}
    assert unpinned(files) == ["a/b@v1.2", "actions/checkout@v4", "python:3.11-slim"]
    result = pinned(files, fake_fetch)
    assert unpinned(result) == [] and pinned(result, None) == result
    assert re.search(r"uses: actions/checkout@[0-9a-f]{40} # v4$", result["w"], re.MULTILINE)
    assert re.search(r"uses: a/b/sub/path@[0-9a-f]{40} # v1.2$", result["w"], re.MULTILINE)
    assert len(re.findall(r"^FROM python:3.11-slim@sha256:[0-9a-f]{64}( AS build)?$", result["d"], re.MULTILINE)) == 2
    assert refuses(commit_of, "actions/checkout", "v4", wrong_fetch)
    assert refuses(digest_of, "python", "3.11-slim", wrong_fetch)


def workflow_problems(text):
    "Rules of a workflow that a text breaks"
    import yaml

    content = yaml.safe_load(text)
    problems = [] if content["permissions"] == {} else ["permissions of all jobs"]
    problems += [] if "concurrency" in content else ["no concurrency"]
    problems += ["pull_request_target"] if "pull_request_target" in text else []
    for name, job in content["jobs"].items():
        problems += [] if "timeout-minutes" in job else [f"{name}: no time limit"]
        writes = [scope for scope, access in job.get("permissions", {"?": "write"}).items() if access == "write"]
        runs_code = any("run" in step or "checkout" in step.get("uses", "") for step in job["steps"])
        problems += [f"{name}: runs code and may write {writes}"] if writes and runs_code else []
        for step in job["steps"]:
            is_checkout = step.get("uses", "").startswith("actions/checkout@")
            if is_checkout and step.get("with", {}).get("persist-credentials") is not False:
                problems.append(f"{name}: the checkout keeps its token")
            if "${{" in str(step.get("run", "")):
                problems.append(f"{name}: an expression inside of a script")
    return problems


def test_workflows():
    "The rules of the workflows, and that a broken one is found"
    texts = {path.name: path.read_text(encoding="utf-8") for path in WORKFLOWS.glob("*.y*ml")}
    problems = {name: found for name, text in texts.items() if (found := workflow_problems(text))}
    assert not problems, problems
    bad = "permissions: {contents: write}\njobs: {a: {steps: [{uses: actions/checkout@v4}, {run: 'echo ${{ x }}'}]}}"
    assert len(workflow_problems(bad)) == 6, workflow_problems(bad)


def self_test():
    "All tests; returns a line for the log"
    test_pinning()
    test_workflows()
    missing = unpinned(read_files())
    return f"not pinned: {', '.join(missing)}" if missing else "everything is pinned"


def main():
    if "--self-test" in sys.argv:
        print(self_test())
        return
    files = read_files()
    if "--check" not in sys.argv:
        try:
            changed = pinned(files)
        except (OSError, AssertionError) as error:
            sys.exit(f"nothing was changed: {error}")
        for path, text in changed.items():
            path.write_text(text, encoding="utf-8")
        files = changed
    if missing := unpinned(files):
        print("\n".join(missing))
        sys.exit(1)


if __name__ == "__main__":
    main()
