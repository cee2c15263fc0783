"""Run the notebooks in real Jupyter kernels, as a reader does, and with changed settings.

    python tools/lab.py                  what `make test-lab` runs
    python tools/lab.py WORD ...         only runs whose name contains one of these words
    python tools/lab.py --table FILE     also write seconds, memory and time of the first picture as a CSV
    python tools/lab.py --jobs 1         one notebook at a time, for measurements (2 by default)
    python tools/lab.py --slow           also the cells marked `slow`

Three kinds of runs, each in a new kernel (nbclient):

notebook   each notebook of `nbs`, from the first cell to the last; limits: 120 seconds, 3 GiB, first picture after 30 s
change     a topic notebook with one changed setting: epochs, batch size, seed, image size, backbone, or data folder
opening    JupyterLab opens notebooks in a browser, without marking them as changed

Cells marked `notest`, `eval: false` or `slow` are left out, as in `nbdev_test`. Data sets other than the sample are not
used. Times depend on the machine; a limit that is exceeded is reported, and isn't a failure.
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import browser
import nbformat
import psutil
from check import NOTEBOOKS, ROOT, Skip, notebook_name

from pneumonia_nbdev.core.base import CLASSES, sample_dir

MAX_SECONDS = 120
MAX_GIB = 3
MAX_PICTURE = 30  # seconds until the first picture
TIMEOUT = 900  # seconds for one cell
NBS = ROOT / "nbs"
TOPICS = (  # the main notebook of each topic
    "01_data/04_dataset",
    "02_visualization",
    "03_cnn",
    "04_transfer/00_backbones",
    "05_training/04_trainer",
    "06_evaluation/01_evaluation",
    "07_gradcam/00_gradcam",
    "09_deployment/01_predictor",
    "10_quantization/06_export",
)
CHANGES = {  # name of a change -> new values of settings
    "epochs": dict(EPOCHS=1),
    "batch size": dict(BATCH_SIZE=9),
    "seed": dict(SEED=7),
    "image size": dict(SIZE=80),
    "backbone": dict(BACKBONE="MobileNetV3Large", WEIGHTS=None),
}
NOISE = re.compile(r"oneDNN|cuda_|cuInit|absl::|retracing|W0000|I0000|E0000|fully_quantize")
SETTING = r"^{}\s*=\s*[^#\n]+"  # a line of a settings cell


@dataclass
class Measured:
    "What one run needed"

    seconds: float
    gib: float  # peak of the kernel and its children
    first_picture: float | None  # seconds; None without a picture


# --- one notebook in a kernel


def is_skipped(source, slow):
    "Whether a cell is left out"
    flags = re.findall(r"^#\|\s*(.+?)\s*$", source, re.MULTILINE)
    skipped = {"notest", "eval: false"} | (set() if slow else {"slow"})
    return any(flag in skipped for flag in flags)


def has_picture(cell):
    "Whether a cell shows a picture or a widget"
    data = [output.get("data", {}) for output in cell.get("outputs", [])]
    kinds = [kind for one in data for kind in one]
    return any(kind.startswith("image/") or "widget-view" in kind for kind in kinds)


def tree_bytes(pid):
    "Resident memory of a process and its children"
    try:
        process = psutil.Process(pid)
        return sum(p.memory_info().rss for p in (process, *process.children(recursive=True)))
    except psutil.Error:
        return 0


def watch_memory(client, peak, done):
    "Store the peak memory of the client's kernel in `peak`, until `done` is set"
    while not done.wait(0.25):
        pid = getattr(getattr(client.km, "provisioner", None), "pid", None)
        if pid:
            peak[0] = max(peak[0], tree_bytes(pid))


def execute(notebook, folder, environment):
    "Run all cells in a new kernel"
    from nbclient import NotebookClient

    start = time.time()
    pictures = []

    def on_executed(cell, **_):
        if has_picture(cell):
            pictures.append(time.time() - start)

    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name="python3",
        resources=dict(metadata=dict(path=str(folder))),
        on_cell_executed=on_executed,
    )
    peak = [0]
    done = threading.Event()
    watcher = threading.Thread(target=watch_memory, args=(client, peak, done))
    watcher.start()
    try:
        client.execute(env=environment, stderr=subprocess.DEVNULL)  # the kernel's own log
    finally:
        done.set()
        watcher.join()
    check_quiet(notebook)
    return Measured(time.time() - start, peak[0] / 2**30, pictures[0] if pictures else None)


def check_quiet(notebook):
    "Raise `AssertionError` if a cell shows messages of TensorFlow"
    for cell in notebook.cells:
        streams = [output.text for output in cell.outputs if output.output_type == "stream"]
        found = NOISE.search("\n".join(streams))
        assert not found, f"{found[0]!r} below the cell {cell.source[:80]!r}"


def kernel_environment(**variables):
    "The environment of a reader: the sample is the only data set"
    left_out = ("PNEUMONIA_DATA", "PNEUMONIA_SHARED", "TF_CPP_MIN_LOG_LEVEL", "IN_TEST")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return {**kept, "PNEUMONIA_SHARED": "/nonexistent", **variables}


def prepared(path, slow, settings=None):
    "A notebook without outputs and without the cells that are left out; with changed settings"
    notebook = nbformat.read(path, 4)
    notebook.cells = [
        cell for cell in notebook.cells if cell.cell_type == "code" and not is_skipped(cell.source, slow)
    ]
    for cell in notebook.cells:
        cell.outputs = []
    for name, value in (settings or {}).items():
        change_setting(notebook, name, value)
    return notebook


def change_setting(notebook, name, value):
    "Replace the first line that assigns a setting"
    pattern = re.compile(SETTING.format(name), re.MULTILINE)
    for cell in notebook.cells:
        if pattern.search(cell.source):
            cell.source = pattern.sub(f"{name} = {value!r}  ", cell.source, count=1)
            return
    raise AssertionError(f"no line assigns {name}")


def settings_of(path):
    "Names of the settings that a notebook has"
    source = "\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code")
    names = {name for change in CHANGES.values() for name in change} | {"DATA"}
    return {name for name in names if re.search(SETTING.format(name), source, re.MULTILINE)}


# --- data of other people


def other_folder(folder):
    "Two classes without splits and patient numbers, in another format and other sizes"
    from PIL import Image

    for cls in CLASSES:
        paths = sorted((sample_dir() / "train" / cls).iterdir())[:60]
        (folder / cls.title()).mkdir(parents=True)
        for i, path in enumerate(paths):
            side = 200 + 20 * (i % 5)
            image = Image.open(path).convert("L").resize((side + 30, side))
            image.save(folder / cls.title() / f"scan {i:03}.png")
    return folder


def other_table(folder):
    "A CSV with labels 0 and 1 and without splits"
    folder.mkdir()
    rows = []
    for i, cls in enumerate(CLASSES):
        rows += [(path, i) for path in sorted((sample_dir() / "val" / cls).iterdir())]
        rows += [(path, i) for path in sorted((sample_dir() / "test" / cls).iterdir())]
    path = folder / "images.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("path", "label"), *rows])
    return path


# --- all runs


def report(measured):
    "The line of a run: what it needed, and the limits that it exceeds"
    picture = measured.first_picture
    text = f"{measured.gib:.1f} GiB" + ("" if picture is None else f", first picture after {picture:.0f} s")
    over = [
        f"over {limit} {unit}"
        for value, limit, unit in (
            (measured.seconds, MAX_SECONDS, "s"),
            (measured.gib, MAX_GIB, "GiB"),
            (picture or 0, MAX_PICTURE, "s until the first picture"),
        )
        if value > limit
    ]
    return "; ".join([text, *over])


def opening():
    "JupyterLab, started as by `make lab`, opens notebooks and marks none as changed"
    if reason := browser.missing():
        raise Skip(reason)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "nbs"
        shutil.copytree(NBS, copy)
        with jupyter_lab(copy, Path(folder) / "log") as address:
            changed = changed_on_opening(address, ("index", *TOPICS))
    assert not changed, f"marked as changed: {', '.join(changed)}"
    return f"{len(TOPICS) + 1} notebooks"


@contextmanager
def jupyter_lab(folder, log):
    "JupyterLab on a folder, with the configuration of `make lab`; yields its address"
    port = browser.free_port()
    command = ["jupyter", "lab", "--no-browser", "--allow-root", "--config=tools/jupyter_server_config.py"]
    options = dict(ip="127.0.0.1", port=port, root_dir=folder)
    command += [f"--ServerApp.{name}={value}" for name, value in options.items()]
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [*command, "--IdentityProvider.token=lab"], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        address = f"http://127.0.0.1:{port}"
        browser.wait_for_server(f"{address}/api?token=lab", process, log)
        yield address
    finally:
        process.terminate()
        process.wait()


def changed_on_opening(address, names):
    "Names of the notebooks that JupyterLab marks as changed after their kernels have started"
    from playwright.sync_api import sync_playwright

    changed = []
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=browser.chromium(), headless=True, args=browser.ARGS
        )
        for name in names:
            page = context.new_page()
            page.goto(f"{address}/lab/tree/{name}.ipynb?token=lab&reset")
            page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
            page.wait_for_selector("text=Python 3 (ipykernel) | Idle", timeout=60_000)
            page.wait_for_timeout(1000)
            if page.locator(".lm-TabBar-tab.jp-mod-dirty").count():
                changed.append(name)
            page.close()
        context.close()
    return changed


def runs(slow, folder):
    "Name -> function that returns a `Measured` or a note"
    work = {}
    for path in NOTEBOOKS:
        name = notebook_name(path)
        work[f"notebook {name}"] = lambda path=path: execute(
            prepared(path, slow), path.parent, kernel_environment()
        )
    data = {"data folder": other_folder(folder / "folder"), "data table": other_table(folder / "table")}
    for name in TOPICS:
        path = NBS / f"{name}.ipynb"
        available = settings_of(path)
        for change, values in CHANGES.items():
            if set(values) & available:
                used = {key: value for key, value in values.items() if key in available}
                work[f"change {name}: {change}"] = lambda path=path, used=used: execute(
                    prepared(path, slow, used), path.parent, kernel_environment()
                )
        for change, place in data.items():
            work[f"change {name}: {change}"] = lambda path=path, place=place: execute(
                prepared(path, slow), path.parent, kernel_environment(PNEUMONIA_DATA=str(place))
            )
    return work | {"opening": opening}


def attempt(name, function):
    "Do one run and print its line"
    start = time.time()
    measured = None
    try:
        done = function()
        measured = done if isinstance(done, Measured) else None
        state = "ok"
        note = report(measured) if measured else done
    except Skip as reason:
        state = "skip"
        note = str(reason)
    except Exception as error:
        state = "FAIL"
        note = re.sub(r"\x1b\[[0-9;]*m", "", str(error))[-3000:]
    print(f"{state:4} {time.time() - start:6.1f} s  {name}  {note}".rstrip(), flush=True)
    return name, state, measured


def coverage(names):
    "How often each setting and each topic notebook was met by a change"
    pairs = [name.removeprefix("change ").split(": ") for name in names if name.startswith("change ")]
    counts = {}
    for pair in pairs:
        for one in pair:
            counts[one] = counts.get(one, 0) + 1
    return counts


def write_table(path, done):
    "One row per run that was measured"
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["run", "seconds", "GiB", "first picture"])
        for name, _, measured in done:
            if measured:
                picture = "" if measured.first_picture is None else f"{measured.first_picture:.0f}"
                writer.writerow([name, f"{measured.seconds:.0f}", f"{measured.gib:.1f}", picture])


def option(name, default=None):
    "The value after an option of the command line"
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


def main():
    slow = "--slow" in sys.argv
    jobs = int(option("--jobs", 2))
    table = option("--table")
    values = {option("--jobs"), table}
    words = [word for word in sys.argv[1:] if not word.startswith("--") and word not in values]
    start = time.time()
    with tempfile.TemporaryDirectory() as folder:
        work = runs(slow, Path(folder))
        chosen = {name: f for name, f in work.items() if not words or any(word in name for word in words)}
        with ThreadPoolExecutor(jobs) as pool:
            done = list(pool.map(lambda item: attempt(*item), chosen.items()))
    if table:
        write_table(table, done)
    print("changes:", json.dumps(coverage([name for name, *_ in done])))
    states = [state for _, state, _ in done]
    print(f"{(time.time() - start) / 60:.1f} minutes")
    print(f"{states.count('ok')} passed, {states.count('FAIL')} failed")
    sys.exit(bool(states.count("FAIL")))


if __name__ == "__main__":
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    main()
