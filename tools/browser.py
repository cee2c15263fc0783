"""The explorer in real JupyterLab and as a page of its own, driven by a real browser; pictures go to `nbs/images`.

    python tools/browser.py [--book] [--keep]

Chromium is that of the system (`apt install chromium`); without it, or without Playwright, the check is skipped and says so.
`--keep` writes the pictures into the documentation; otherwise they go to a temporary folder.
`--book` opens the tutorials instead, runs all their cells as a reader would, and reads what JupyterLab saved.
"""

import json, os, shutil, socket, subprocess, sys, tempfile, time, urllib.request
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
PICTURE = ".explorer-picture-0"


def missing():
    "Why the browser cannot be driven here; empty when it can"
    if not chromium():
        return "no chromium"
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "no playwright"
    return ""


def chromium():
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextmanager
def server(command, url, folder, **env):
    "A server that is ready, and is ended afterwards"
    log = (Path(folder) / "server.log").open("w")
    process = subprocess.Popen(
        list(map(str, command)),
        cwd=folder,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **env},
        start_new_session=True,
    )
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(url, timeout=60).read()
                break
            except OSError:
                assert process.poll() is None, Path(log.name).read_text()[-2000:]
                time.sleep(1)
        else:
            raise AssertionError(f"{url} did not come up: {Path(log.name).read_text()[-2000:]}")
        yield
    finally:
        os.killpg(process.pid, 15)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
        log.close()


@contextmanager
def page(width=1280, height=860):
    "A page of a fresh browser"
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as d, sync_playwright() as p:
        context = p.chromium.launch_persistent_context(
            d, executable_path=chromium(), headless=True, args=ARGS, viewport=dict(width=width, height=height)
        )
        opened = context.pages[0] if context.pages else context.new_page()
        try:
            yield opened
        finally:
            context.close()


def picture(opened, k=0):
    "The bytes of the picture on the screen"
    return opened.locator(f".explorer-picture-{k}").first.evaluate("""async img => { const b = await (await fetch(img.src)).arrayBuffer();
        return Array.from(new Uint8Array(await crypto.subtle.digest('SHA-1', b))).join() }""")


def changes(opened, act, k=0):
    "Do something, and wait until another picture is there"
    before = picture(opened, k)
    act()
    for _ in range(1200):
        time.sleep(0.1)
        if picture(opened, k) != before:
            return
    raise AssertionError("the picture did not change")


def play(opened, folder, name):
    "Move sliders by keyboard, go through images, ask another method, upload a file; look at the picture each time"
    opened.locator(PICTURE).first.wait_for(timeout=180_000)
    opened.locator(PICTURE).first.scroll_into_view_if_needed()
    changes(opened, lambda: opened.get_by_role("button", name="next").first.click())
    slider = opened.locator(".widget-slider", has_text="opacity").locator(".noUi-handle")
    slider.focus()
    changes(opened, lambda: slider.press("ArrowRight"))
    slider = opened.locator(".widget-slider", has_text="cut").locator(".noUi-handle")
    slider.focus()
    changes(opened, lambda: [slider.press("ArrowRight") for _ in range(6)])
    image = opened.locator(".widget-dropdown", has_text="image").locator("select")
    changes(opened, lambda: image.select_option(index=0))
    method = opened.locator(".widget-dropdown", has_text="method").locator("select").first
    changes(opened, lambda: method.select_option("eigencam"))
    opened.get_by_text("side by side", exact=True).click()
    opened.locator(".explorer-picture-1").first.wait_for(state="visible", timeout=180_000)
    for _ in range(600):
        if picture(opened, 1) != picture(opened):
            break
        time.sleep(0.1)
    else:
        raise AssertionError("two methods, one picture")
    opened.screenshot(path=folder / f"{name}.png")
    opened.get_by_text("side by side", exact=True).click()
    with opened.expect_file_chooser() as chooser:
        opened.get_by_role("button", name="upload").first.click()
    changes(
        opened,
        lambda: chooser.value.set_files(
            str(next((ROOT / "pneumonia_nbdev" / "sample" / "test" / "NORMAL").glob("*.jpeg")))
        ),
    )
    with opened.expect_file_chooser() as chooser:
        opened.get_by_role("button", name="upload").first.click()
    chooser.value.set_files(str(ROOT / "README.md"))
    opened.get_by_text("unreadable_image").first.wait_for(timeout=30_000)


def say(opened, folder):
    "A reading with a comment, which arrives in the store"
    from pneumonia_nbdev.deployment.case_store import CaseStore

    opened.locator(PICTURE).first.wait_for(timeout=180_000)
    opened.get_by_role("button", name="Pneumonia", exact=True).click()
    opened.get_by_placeholder("optional; no names").fill("lower left")
    opened.keyboard.press("Tab")
    opened.get_by_placeholder("optional; your name or sign").fill("A. B.")
    opened.keyboard.press("Tab")
    opened.get_by_role("button", name="save reading").click()
    opened.get_by_text("reading saved").wait_for(timeout=30_000)
    assert [(r["label"], r["comment"], r["reader"]) for r in CaseStore(folder).reviews()] == [
        ("PNEUMONIA", "lower left", "A. B.")
    ]


