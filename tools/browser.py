"""Test the explorer in JupyterLab and on its own page, in a real browser.

    python tools/browser.py [--tutorials] [--keep]

The browser is the Chromium of the system (`apt install chromium`). Without it, or without Playwright, the test is
skipped. `--keep` writes the screenshots to `nbs/images`. `--tutorials` opens the tutorials in JupyterLab instead, runs
all their cells, and checks the notebooks that JupyterLab saves.
"""

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
TUTORIALS = ("ten_lines", "end_to_end", "own_data")
PICTURE = ".explorer-picture-0"
PICTURE_HASH = """async img => {
    const bytes = await (await fetch(img.src)).arrayBuffer();
    return Array.from(new Uint8Array(await crypto.subtle.digest('SHA-1', bytes))).join();
}"""
HIDDEN_WIDTH = """img => {
    let hidden = 0;
    for (let e = img.parentElement; e; e = e.parentElement) {
        if (getComputedStyle(e).overflowX !== 'visible') hidden = Math.max(hidden, e.scrollWidth - e.clientWidth);
    }
    return hidden;
}"""
WIDTH = 1000  # pixels of the notebook and of the page
SLOW = 180_000  # milliseconds; the first picture needs TensorFlow


# --- browser and servers


def chromium():
    "Path of the browser; None without one"
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def missing():
    "The package that is missing to run a browser; empty if none is"
    if not chromium():
        return "no chromium"
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "no playwright"
    return ""


def free_port():
    "A port that no server uses"
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_server(url, process, log, seconds=120):
    "Wait until a server accepts requests"
    for _ in range(seconds):
        try:
            urllib.request.urlopen(url, timeout=60).read()
            return
        except OSError:
            assert process.poll() is None, log.read_text(encoding="utf-8")[-2000:]
            time.sleep(1)
    raise AssertionError(f"{url} isn't available: {log.read_text(encoding='utf-8')[-2000:]}")


def stop(process):
    "Stop a process and its children"
    if process.poll() is not None:
        return
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def server(command, url, folder, **env):
    "Run a server in `folder`; enter when it is ready, and stop it at the end"
    log = Path(folder) / "server.log"
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **env}
    command = [str(word) for word in command]
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command, cwd=folder, stdout=file, stderr=subprocess.STDOUT, env=env, start_new_session=True
        )
        try:
            wait_for_server(url, process, log)
            yield
        finally:
            stop(process)


@contextmanager
def page(width=1280, height=860):
    "A page in a browser with a new profile"
    from playwright.sync_api import sync_playwright

    viewport = dict(width=width, height=height)
    with tempfile.TemporaryDirectory() as profile, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=chromium(), headless=True, args=ARGS, viewport=viewport
        )
        opened = context.pages[0] if context.pages else context.new_page()
        try:
            yield opened
        finally:
            context.close()


def screenshot(opened, path):
    "Write a screenshot with 256 colors, which reduces the size of the file by two thirds"
    from PIL import Image

    image = Image.open(io.BytesIO(opened.screenshot())).convert("RGB")
    # The default method changes the colors of small areas, such as text.
    palette = image.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
    palette.save(path, optimize=True)


# --- the explorer


def labels():
    "The English labels of the explorer"
    from pneumonia_nbdev.core.i18n import texts

    return texts("explorer")


def picture(opened, position=0):
    "A hash of the picture"
    return opened.locator(f".explorer-picture-{position}").first.evaluate(PICTURE_HASH)


def wait_until(condition, message, seconds=120):
    "Wait until a function returns a true value"
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, message
        time.sleep(0.1)


def changes_picture(opened, action):
    "Do something, and wait until the picture changes"
    before = picture(opened)
    action()
    wait_until(lambda: picture(opened) != before, "the picture didn't change")


def wait_for_explorer(opened):
    "Wait for the first picture"
    opened.locator(PICTURE).first.wait_for(timeout=SLOW)


def upload(opened, path):
    "Choose a file with the button of the explorer"
    with opened.expect_file_chooser() as chooser:
        opened.get_by_role("button", name=labels()["upload"]).first.click()
    chooser.value.set_files(str(path))


