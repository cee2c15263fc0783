"""All checks of the project, one line each, and at the end `N passed, M failed`.

Every notebook is run by `nbdev_test`; besides, what is generated must be what is committed, and the wheel must work on its own.
"""
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted(p for p in (ROOT/"nbs").rglob("*.ipynb") if not any(part.startswith((".", "_")) for part in p.relative_to(ROOT).parts))
CHAPTERS = [p for p in NOTEBOOKS if re.match(r"\d\d_", p.name)]
MAX_NOTEBOOK = 300_000  # bytes, outputs included


class Skip(Exception):
    "This check cannot be made here; the text says why"


def sh(*command, **kw):
    "Run a command; its output is the message when it fails"
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=kw.pop("cwd", ROOT), **kw)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout + done.stderr


def unchanged(files, *command):
    "A generator must leave the committed files as they are"
    def state(): return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(files())}
    before = state()
    sh(*command)
    after = state()
    assert before == after, f"changed by {command[0]}: {sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))}"


def export(): unchanged(lambda: (ROOT/"pneumonia_nbdev").glob("*.py"), "nbdev_export")


def clean(): unchanged(lambda: NOTEBOOKS, "nbdev_clean")


def readme(): sh(sys.executable, "tools/readme.py", "--check")


def committed_outputs():
    "Notebooks are executed, without errors, small, and without paths of somebody's machine"
    for p in NOTEBOOKS:
        text = p.read_text(encoding="utf-8")
        outputs = [o for c in json.loads(text)["cells"] for o in c.get("outputs", [])]
        assert outputs, f"{p.name} was not executed"
        assert not any(o["output_type"] == "error" for o in outputs), f"{p.name} holds an error"
        assert len(text.encode()) <= MAX_NOTEBOOK, f"{p.name} has {len(text.encode())} bytes"
        found = re.search(r"/(home|root|Users|work|tmp)/[\w.-]+", json.dumps(outputs))
        assert not found, f"{p.name} holds the path {found[0]}"


def wings():
    "Serving never imports the training wing at its top, and a module imports only from chapters before it"
    order = [re.sub(r"^\d+_", "", p.stem) for p in CHAPTERS]
    for name in order:
        source = (ROOT/"pneumonia_nbdev"/f"{name}.py").read_text(encoding="utf-8")
        everywhere = re.findall(r"^\s*from (?:pneumonia_nbdev)?\.(\w+) import", source, re.M)
        at_top = re.findall(r"^from (?:pneumonia_nbdev)?\.(\w+) import", source, re.M)
        assert name == "core" or "core" in at_top, f"no import of core seen in {name}: is this check still right?"
        late = [u for u in everywhere if order.index(u) >= order.index(name)]
        assert not late, f"{name} imports {late}, which come later"
        if name in ("core", "image", "quality", "bundle", "deployment", "workers", "reviews", "registry", "server", "api", "cli"):
            wrong = set(at_top) & {"augmentation", "data", "figures", "audit", "visualization", "cnn", "transfer", "training", "evaluation", "gradcam", "calibration", "recipe", "robustness", "failures", "report", "explanation", "localization", "features", "explorer", "parity", "speed", "quantization", "drift", "worklist", "continual", "gate"}
            assert not wrong, f"{name} imports {wrong} of the training wing"


def wheel():
    "The wheel, unpacked alone in an empty folder, judges an X-ray"
    with tempfile.TemporaryDirectory() as d:
        sh(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", d, ".")
        file, = Path(d).glob("*.whl")
        sh(sys.executable, "-m", "zipfile", "-e", file, Path(d)/"site")
        absent = ["tensorflow", "keras", "pandas", "sklearn", "scipy", "matplotlib", "nbdev", "IPython"]  # as after a plain `pip install`
        code = f"import sys; sys.path.insert(0, 'site'); sys.modules.update(dict.fromkeys({absent})); from pneumonia_nbdev.cli import main; main()"
        lines = sh(sys.executable, "-c", code, "screen", "--sample", "--json", "--out", "out", cwd=d).splitlines()
        assert sum(line.startswith("{") for line in lines) == 56 and (Path(d)/"out"/"report.html").exists()
        return f"{file.stat().st_size/1e6:.1f} MB"


def docs():
    "The site builds without a network, and its links lead somewhere"
    if sys.version_info < (3, 11): raise Skip("smalldocs needs Python 3.11")
    sh(sys.executable, "tools/docs.py")


def explorer():
    "The explorer moves in JupyterLab and on its own page, in a real browser"
    import browser
    if reason := browser.missing(): raise Skip(f"the explorer was not tried in a browser: {reason}")
    return sh(sys.executable, "tools/browser.py").splitlines()[-1]


def serving_page():
    "The page of the server, in a real browser"
    import browser
    if reason := browser.missing(): raise Skip(f"the page was not tried in a browser: {reason}")
    return sh(sys.executable, "tools/page.py").splitlines()[-1]


def container():
    "The steps of the Dockerfile, without Docker"
    return sh(sys.executable, "tools/container.py").splitlines()[-1]


def notebook(path):
    def run():
        log = sh("nbdev_test", "--path", path, "--n_workers", "0", env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
        return "; ".join(sorted({line for line in log.splitlines() if line.startswith("skipped:") and "no/such" not in line}))
    return run


def attempt(name, check):
    start = time.time()
    try: word, note = "ok", check() or ""
    except Skip as e: word, note = "skip", str(e)
    except Exception as e: word, note = "FAIL", str(e)
    print(f"{word:4} {time.time() - start:6.1f} s  {name}  {note}".rstrip(), flush=True)
    return word, note.count("skipped:")


if __name__ == "__main__":
    first = {f.__name__: f for f in (export, clean, readme, committed_outputs, wings, wheel, docs, explorer, serving_page, container)}
    done = [attempt(name, check) for name, check in first.items()]
    with ThreadPoolExecutor(2) as pool:
        done += pool.map(lambda p: attempt(p.name, notebook(p)), NOTEBOOKS)
    words = [word for word, _ in done]
    n = {w: words.count(w) for w in ("ok", "FAIL", "skip")}
    n["skip"] += sum(parts for _, parts in done)  # a part of a notebook whose files are not here
    print(f"{n['ok']} passed, {n['FAIL']} failed" + (f", {n['skip']} skipped" if n["skip"] else ""))
    sys.exit(bool(n["FAIL"]))
