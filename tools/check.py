"""All checks of the project, one line each, and at the end `N passed, M failed`; with `--slow` also those that take long.

Every notebook is run by `nbdev_test`; besides, what is generated must be what is committed, and the wheel must work on its own.
"""
import ast
import hashlib
import json
import os
import re
import subprocess
import sys
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
    done = subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True, cwd=kw.pop("cwd", ROOT), **kw)
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
        words = [{**o, "data": {k: v for k, v in o.get("data", {}).items() if not k.startswith("image/") or k == "image/svg+xml"}} for o in outputs]  # the letters of a picture may spell anything
        found = re.search(r"/(home|root|Users|work|tmp)/[\w.-]+", json.dumps(words))
        assert not found, f"{p.name} holds the path {found[0]}"


WING = re.compile(r"^# (Ground floor|Serving wing|Training wing)(?: \(no TensorFlow\))?; builds on ([\w, ]+?)(?:; when called, also on ([\w, ]+))?$", re.MULTILINE)


def chapters_of(node):
    "The chapters that an import statement names"
    if isinstance(node, ast.ImportFrom):
        module = re.fullmatch(r"(?:pneumonia_nbdev\.)?(\w+)", node.module or "")
        return {module[1]} if module and (node.level == 1 or node.module.startswith("pneumonia_nbdev.")) else set()
    if isinstance(node, ast.Import): return {m[1] for a in node.names if (m := re.fullmatch(r"pneumonia_nbdev\.(\w+)", a.name))}
    return set()


def houses():
    "Chapter -> wing, what its first line says that it builds on, and what it really imports: at its top, and when called"
    for p in CHAPTERS:
        name = re.sub(r"^\d+_", "", p.stem)
        source = (ROOT/"pneumonia_nbdev"/f"{name}.py").read_text(encoding="utf-8")
        found = WING.search(source)
        assert found, f"{name}: the first cell does not say its wing and what it builds on"
        said = [set() if part in (None, "nothing") else set(part.split(", ")) for part in found.groups()[1:]]
        tree = ast.parse(source)
        top = set.union(set(), *map(chapters_of, tree.body))
        yield name, found[1], said, [top, set.union(set(), *map(chapters_of, ast.walk(tree))) - top]


def wings():
    "A module says its wing and what it builds on; that is true, comes before it, and serving never starts the training wing"
    before, wing = [], {}
    for name, where, said, real in houses():
        assert said == real, f"{name} says that it builds on {said}, and builds on {real}"
        late = set.union(*real) - set(before)
        assert not late, f"{name} imports {late}, which come later"
        wrong = {u for u in real[0] if wing[u] == "Training wing" or (where == "Ground floor" and wing[u] != where)}
        assert not wrong or where == "Training wing", f"{name}, {where.lower()}, imports {wrong} at its top"
        before.append(name); wing[name] = where


def names():
    "A public name is defined in one module only"
    where = {}
    for p in (ROOT/"pneumonia_nbdev").glob("[a-z]*.py"):
        public = next((ast.literal_eval(n.value) for n in ast.parse(p.read_text(encoding="utf-8")).body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "__all__"), [])
        for name in public: where.setdefault(name, []).append(p.stem)
    twice = {k: v for k, v in where.items() if len(v) > 1}
    assert len(where) > 300 and not twice, f"defined more than once: {twice}"


def hints():
    "Every public function says the type of each parameter and of its answer"
    missing = []
    for p in (ROOT/"pneumonia_nbdev").glob("[a-z]*.py"):
        tree = ast.parse(p.read_text(encoding="utf-8"))
        bodies = [tree.body, *(n.body for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_"))]
        for f in (f for body in bodies for f in body if isinstance(f, ast.FunctionDef) and (f.name == "__init__" or not f.name.startswith("_"))):
            given = [a for a in (*f.args.posonlyargs, *f.args.args, *f.args.kwonlyargs) if a.arg not in ("self", "cls")]
            if any(a.annotation is None for a in given) or (f.returns is None and f.name != "__init__"): missing.append(f"{p.stem}.{f.name}")
    assert not missing, f"without type hints: {', '.join(missing)}"


def ruff(): sh("ruff", "check", "pneumonia_nbdev", "tools")


def wheel():
    "The wheel, installed alone: predict, screen, serve and doctor from an empty folder; and one version everywhere"
    return sh(sys.executable, "tools/wheel.py", "--serving").splitlines()[-1]


def wheel_extras():
    "The same with the training and the notebook extras: explore and train as well"
    return sh(sys.executable, "tools/wheel.py").splitlines()[-1]


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


def book():
    "The tutorials in JupyterLab, from the first cell to the last"
    import browser
    if reason := browser.missing(): raise Skip(f"the tutorials were not opened in a browser: {reason}")
    return sh(sys.executable, "tools/browser.py", "--book").splitlines()[-1]


def notebook(path, flags=()):
    def run():
        log = sh("nbdev_test", "--path", path, "--n_workers", "0", *flags, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
        return "; ".join(sorted({line for line in log.splitlines() if line.startswith("skipped:") and "no/such" not in line}))
    return run


def attempt(name, check):
    start = time.time()
    try: word, note = "ok", check() or ""
    except Skip as e: word, note = "skip", str(e)
    except Exception as e: word, note = "FAIL", str(e)
    print(f"{word:4} {time.time() - start:6.1f} s  {name}  {note}".rstrip(), flush=True)
    return word, note.count("skipped:")


LIGHT = (export, clean, readme, committed_outputs, wings, names, hints, ruff)
HEAVY = (wheel, docs, explorer, serving_page, container)
LONG = ("27_", "31_", "37_", "15_", "11_", "13_", "20_", "end_to_end")  # begun first, so that what ends last is short
SLOW = (book, wheel_extras)  # with the cells that are marked `slow`


if __name__ == "__main__":
    slow = "--slow" in sys.argv
    done = [attempt(f.__name__, f) for f in LIGHT]  # they write files that the others read
    work = [(f.__name__, f) for f in (*HEAVY, *(SLOW if slow else ()))] + [(p.name, notebook(p, ("--flags", "slow") if slow else ())) for p in sorted(NOTEBOOKS, key=lambda p: not p.name.startswith(LONG))]
    with ThreadPoolExecutor(2) as pool: done += pool.map(lambda pair: attempt(*pair), work)
    words = [word for word, _ in done]
    n = {w: words.count(w) for w in ("ok", "FAIL", "skip")}
    n["skip"] += sum(parts for _, parts in done)  # a part of a notebook whose files are not here
    print(f"{n['ok']} passed, {n['FAIL']} failed" + (f", {n['skip']} skipped" if n["skip"] else ""))
    sys.exit(bool(n["FAIL"]))