def move_slider(opened, label, steps):
    "Move a slider by the keyboard"
    handle = opened.locator(".widget-slider", has_text=label).locator(".noUi-handle")
    handle.focus()
    for _ in range(steps):
        handle.press("ArrowRight")


def check_width(opened):
    "Two pictures lie inside the page and inside their notebook, and nothing is scrolled sideways"
    limit = opened.viewport_size["width"]
    for position in range(2):
        box = opened.locator(f".explorer-picture-{position}").first.bounding_box()
        assert box["width"] > 200, f"picture {position} is {box['width']:.0f} pixels wide"
        assert box["x"] + box["width"] <= limit, f"picture {position} ends at {box['x'] + box['width']:.0f}"
    hidden = opened.locator(PICTURE).first.evaluate(HIDDEN_WIDTH)
    assert hidden <= 0, f"{hidden} pixels are outside the visible part"


def save_picture(opened):
    "Save the picture: the status names the folder, and the download is the same file"
    text = labels()
    opened.get_by_role("button", name=text["save"]).first.click()
    status = opened.get_by_text(f"{text['saved']}: /").first
    status.wait_for(timeout=30_000)
    with opened.expect_download() as download:
        opened.get_by_text(text["download"], exact=True).first.click()
    saved = Path(status.inner_text().split(": ", 1)[1].removesuffix(text["download"]).strip())
    assert Path(download.value.path()).read_bytes() == saved.read_bytes(), saved
    assert download.value.suggested_filename == saved.name, saved
    saved.unlink()


def upload_noise(opened):
    "An image that isn't a chest X-ray has no class and no map"
    from PIL import Image
    from playwright.sync_api import expect

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "noise.png"
        Image.effect_noise((300, 300), 90).save(path)
        upload(opened, path)
        opened.get_by_text(labels()["no_class"]).first.wait_for(timeout=SLOW)
    # the texts of the image before disappear one after the other
    expect(opened.get_by_text("p = 0.")).to_have_count(0, timeout=SLOW)
    expect(opened.get_by_text(labels()["anyway"], exact=True).first).to_be_hidden(timeout=SLOW)


def use_explorer(opened, folder, name):
    "Use all controls, upload good and bad files, and check the picture each time; writes a screenshot"
    text = labels()
    wait_for_explorer(opened)
    opened.locator(PICTURE).first.scroll_into_view_if_needed()
    changes_picture(opened, lambda: opened.get_by_role("button", name=text["next"]).first.click())
    changes_picture(opened, lambda: move_slider(opened, text["opacity"], 1))
    changes_picture(opened, lambda: move_slider(opened, text["cut"], 6))
    image = opened.locator(".widget-dropdown", has_text=text["image"]).locator("select")
    changes_picture(opened, lambda: image.select_option(index=0))
    method = opened.locator(".widget-dropdown", has_text=text["method"]).locator("select").first
    before = picture(opened)
    method.select_option("eigencam")
    opened.locator("progress").first.wait_for(state="visible", timeout=5_000)
    opened.locator("progress").first.wait_for(state="detached", timeout=SLOW)
    wait_until(lambda: picture(opened) != before, "the first gradient map isn't shown")
    opened.get_by_text(text["compare"], exact=True).click()
    opened.locator(".explorer-picture-1").first.wait_for(state="visible", timeout=SLOW)
    wait_until(lambda: picture(opened, 1) != picture(opened), "both methods have the same picture", 60)
    check_width(opened)
    screenshot(opened, folder / f"{name}.png")
    save_picture(opened)
    opened.get_by_text(text["compare"], exact=True).click()
    upload_noise(opened)
    xray = next((ROOT / "pneumonia_nbdev" / "sample" / "test" / "NORMAL").glob("*.jpeg"))
    changes_picture(opened, lambda: upload(opened, xray))
    upload(opened, ROOT / "README.md")
    opened.get_by_text("unreadable_image").first.wait_for(timeout=30_000)