@contextmanager
def lab(folder, notebook, height=1000):
    "JupyterLab on a folder, with a notebook open and its kernel ready"
    settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(
        '{"fetchNews": "false", "checkForUpdates": false}'
    )  # no question about news over the page
    (tracker := folder / "settings" / "@jupyterlab" / "notebook-extension").mkdir(parents=True)
    (tracker / "tracker.jupyterlab-settings").write_text(
        '{"windowingMode": "none"}'
    )  # cells out of sight are there too
    port = free_port()
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
    with server(command, f"http://127.0.0.1:{port}/api?token=local", folder), page(1500, height) as opened:
        opened.goto(f"http://127.0.0.1:{port}/lab/tree/{notebook}?token=local")
        opened.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=120_000)
        opened.get_by_text("| Idle").first.wait_for(
            timeout=120_000
        )  # before the kernel is there, nothing is run
        yield opened


def run_all(opened):
    "Run > Run All Cells, with the mouse"
    opened.get_by_role("menuitem", name="Run").first.click()
    opened.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def in_lab(folder, pictures):
    "A notebook with the explorer, opened and run in JupyterLab"
    source = "from pneumonia_nbdev.gradcam.explorer import GradCAMExplorer\nGradCAMExplorer()"
    cell = dict(cell_type="code", execution_count=None, id="explore", metadata={}, outputs=[], source=source)
    (folder / "explore.ipynb").write_text(
        json.dumps(
            dict(
                cells=[cell],
                metadata=dict(kernelspec=dict(name="python3", display_name="Python 3", language="python")),
                nbformat=4,
                nbformat_minor=5,
            )
        )
    )
    with lab(folder, "explore.ipynb") as opened:
        run_all(opened)
        opened.locator(PICTURE).first.wait_for(timeout=180_000)
        opened.keyboard.press("Control+b")  # the file browser away
        play(opened, pictures, "explorer")


def saved(opened, path):
    "The code cells as JupyterLab writes them to disk"
    opened.keyboard.press("Control+s")
    time.sleep(2)
    return [
        c
        for c in json.loads(path.read_text(encoding="utf-8"))["cells"]
        if c["cell_type"] == "code" and "".join(c["source"]).strip()
    ]


def read_tutorial(name, folder, pictures, limit=1200):
    "A tutorial from its first cell to its last; how many seconds it took"
    shutil.copytree(ROOT / "nbs", folder / "nbs", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    path = folder / "nbs" / "tutorials" / f"{name}.ipynb"
    nb = json.loads(path.read_text(encoding="utf-8"))
    for c in nb["cells"]:
        if c["cell_type"] == "code":
            c |= dict(outputs=[], execution_count=None)  # what is seen afterwards was made here
    path.write_text(json.dumps(nb))
    with lab(folder, f"nbs/tutorials/{name}.ipynb") as opened:
        start = time.time()
        opened.locator(".jp-Notebook").first.click(position=dict(x=5, y=5))
        run_all(opened)
        while time.time() - start < limit:
            time.sleep(5)
            cells = saved(opened, path)
            wrong = [o for c in cells for o in c["outputs"] if o["output_type"] == "error"]
            assert not wrong, f"{name}: {wrong[0]['ename']}: {wrong[0]['evalue']}"
            if all(c["execution_count"] for c in cells):
                break
        else:
            raise AssertionError(
                f"{name}: {sum(not c['execution_count'] for c in cells)} cells were not run in {limit} s"
            )
        took = time.time() - start
        opened.keyboard.press("Control+b")
        opened.keyboard.press("Escape")
        opened.screenshot(path=pictures / f"lab-{name}.png")
        if name == "end_to_end" and any("GradCAMExplorer" in "".join(c["source"]) for c in cells):
            play(opened, pictures, "lab-explorer")
    return round(took)


def book(keep=False, names=("ten_lines", "end_to_end", "own_data")):
    "The tutorials in JupyterLab; returns a line for the log"
    took = {}
    for name in names:
        with tempfile.TemporaryDirectory() as d:
            took[name] = read_tutorial(name, Path(d), ROOT / "nbs" / "images" if keep else Path(d))
    return "in JupyterLab, seconds: " + ", ".join(f"{k} {v}" for k, v in took.items())


def in_voila(folder, pictures):
    "`pneumonia explore`, opened in a browser"
    port = free_port()
    command = [
        sys.executable,
        "-c",
        "from pneumonia_nbdev.cli.cli import main; main()",
        "explore",
        "--no-browser",
        "--port",
        port,
        "--reviews",
        folder / "readings",
    ]
    with server(command, f"http://127.0.0.1:{port}/", folder), page(1250, 900) as opened:
        opened.goto(f"http://127.0.0.1:{port}/", timeout=180_000)
        say(opened, folder / "readings")
        play(opened, pictures, "explorer-page")


def check(keep=False):
    "Both; returns a line for the log"
    with tempfile.TemporaryDirectory() as d:
        pictures = ROOT / "nbs" / "images" if keep else Path(d)
        for name, run in (("lab", in_lab), ("voila", in_voila)):
            (folder := Path(d) / name).mkdir()
            run(folder, pictures)
    return "JupyterLab and the explorer's page, in " + Path(chromium()).name


if __name__ == "__main__":
    if reason := missing():
        sys.exit(f"skipped: {reason}")
    print((book if "--book" in sys.argv else check)("--keep" in sys.argv))
