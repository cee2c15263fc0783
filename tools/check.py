"""Run all checks, one line each, and print `N passed, M failed` at the end.

    python tools/check.py           what `make test` runs
    python tools/check.py --slow    also what takes long: slow cells, the wheel with all extras, tutorials in JupyterLab
    python tools/check.py NAME ...  only checks and notebooks whose name contains one of these words

nbdev runs every notebook, except for the solutions of the exercises; `tools/lab.py` runs all in a Jupyter kernel. The
other checks compare generated files with the committed ones, and look at imports, names and texts.
"""

import ast
import hashlib
import json
import multiprocessing
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "pneumonia_nbdev"
NOTEBOOKS = [
    path
    for path in sorted((ROOT / "nbs").rglob("*.ipynb"))
    if not any(part.startswith((".", "_")) for part in path.relative_to(ROOT).parts)
]
TESTED = [path for path in NOTEBOOKS if "solutions" not in path.parts]  # `make test-lab` runs the solutions
MAX_NOTEBOOK = 300_000  # bytes, with outputs
HEAVY_PACKAGES = ("tensorflow", "keras", "pandas", "matplotlib")
SERVING_TOPICS = ("core", "deployment", "cli")  # their modules must not import the heavy packages
# What a notebook's process imports before it starts; the import is done once and shared by fork.
PRELOADED = (
    "tensorflow",
    "keras",
    "pandas",
    "matplotlib.pyplot",
    "sklearn.linear_model",
    "cv2",
    "nbdev.test",
)
# The longest notebooks start first, so that both cores are busy until the end.
LONGEST = (
    "one_page",
    "cli",
    "export",
    "end_to_end",
    "update",
    "gate",
    "recipe",
    "own_data",
    "attribution",
    "trainer",
    "explorer",
    "cnn",
    "gradcam",
    "own_model",
    "fine_tuning",
    "bundle",
    "label_training",
    "finding_training",
    "finding_test",
    "finding_branch",
    "findings",
)
SLOW_FLAG = "slow"


class Skip(Exception):
    "A check that cannot run here; the message is the reason"


def run(*command, **options):
    "Run a command and return its standard output; all of its output is the message when it fails"
    done = subprocess.run(
        list(map(str, command)), check=False, capture_output=True, text=True, cwd=ROOT, **options
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


def unchanged(files, *command):
    "A generator must leave the committed files as they are"

    def state():
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files())}

    before = state()
    run(*command)
    after = state()
    changed = sorted(Path(k).name for k in before.keys() | after.keys() if before.get(k) != after.get(k))
    assert not changed, f"changed by {command[0]}: {changed}"


# --- generated files


def export():
    "The exported modules are those of the notebooks"
    unchanged(lambda: PACKAGE.rglob("*.py"), "nbdev_export")


def clean():
    "The notebooks hold no execution counts and no metadata"
    unchanged(lambda: NOTEBOOKS, "nbdev_clean")


def readme():
    "README.md, the Chinese README and the pages of the guide agree"
    run(sys.executable, "tools/readme.py", "--check")


def structure():
    "`__init__.py` files, sidebar, table of topics and API page are up to date; at most 230 public names"
    return run(sys.executable, "tools/structure.py", "--check").strip()


def committed_outputs():
    "Notebooks are executed, without errors, small, and without paths of one machine"
    for path in NOTEBOOKS:
        text = path.read_text(encoding="utf-8")
        cells = json.loads(text)["cells"]
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        assert outputs or not any(cell["cell_type"] == "code" for cell in cells), (
            f"{path.name} was not executed"
        )
        assert not any(output["output_type"] == "error" for output in outputs), f"{path.name} holds an error"
        assert len(text.encode()) <= MAX_NOTEBOOK, f"{path.name} has {len(text.encode())} bytes"
        # Encoded pictures can spell anything, so they are left out.
        shown = [
            {
                k: v
                for k, v in output.get("data", {}).items()
                if not k.startswith("image/") or k == "image/svg+xml"
            }
            for output in outputs
        ]
        streams = [output.get("text", "") for output in outputs]
        found = re.search(r"/(home|root|Users|work|tmp)/[\w.-]+", json.dumps([shown, streams]))
        assert not found, f"{path.name} holds the path {found[0]}"


# --- imports and names


def layers():
    "Topics import only from topics before them (import-linter, `pyproject.toml`)"
    return run("lint-imports", "--no-cache").strip().splitlines()[-1]


def light_imports():
    "Each module of core, deployment and cli is imported without TensorFlow, Keras, pandas and matplotlib"
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for topic in SERVING_TOPICS
        for path in sorted((PACKAGE / topic).glob("*.py"))
    ]

    def heavy(module):
        code = f"import sys, {module}; print(*[name for name in {HEAVY_PACKAGES} if name in sys.modules])"
        return module, run(sys.executable, "-c", code).strip()

    with ThreadPoolExecutor(2) as pool:
        wrong = {module: found for module, found in pool.map(heavy, modules) if found}
    assert not wrong, f"imports at the top: {wrong}"
    code = "import sys; from pneumonia_nbdev import PneumoniaDetectionSystem; "
    code += f"print(*set(sys.modules) & set({HEAVY_PACKAGES}))"
    assert not run(sys.executable, "-c", code).strip()
    return f"{len(modules)} modules"