def review(opened, folder):
    "Save a review with a comment, and check the case store"
    from pneumonia_nbdev.deployment.case_store import CaseStore

    text = labels()
    wait_for_explorer(opened)
    opened.get_by_role("button", name="Pneumonia", exact=True).click()
    opened.get_by_placeholder(text["names"], exact=True).fill("lower left")
    opened.keyboard.press("Tab")
    opened.get_by_placeholder(text["sign"], exact=True).fill("A. B.")
    opened.keyboard.press("Tab")
    opened.get_by_role("button", name=text["send"]).click()
    opened.get_by_text(text["sent"]).wait_for(timeout=30_000)
    stored = [(r["label"], r["comment"], r["reader"]) for r in CaseStore(folder).reviews()]
    assert stored == [("PNEUMONIA", "lower left", "A. B.")], stored


# --- JupyterLab


def write_lab_setting(folder, extension, setting, content):
    "Write a user setting of JupyterLab"
    path = folder / "settings" / "@jupyterlab" / extension / f"{setting}.jupyterlab-settings"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content), encoding="utf-8")


@contextmanager
def lab(folder, notebook, width=1500, height=1000):
    "JupyterLab with a notebook of `folder`; enter when its kernel is ready"
    # No question about news covers the page, and cells that aren't visible are part of it.
    write_lab_setting(folder, "apputils-extension", "notification", dict(fetchNews="false", checkForUpdates=False))
    write_lab_setting(folder, "notebook-extension", "tracker", dict(windowingMode="none"))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--IdentityProvider.token=local",
        "--allow-root",
        f"--ServerApp.root_dir={folder}",
        f"--LabApp.user_settings_dir={folder / 'settings'}",
        f"--LabApp.workspaces_dir={folder / 'workspaces'}",
    ]
    with server(command, f"{url}/api?token=local", folder), page(width, height) as opened:
        opened.goto(f"{url}/lab/tree/{notebook}?token=local")
        opened.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=120_000)
        opened.get_by_text("| Idle").first.wait_for(timeout=120_000)
        yield opened


def run_all(opened):
    "Run > Run All Cells, by the mouse"
    opened.get_by_role("menuitem", name="Run").first.click()
    opened.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def hide_file_browser(opened):
    opened.keyboard.press("Control+b")


def explorer_in_lab(folder, pictures):
    "A notebook with the explorer in JupyterLab"
    source = "from pneumonia_nbdev.gradcam.explorer import GradCAMExplorer\nGradCAMExplorer()"
    cell = dict(cell_type="code", execution_count=None, id="explore", metadata={}, outputs=[], source=source)
    kernel = dict(name="python3", display_name="Python 3", language="python")
    nb = dict(cells=[cell], metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5)
    (folder / "explore.ipynb").write_text(json.dumps(nb), encoding="utf-8")
    with lab(folder, "explore.ipynb", WIDTH + 70) as opened:  # the bars at both sides have 70 pixels
        hide_file_browser(opened)
        run_all(opened)
        wait_for_explorer(opened)
        use_explorer(opened, pictures, "explorer")


def explorer_notebook(folder, _):
    "The explorer's notebook: after Run All the first explorer has its default settings, and no file was written"
    shutil.copytree(ROOT / "nbs", folder / "nbs", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    path = folder / "nbs" / "07_gradcam" / "07_explorer.ipynb"
    clear_outputs(path)
    files = set(path.parent.rglob("*"))
    text = labels()
    with lab(folder, "nbs/07_gradcam/07_explorer.ipynb", WIDTH + 70) as opened:
        opened.locator(".jp-Notebook").first.click(position=dict(x=5, y=5))
        run_all(opened)
        wait_for_cells(opened, path, 600)
        for label, value in (("opacity", "0.50"), ("cut", "0.00"), ("window", "255"), ("level", "128")):
            slider = opened.locator(".widget-slider", has_text=text[label]).first
            assert slider.locator(".widget-readout").inner_text() == value, label
        options = opened.locator(".widget-dropdown", has_text=text["image"]).first.locator("option")
        originals = (ROOT / "pneumonia_nbdev" / "sample" / "originals").rglob("*.jpeg")
        assert sorted(options.all_inner_texts()) == sorted(p.name for p in originals)
    written = {p.name for p in path.parent.rglob("*") if ".ipynb_checkpoints" not in p.parts} - {p.name for p in files}
    assert not written, written


def explorer_page(folder, pictures):
    "`pneumonia explore` with a case store"
    port = free_port()
    url = f"http://127.0.0.1:{port}/?token=local"
    program = [sys.executable, "-c", "from pneumonia_nbdev.cli.cli import main; main()"]
    options = ["--no-browser", "--port", port, "--reviews", folder / "reviews"]
    command = [*program, "explore", *options]
    with server(command, url, folder, JUPYTER_TOKEN="local"), page(WIDTH, 900) as opened:
        opened.goto(url, timeout=SLOW)
        review(opened, folder / "reviews")
        use_explorer(opened, pictures, "explorer-page")


def saved_cells(opened, path):
    "The code cells of the notebook after JupyterLab has saved it"
    opened.keyboard.press("Control+s")
    time.sleep(2)
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]


def wait_for_cells(opened, path, limit):
    "Wait until all cells have been run, and check that none has an error; returns the cells"
    end = time.monotonic() + limit
    while time.monotonic() < end:
        time.sleep(5)
        cells = saved_cells(opened, path)
        errors = [o for cell in cells for o in cell["outputs"] if o["output_type"] == "error"]
        assert not errors, f"{path.stem}: {errors[0]['ename']}: {errors[0]['evalue']}"
        if all(cell["execution_count"] for cell in cells):
            return cells
    n = sum(not cell["execution_count"] for cell in cells)
    raise AssertionError(f"{path.stem}: {n} cells were not run in {limit} s")


def clear_outputs(path):
    "Remove the outputs of a notebook"
    nb = json.loads(path.read_text(encoding="utf-8"))
    for cell in nb["cells"]:
        if cell["cell_type"] == "code":
            cell |= dict(outputs=[], execution_count=None)
    path.write_text(json.dumps(nb), encoding="utf-8")


def run_tutorial(name, folder, pictures, limit=1200):
    "Run a tutorial from its first cell to its last; returns the duration in seconds"
    shutil.copytree(ROOT / "nbs", folder / "nbs", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    path = folder / "nbs" / "tutorials" / f"{name}.ipynb"
    clear_outputs(path)
    with lab(folder, f"nbs/tutorials/{name}.ipynb") as opened:
        start = time.monotonic()
        opened.locator(".jp-Notebook").first.click(position=dict(x=5, y=5))
        run_all(opened)
        cells = wait_for_cells(opened, path, limit)
        seconds = time.monotonic() - start
        hide_file_browser(opened)
        opened.keyboard.press("Escape")
        screenshot(opened, pictures / f"lab-{name}.png")
        if name == "end_to_end" and any("GradCAMExplorer" in "".join(cell["source"]) for cell in cells):
            use_explorer(opened, pictures, "lab-explorer")
    return round(seconds)


# --- checks


def check_tutorials(keep=False):
    "All tutorials in JupyterLab; returns a line for the log"
    seconds = {}
    for name in TUTORIALS:
        with tempfile.TemporaryDirectory() as folder:
            pictures = ROOT / "nbs" / "images" if keep else Path(folder)
            seconds[name] = run_tutorial(name, Path(folder), pictures)
    return "in JupyterLab, seconds: " + ", ".join(f"{name} {value}" for name, value in seconds.items())


def check(keep=False):
    "The explorer in JupyterLab and on its own page; returns a line for the log"
    with tempfile.TemporaryDirectory() as temporary:
        pictures = ROOT / "nbs" / "images" if keep else Path(temporary)
        tests = dict(lab=explorer_in_lab, notebook=explorer_notebook, page=explorer_page)
        for name, test in tests.items():
            folder = Path(temporary) / name
            folder.mkdir()
            test(folder, pictures)
    return f"JupyterLab and the explorer's page, in {Path(chromium()).name}"


def main():
    if reason := missing():
        sys.exit(f"skipped: {reason}")
    if "--tutorials" in sys.argv:
        print(check_tutorials("--keep" in sys.argv))
    else:
        print(check("--keep" in sys.argv))


if __name__ == "__main__":
    main()