def modules_of_package():
    "(path, syntax tree) of each exported module"
    for path in sorted(PACKAGE.rglob("[a-z]*.py")):
        yield path, ast.parse(path.read_text(encoding="utf-8"))


def names():
    "A public name is defined in one module only"
    where = {}
    for path, tree in modules_of_package():
        for node in tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                for name in ast.literal_eval(node.value):
                    where.setdefault(name, []).append(path.stem)
    twice = {name: modules for name, modules in where.items() if len(modules) > 1}
    assert where and not twice, f"defined more than once: {twice}"


def public_functions(tree):
    "Public functions of a module, and public methods of its public classes"
    bodies = [tree.body]
    bodies += [
        node.body for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    for body in bodies:
        for node in body:
            if isinstance(node, ast.FunctionDef) and (
                node.name == "__init__" or not node.name.startswith("_")
            ):
                yield node


# Classes and methods of the tutorial article whose readers use this package.
ARTICLE = {
    "MedicalDataLoader": "analyze_dataset visualize_class_distribution load_and_preprocess_image create_dataset "
    "augment_image",
    "DataVisualizer": "display_sample_images analyze_image_characteristics",
    "PneumoniaCNN": "build_model compile_model get_model_summary",
    "TransferLearningModel": "build_model compile_model",
    "ModelTrainer": "setup_callbacks train_model plot_training_history",
    "ModelEvaluator": "evaluate_models plot_comparison plot_confusion_matrices generate_classification_reports",
    "ModelExplainer": "make_gradcam_heatmap display_gradcam",
    "FeatureVisualizer": "visualize_layer_activations",
    "PneumoniaDetectionSystem": "preprocess_image predict batch_predict generate_report",
    "PneumoniaDetectionAPI": "run",
    "ModelOptimizer": "quantize_model optimize_for_inference compare_performance",
}


def article():
    "Every class of the article is importable from the package, with its methods"
    code = "import json, sys, pneumonia_nbdev as p; names = json.loads(sys.argv[1]); "
    code += "print(*[f'{c}.{m}' for c, ms in names.items() for m in ms.split() if not hasattr(getattr(p, c), m)])"
    missing = run(sys.executable, "-c", code, json.dumps(ARTICLE)).strip()
    assert not missing, f"missing: {missing}"


def hints():
    "Every public function has a type hint for each parameter and for the result"
    missing = []
    for path, tree in modules_of_package():
        for function in public_functions(tree):
            given = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
            untyped = any(a.annotation is None for a in given if a.arg not in ("self", "cls"))
            if untyped or (function.returns is None and function.name != "__init__"):
                missing.append(f"{path.stem}.{function.name}")
    assert not missing, f"without type hints: {', '.join(missing)}"


def module_size():
    "A module has at most 400 exported lines, and a line at most 120 characters"
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name in ("_modidx.py", "__init__.py"):  # generated
            continue
        text = re.sub(r"^__all__ = \[.*?\]$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        lines = [line for line in text.splitlines() if line and not line.startswith("# %%")]
        name = str(path.relative_to(PACKAGE))
        if len(lines) > 400:
            wrong.append(f"{name} has {len(lines)} lines")
        wrong += [f"{name}: {line[:60]}… has {len(line)} characters" for line in lines if len(line) > 120]
    assert not wrong, "\n".join(wrong)


def ruff():
    "Lint rules of `pyproject.toml`"
    run("ruff", "check", "pneumonia_nbdev", "tools")


def prose():
    "Plain technical English in notebooks, Markdown files, docstrings, messages and the catalogue"
    return run(sys.executable, "tools/prose.py").strip().replace("\n", "; ")


# --- the installed project


def supply_chain():
    "The lock file has the pinned versions and hashes; the workflows have few rights"
    run(sys.executable, "tools/pin.py", "--self-test")
    return run(sys.executable, "tools/lock.py", "--check").splitlines()[0]


def wheel():
    "The wheel, installed alone: predict, screen, serve and doctor from an empty folder; one version everywhere"
    return run(sys.executable, "tools/wheel.py", "--serving").splitlines()[-1]


def wheel_extras():
    "The same with the extras for training and notebooks: explore and train as well"
    return run(sys.executable, "tools/wheel.py").splitlines()[-1]


def docs():
    "The site builds without a network, and its links lead somewhere"
    if sys.version_info < (3, 11):
        raise Skip("smalldocs needs Python 3.11")
    run(sys.executable, "tools/docs.py")


def in_browser(*command):
    "Run a tool that drives a browser; skip it where there is none"
    import browser

    if reason := browser.missing():
        raise Skip(reason)
    return run(sys.executable, *command).splitlines()[-1]


def explorer():
    "The explorer in JupyterLab and on its own page, in a browser"
    return in_browser("tools/browser.py")


def serving_page():
    "The page of the server, in a browser"
    return in_browser("tools/page.py")


def tutorials():
    "The tutorials in JupyterLab, from the first cell to the last"
    return in_browser("tools/browser.py", "--tutorials")


def container():
    "The steps of the Dockerfile, without Docker"
    return run(sys.executable, "tools/container.py").splitlines()[-1]


def fuzz():
    "A minute of damaged files: the reader, the server and the command line go on"
    lines = run(sys.executable, "tools/fuzz.py", "--seconds", "60").splitlines()
    return next(line for line in reversed(lines) if "damaged files" in line)


# --- notebooks


def notebook_process(path, flags, log):
    "Run one notebook, in a process of its own; the last line of the log is its CPU time in seconds"
    with open(log, "w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        sys.stdout = sys.stderr = file
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        os.chdir(ROOT)
        # Libraries in the notebook get the usual start method, not that of this runner.
        multiprocessing.set_start_method("fork", force=True)
        from nbdev.test import test_nb

        passed, _ = test_nb(path, skip_flags=["notest", SLOW_FLAG], force_flags=flags)
        usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        file.flush()
        print(f"\n{sum(u.ru_utime + u.ru_stime for u in usage):.1f}")
        file.flush()
    os._exit(0 if passed else 1)


def notebook(path, flags, context):
    "A check that runs a notebook"

    def check():
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log"
            process = context.Process(target=notebook_process, args=(path, flags, str(log)))
            process.start()
            process.join()
            text = log.read_text(encoding="utf-8") if log.exists() else ""
        assert process.exitcode == 0, text[-4000:] or f"exit code {process.exitcode}"
        cpu = float(text.splitlines()[-1])
        skipped = sorted(
            {line for line in text.splitlines() if line.startswith("skipped:") and "no/such" not in line}
        )
        return "; ".join([f"{cpu:.0f} s CPU", *skipped])

    return check


def attempt(name, check):
    "Run a check and print its line: state, seconds, name, note"
    start = time.time()
    try:
        state = "ok"
        note = check() or ""
    except Skip as reason:
        state = "skip"
        note = str(reason)
    except Exception as error:
        state = "FAIL"
        note = f"{type(error).__name__}: {error}" if not isinstance(error, AssertionError) else str(error)
    seconds = time.time() - start
    print(f"{state:4} {seconds:6.1f} s  {name}  {note}".rstrip(), flush=True)
    return name, state, seconds, note


GENERATORS = (export, clean, structure, readme)  # they write files that the others read
LIGHT = (committed_outputs, layers, light_imports, names, article, hints, module_size, ruff, prose, supply_chain)
HEAVY = (docs, serving_page, explorer, wheel)
SLOW = (wheel_extras, container, tutorials, fuzz)


def notebook_name(path):
    "The path of a notebook inside of `nbs`, without its ending"
    return path.relative_to(ROOT / "nbs").with_suffix("").as_posix()


def main():
    slow = "--slow" in sys.argv
    words = [word for word in sys.argv[1:] if not word.startswith("--")]

    def wanted(name):
        return not words or any(word in name for word in words)

    start = time.time()
    done = [attempt(check.__name__, check) for check in (*GENERATORS, *LIGHT) if wanted(check.__name__)]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    flags = [SLOW_FLAG] if slow else []
    work = [(check.__name__, check) for check in (*HEAVY, *(SLOW if slow else ()))]
    order = sorted(TESTED, key=lambda path: not re.sub(r"^\d+_", "", path.stem).startswith(LONGEST))
    work += [(notebook_name(path), notebook(path, flags, context)) for path in order]
    # One more than the cores, because the browser and some notebooks wait for other processes.
    with ThreadPoolExecutor(3) as pool:
        done += pool.map(lambda pair: attempt(*pair), [pair for pair in work if wanted(pair[0])])
    slowest = sorted(done, key=lambda row: -row[2])[:5]
    print("slowest: " + ", ".join(f"{name} {seconds:.0f} s" for name, _, seconds, _ in slowest))
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(u.ru_utime + u.ru_stime for u in usage)
    # Notebooks are children of the fork server, so their CPU times are added.
    cpu += sum(
        float(note.split()[0]) for _, state, _, note in done if state == "ok" and re.match(r"\d+ s CPU", note)
    )
    print(f"{(time.time() - start) / 60:.1f} minutes, {cpu / 60:.1f} CPU-minutes")
    states = [state for _, state, _, _ in done]
    skipped = states.count("skip") + sum(note.count("skipped:") for _, _, _, note in done)
    print(
        f"{states.count('ok')} passed, {states.count('FAIL')} failed"
        + (f", {skipped} skipped" if skipped else "")
    )
    sys.exit(bool(states.count("FAIL")))


if __name__ == "__main__":
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as settings_folder:
        os.environ["XDG_CONFIG_HOME"] = settings_folder  # keys of test stores
        main()
