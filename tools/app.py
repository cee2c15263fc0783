"""Run the browser app in Chromium, and compare its results with those of Python: `make test-app`.

    python tools/app.py [--only NAME] [--images N] [--threads] [--shots FOLDER] [--out FILE]

- `parity`: probability, result, referral and reasons of the sample and, if the folder of PNEUMONIA_SHARED exists, of
  N images of original size (200 by default) and of all DICOM files;
- `other`: a model without maps, groups and findings, and one in 8 bits;
- `install`: manifest, icons and service worker as a browser requires them, and a first load of at most 12 MB;
- `offline`: the app starts and predicts after the server has ended, and sends no request;
- `update`: a half-published version isn't used; a complete one replaces all files at once;
- `many`: 50 images in a row, with bounded memory, and a page that stays responsive;
- `bad`: damaged files and formats that the app can't read;
- `storage`: a browser that permits no storage;
- `photo`: a photo of a film is referred;
- `pages`: both languages, a phone, accessibility (axe);
- `served`: `/app/` of `pneumonia serve`, with threads.

`--out` writes the measurements as JSON; those of other tests in the file stay. Without Chromium or Playwright, the
tests are skipped.
"""

import argparse
import hashlib
import http.server
import json
import os
import random
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

from browser import ARGS, ROOT, chromium, free_port, missing, server, wait_until

from pneumonia_nbdev.app.build import app_files
from pneumonia_nbdev.app.parity import compare, parity_summary
from pneumonia_nbdev.app.routes import APP_HEADERS, content_type
from pneumonia_nbdev.core.base import InputError, sample_dir
from pneumonia_nbdev.core.bundle import Bundle
from pneumonia_nbdev.core.card import GENERATED_KEYS
from pneumonia_nbdev.core.i18n import texts
from pneumonia_nbdev.core.image import read_xray
from pneumonia_nbdev.core.packing import read_bundle, write_bundle
from pneumonia_nbdev.core.prediction import Prediction

SLOW = 120_000  # milliseconds
MOST_BLOCKED = 0.2  # share of the time in which the page doesn't react
MOST_TIME = 4  # time of an image, relative to that of the networks; decoding grows with the size of the image
SHARED = Path(os.environ.get("PNEUMONIA_SHARED", ROOT.parent / "shared"))
ISOLATED = {**APP_HEADERS, "Cross-Origin-Opener-Policy": "same-origin"}
TINY = ROOT / "nbs" / "fixtures" / "v0_1" / "tiny.bundle"
PHONE = dict(width=390, height=844)
RESULT = """i => ({name: i.name, error: i.error, ...(i.result && {...i.result, preview: null, heatmap: null,
    opacity_map: null, lungs: null, heat: i.result.heatmap && Array.from(i.result.heatmap.values)})})"""

OBSERVE_LONG_TASKS = """() => {
    globalThis.long = [];
    const observer = new PerformanceObserver(list => long.push(...list.getEntries().map(e => e.duration)));
    observer.observe({type: 'longtask'});
}"""


# --- the app in a browser


class AppServer:
    "A static server of files in memory, with a list of the requests"

    def __init__(self, files, headers=None, port=0):
        self.files = files
        self.log = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.partition("?")[0].lstrip("/") or "index.html"
                outer.log.append((self.command, self.path))
                content = outer.files.get(name)
                self.send_response(404 if content is None else 200)
                self.send_header("Content-Type", content_type(name))
                self.send_header("Content-Length", str(len(content or b"")))
                for key, value in (headers or {}).items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(content or b"")

            do_POST = do_GET  # noqa: N815 (name of the base class)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.http.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def stop(self):
        self.http.shutdown()
        self.http.server_close()


@contextmanager
def profile(**options):
    "A browser with a new profile"
    from playwright.sync_api import sync_playwright

    options = dict(viewport=dict(width=1280, height=860)) | options
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            folder, executable_path=chromium(), headless=True, args=ARGS, **options
        )
        try:
            yield context
        finally:
            context.close()


def until(page, expression, seconds=SLOW / 1000):
    "Wait until an expression is true; the policy of the page forbids the function of Playwright for it"
    end = time.monotonic() + seconds
    while True:
        try:
            if page.evaluate(expression):
                return
        except Exception as error:  # the page is loading again
            if "context was destroyed" not in str(error) and "navigation" not in str(error):
                raise
        assert time.monotonic() < end, f"not true in {seconds} s: {expression}"
        time.sleep(0.05)


def open_app(context, url, expected="offline"):
    "A page of the app that is ready"
    page = context.new_page()
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda m: page.problems.append(m.text) if m.type == "error" else None)
    page.goto(url)
    until(page, "document.documentElement.dataset.ready")
    state = page.evaluate("document.documentElement.dataset.ready")
    assert state == expected, (state, page.locator("#state").inner_text(), page.problems)
    return page


def predict(page, paths, control="#files"):
    "The results of files that are chosen in the page, in order"
    first = page.evaluate("pneumonia.items.length")
    page.set_input_files(control, [str(path) for path in paths])
    done = f"pneumonia.items.length >= {first + len(paths)} && pneumonia.items.every(i => i.result || i.error)"
    until(page, done, 2 * SLOW / 1000)
    return page.evaluate(f"pneumonia.items.slice({first}).map({RESULT})")


def in_python(bundle, path):
    "The same fields as computed by Python"
    try:
        quality, outputs = bundle.infer(read_xray(path))
    except InputError as error:
        return dict(error=error.code)
    result = Prediction.from_outputs(bundle, quality, outputs).with_raw()
    return {
        "raw": result.probabilities["PNEUMONIA"],
        "class": result["class"],
        "refer": result.refer,
        "reasons": result.quality.reasons,
        "threshold": result.threshold,
        "group": result.group,
        "metrics": quality.measures,
        "findings": [(f.name, f.present) for f in result.findings or ()],
        "heat": None if result.heatmap is None else result.heatmap.ravel().tolist(),
    }


# --- images


def originals(n):
    "Shared images of original size, the same ones in each run: (kind, path)"
    data = SHARED / "data"
    groups = {
        "original size, children": sorted((data / "originals").rglob("*.jpeg")),
        "adults, 512 pixels": [
            path for name in ("rsna_adult", "nih", "jsrt/images") for path in sorted((data / name).rglob("*.*g"))
        ],
        "no frontal chest X-ray": sorted(
            p for p in (data / "ood").rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png")
        ),
    }
    found = [("original size, children", path) for path in groups["original size, children"]]
    found += [("no frontal chest X-ray", path) for path in groups["no frontal chest X-ray"]]
    adults = random.Random(0).sample(
        groups["adults, 512 pixels"], max(0, min(n - len(found), len(groups["adults, 512 pixels"])))
    )
    return (found + [("adults, 512 pixels", path) for path in sorted(adults)])[:n]


def formats(folder):
    "One X-ray of the sample in each format of pictures, with and without colors, turned, and with 16 bits"
    import numpy as np
    from PIL import Image

    source = Image.open(next((sample_dir() / "originals").rglob("*.jpeg"))).convert("L")
    small = source.resize((700, 560))
    files = {
        "gray.png": (small, {}),
        "rgb.png": (small.convert("RGB"), {}),
        "lossless.webp": (small.convert("RGB"), dict(lossless=True)),
        "lossy.webp": (small.convert("RGB"), dict(quality=90)),
        "gray.bmp": (small, {}),
        "rgb.jpeg": (small.convert("RGB"), dict(quality=90)),
        "progressive.jpeg": (small, dict(quality=90, progressive=True)),
        "deep.png": (Image.fromarray(np.asarray(small).astype(np.uint16) * 200 + 17), {}),
        "tall.png": (small.resize((301, 517)), {}),  # Pillow resizes its height first
        "clear.png": (Image.merge("LA", (small, Image.new("L", small.size, 255))), {}),
    }
    for name, (image, options) in files.items():
        image.save(folder / name, **options)
    exif = Image.Exif()
    exif[274] = 6
    small.rotate(90, expand=True).save(folder / "turned.jpeg", quality=92, exif=exif)
    return [("formats", path) for path in sorted(folder.iterdir())]


def dicom_files(folder):
    "DICOM files: made from the sample in each supported form, and the shared ones"
    import numpy as np
    import pydicom
    from PIL import Image
    from pydicom.encaps import encapsulate
    from pydicom.uid import (
        DeflatedExplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        JPEGBaseline8Bit,
    )

    image = Image.open(next((sample_dir() / "originals").rglob("person*.jpeg"))).convert("L")
    levels = np.asarray(image)
    deep = levels.astype(np.uint16) * 16
    forms = {
        "explicit": (ExplicitVRLittleEndian, deep, {}),
        "implicit": (ImplicitVRLittleEndian, levels, dict(PatientAge="045Y", ViewPosition="PA")),
        "deflated": (DeflatedExplicitVRLittleEndian, deep, dict(PatientAge="003Y", ViewPosition="AP")),
        "window": (
            ExplicitVRLittleEndian,
            deep,
            dict(WindowCenter="2000", WindowWidth="3000", RescaleSlope="1", RescaleIntercept="-100"),
        ),
        "inverted": (ExplicitVRLittleEndian, 4095 - deep, dict(PhotometricInterpretation="MONOCHROME1")),
        "signed": (
            ExplicitVRLittleEndian,
            (deep.astype(np.int32) - 2048).astype(np.int16),
            dict(PixelRepresentation=1),
        ),
        "padding": (ExplicitVRLittleEndian, np.pad(deep, 30, constant_values=0), dict(PixelPaddingValue=0)),
        "spine": (ExplicitVRLittleEndian, deep, dict(BodyPartExamined="LSPINE")),
        "lateral": (ExplicitVRLittleEndian, deep, dict(ViewPosition="LL")),
        "baseline": (JPEGBaseline8Bit, levels, {}),
    }
    for name, (syntax, samples, more) in forms.items():
        d = pydicom.Dataset()
        d.file_meta = pydicom.dataset.FileMetaDataset()
        d.file_meta.TransferSyntaxUID = syntax
        d.SOPClassUID = d.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
        d.SOPInstanceUID = d.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        d.Modality, d.BodyPartExamined = "DX", "CHEST"
        d.Rows, d.Columns = samples.shape
        d.SamplesPerPixel = 1
        d.BitsAllocated = 8 * samples.itemsize
        d.BitsStored = 8 if samples.itemsize == 1 else 12
        d.HighBit = d.BitsStored - 1
        d.PixelRepresentation = 0
        d.PhotometricInterpretation = "MONOCHROME2"
        for keyword, value in more.items():
            setattr(d, keyword, value)
        if syntax == JPEGBaseline8Bit:
            encoded = folder / "baseline.jpeg"
            image.save(encoded, quality=92)
            d.PixelData = encapsulate([encoded.read_bytes()])
            d["PixelData"].is_undefined_length = True
            encoded.unlink()
        else:
            d.PixelData = np.ascontiguousarray(samples).tobytes()
        pydicom.dcmwrite(folder / f"{name}.dcm", d, enforce_file_format=True)
    shared = sorted((SHARED / "data" / "dicom").glob("*.dcm"))
    return [("DICOM", path) for path in [*sorted(folder.glob("*.dcm")), *shared]]


# --- tests; each returns a dictionary of measurements


def test_parity(files, args):
    "Python and the app give the same results"
    bundle = Bundle()
    app = AppServer(files)
    with tempfile.TemporaryDirectory() as name, profile() as context:
        pictures, headers = Path(name) / "pictures", Path(name) / "dicom"
        pictures.mkdir()
        headers.mkdir()
        cases = [("sample, original size", path) for path in sorted((sample_dir() / "originals").rglob("*.jpeg"))]
        cases += [("sample, 224 pixels", path) for path in sorted((sample_dir() / "test").rglob("*.jpeg"))]
        cases += formats(pictures) + dicom_files(headers)
        cases += originals(args.images) if SHARED.is_dir() else []
        page = open_app(context, app.url)
        rows = []
        for start in range(0, len(cases), 20):
            batch = cases[start : start + 20]
            found = predict(page, [path for _, path in batch])
            for (kind, path), actual in zip(batch, found, strict=True):
                rows.append(dict(kind=kind, file=path.name) | compare(in_python(bundle, path), actual))
            page.click("#clear")
        assert not page.problems, page.problems
    app.stop()
    for row in rows:
        if row["differs"]:
            print("  differs:", {k: v for k, v in row.items() if k in ("kind", "file", "difference", "differs")})
    summary = parity_summary(rows)
    for kind, figures in summary.items():
        print(f"  {kind}: {figures}")
    both = summary["all"]
    assert both["largest difference"] <= 0.01, both
    assert both["same result"] >= 0.99 and both["same referral"] >= 0.99 and both["same reasons"] >= 0.99, both
    return summary


def test_other(files, args):
    "A small model without maps, groups and findings, and the default model in 8 bits, give the results of Python"
    card, parts = read_bundle(TINY)
    card = {key: value for key, value in card.items() if key not in GENERATED_KEYS}
    card["input"] = card["input"] | dict(jpeg=None)
    cases = sorted((sample_dir() / "originals").rglob("*.jpeg"))
    differences = {}
    with tempfile.TemporaryDirectory() as name:
        small = write_bundle(Path(name) / "small.bundle", parts.pop("model.tflite"), card, parts)
        for label, bundle in dict(small=Bundle(small), int8=Bundle("int8")).items():
            app = AppServer(app_files(bundle))
            with profile() as context:
                page = open_app(context, app.url)
                rows = [
                    compare(in_python(bundle, path), actual)
                    for path, actual in zip(cases, predict(page, cases), strict=True)
                ]
                assert not page.problems, page.problems
            app.stop()
            assert not [row for row in rows if row["differs"]], (label, rows)
            differences[label] = round(max(row["difference"] for row in rows), 6)
    assert max(differences.values()) <= 0.01, differences
    return dict(files=len(cases), largest_difference=differences)


def test_install(files, args):
    "A browser can install the app; the first load is small"
    app = AppServer(files, ISOLATED)
    with profile() as context:
        page = open_app(context, app.url)
        session = context.new_cdp_session(page)
        manifest = session.send("Page.getAppManifest")
        assert not manifest["errors"], manifest["errors"]
        problems = session.send("Page.getInstallabilityErrors")["installabilityErrors"]
        assert not [p for p in problems if p["errorId"] != "in-incognito"], problems
        entries = json.loads(manifest["data"])
        for entry in entries["icons"]:
            assert entry["src"] in files, entry
        assert page.evaluate("navigator.serviceWorker.controller !== null")
        names = {path.partition("?")[0].lstrip("/") or "index.html" for _, path in app.log}
        size = sum(
            len(files[path.partition("?")[0].lstrip("/") or "index.html"])
            for _, path in app.log
            if path.partition("?")[0].lstrip("/") in {*files, ""}
        )
        large = [name for name in names if len(files.get(name, b"")) > 10**6]
        times = {name: sum(p.partition("?")[0].lstrip("/") == name for _, p in app.log) for name in large}
        assert set(times.values()) == {1}, f"loaded more than once: {times}"
        assert size <= 12e6, size
    app.stop()
    return dict(first_load_mb=round(size / 1e6, 2), requests=len(app.log), icons=len(entries["icons"]))


def test_offline(files, args):
    "The app works after the server has ended, and sends nothing"
    app = AppServer(files, ISOLATED)
    image = next((sample_dir() / "originals").rglob("person*.jpeg"))
    with profile() as context:
        page = open_app(context, app.url)
        before = len(app.log)
        (online,) = predict(page, [image])
        assert len(app.log) == before, app.log[before:]
        app.stop()
        page.close()
        requests = []
        context.on("request", lambda r: requests.append(r.url) if not r.url.startswith(("blob:", app.url)) else None)
        start = time.monotonic()
        page = open_app(context, app.url)
        seconds = time.monotonic() - start
        (offline,) = predict(page, [image])
        assert offline["raw"] == online["raw"], (offline["raw"], online["raw"])
        assert not requests, requests
        refused = page.evaluate("fetch('/predict', {method: 'POST', body: 'x'}).then(() => 'sent', () => 'refused')")
        elsewhere = page.evaluate("fetch('https://example.org/').then(() => 'sent', () => 'refused')")
        assert (refused, elsewhere) == ("refused", "refused")
    return dict(ready_offline_seconds=round(seconds, 2))


def caches(page):
    "The names of the caches, and the number of files of each"
    return page.evaluate("""async () => Object.fromEntries(await Promise.all((await caches.keys()).map(
        async name => [name, (await (await caches.open(name)).keys()).length])))""")


def test_update(files, args):
    "A version with a missing or an older file isn't used; a complete one replaces all files"
    newer = app_files(Bundle("int8"))
    app = AppServer(dict(files))
    old = json.loads(files["model.json"])
    new = json.loads(newer["model.json"])
    image = next((sample_dir() / "originals").rglob("person*.jpeg"))
    check = "navigator.serviceWorker.getRegistration().then(r => r.update()).then(() => 'ok', e => String(e))"
    with profile() as context:
        page = open_app(context, app.url)
        (before,) = predict(page, [image])
        first = caches(page)
        app.files = {**newer, "model.tflite.pack": files["model.tflite.pack"]}  # half published
        page.evaluate(check)
        until(page, "navigator.serviceWorker.getRegistration().then(r => !r.installing)")
        assert page.evaluate("navigator.serviceWorker.getRegistration().then(r => r.waiting === null)")
        assert page.locator("#update").is_hidden()
        until(page, "caches.keys().then(names => names.length === 1)")
        assert caches(page) == first, (caches(page), first)
        page.reload()
        until(page, "document.documentElement.dataset.ready === 'offline'")
        assert old["id"] in page.locator("#model").inner_text()
        app.files = newer
        page.evaluate(check)
        page.locator("#update").wait_for(state="visible", timeout=SLOW)
        assert old["id"] in page.locator("#model").inner_text()  # the page goes on with its version
        (during,) = predict(page, [image])
        assert during["raw"] == before["raw"]
        page.click("#reload")
        until(page, f"document.querySelector('#model').textContent.includes('{new['id']}')")
        (after,) = predict(page, [image])
        assert page.evaluate("document.documentElement.dataset.version") == new["version"]
        found = caches(page)
        assert len(found) == 1 and new["version"] in next(iter(found)), found
    app.stop()
    return dict(old=old["version"], new=new["version"], difference=round(abs(after["raw"] - before["raw"]), 4))


def memory_of(context_pid):
    "Memory of the browser with all of its processes, in MB"
    import psutil

    browser = psutil.Process(context_pid)
    total = 0
    for process in [browser, *browser.children(recursive=True)]:
        with suppress(psutil.Error):  # it has ended
            total += process.memory_info().rss
    return total / 1e6


def browser_pid():
    "The process of the browser that this process has started"
    import psutil

    children = psutil.Process().children(recursive=True)
    return next(p.pid for p in children if "chrom" in p.name() and "--type=" not in " ".join(p.cmdline()))


def test_many(files, args):
    "50 images in a row: bounded memory, short tasks of the page, and little time beside the network"
    app = AppServer(files, ISOLATED if args.threads else None)
    paths = (
        [path for _, path in originals(50)]
        if SHARED.is_dir()
        else sorted((sample_dir() / "originals").rglob("*.jpeg")) * 7
    )
    with profile() as context:
        page = open_app(context, app.url)
        page.evaluate(OBSERVE_LONG_TASKS)
        predict(page, paths[:10])
        pid = browser_pid()
        first = memory_of(pid)
        found = []
        bare = []
        elapsed = 0
        page.evaluate("long.length = 0")
        for start in range(10, 50, 10):  # the network alone is timed between the images
            bare.append(page.evaluate("pneumonia.ask('time', {rounds: 5})"))
            begin = time.monotonic()
            found += predict(page, paths[start : start + 10])
            elapsed += time.monotonic() - begin
        last = memory_of(pid)
        long_tasks = [0, *page.evaluate("long")]
        assert not [r["error"] for r in found if r.get("error")], found
        alone = median(sum(pair) for times in bare for pair in zip(times["model"], times["view"], strict=True))
        parts = {name: round(median(r["seconds"][name] for r in found) / alone, 2) for name in found[0]["seconds"]}
        megapixels = median(r["size"]["width"] * r["size"]["height"] for r in found) / 1e6
        isolated = page.evaluate("crossOriginIsolated")
    app.stop()
    assert last < 1.3 * first, (first, last)
    blocked = sum(long_tasks) / 1000 / elapsed
    assert blocked <= MOST_BLOCKED, (blocked, long_tasks)  # nearly 1 if the page itself did the work
    assert parts["all"] <= MOST_TIME, parts
    return dict(
        images=50,
        memory_growth=round(last / first, 3),
        longest_task_ms=round(max(long_tasks)),
        time_in_long_tasks=round(blocked, 3),
        image_to_networks=parts["all"],
        parts={name: value for name, value in parts.items() if name != "all"},
        networks_ms=round(1000 * alone),
        megapixels=round(megapixels, 1),
        isolated=isolated,
    )


def test_bad(files, args):
    "Bad files are errors with a code, and the next file works"
    image = next((sample_dir() / "originals").rglob("person*.jpeg"))
    raw = image.read_bytes()
    big = b"BM" + bytes(16) + (60_000).to_bytes(4, "little") * 2 + bytes(60)
    contents = {
        "empty.png": (b"", "unreadable_image"),
        "text.jpeg": (b"not an image at all", "unreadable_image"),
        "cut.jpeg": (raw[: len(raw) // 2], "unreadable_image"),
        "head.jpeg": (raw[:300], "unreadable_image"),
        "cut.png": (b"\x89PNG\r\n\x1a\n" + bytes(60), "unreadable_image"),
        "scan.tiff": (b"II*\0" + bytes(60), "app_format"),
        "many.zip": (b"PK\x03\x04" + bytes(60), "app_format"),
        "large.bmp": (big, "too_large"),
        "cut.dcm": (bytes(128) + b"DICM" + bytes(20), "unreadable_image"),
    }
    app = AppServer(files)
    with tempfile.TemporaryDirectory() as name, profile() as context:
        paths = []
        for file, (content, _) in contents.items():
            paths.append(Path(name) / file)
            paths[-1].write_bytes(content)
        page = open_app(context, app.url)
        found = predict(page, [*paths, image])
        codes = {r["name"]: (r.get("error") or {}).get("code") for r in found}
        expected = {file: code for file, (_, code) in contents.items()} | {image.name: None}
        assert codes == expected, {k: (v, expected[k]) for k, v in codes.items() if v != expected[k]}
        assert found[-1]["class"] == "PNEUMONIA"
        page.locator("#list button").first.click()
        assert texts("errors")["unreadable_image"] in page.locator("#answer").inner_text()
        page.wait_for_timeout(200)
        assert not page.problems, page.problems
    app.stop()
    return dict(files=len(contents))


NO_STORAGE = """
Object.defineProperty(window, 'indexedDB', {get() { throw new DOMException('no', 'SecurityError'); }});
Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError'); }});
delete Object.getPrototypeOf(navigator).serviceWorker;
"""


def test_storage(files, args):
    "Without storage, the app works with a network; the history is off by default, and can be exported and deleted"
    image = next((sample_dir() / "originals").rglob("person*.jpeg"))
    app = AppServer(files)
    with profile() as context:
        context.add_init_script(NO_STORAGE)
        page = open_app(context, app.url, "online")
        (found,) = predict(page, [image])
        page.click("#history summary")
        page.click("#keep")
        page.locator("#no-storage").wait_for(state="visible")
        assert not page.locator("#keep").is_checked() and found["class"] == "PNEUMONIA"
        assert not page.problems, page.problems
    stored = "indexedDB.databases().then(d => d.length)"
    with profile(accept_downloads=True) as context:
        page = open_app(context, app.url)
        predict(page, [image])
        assert page.evaluate(stored) == 0, "something was stored before the history was switched on"
        page.click("#history summary")
        page.click("#keep")
        predict(page, [image, image])
        wait_until(lambda: "2" in page.locator("#kept").inner_text(), "the history isn't counted", 10)
        with page.expect_download() as download:
            page.click("#history-csv")
        lines = Path(download.value.path()).read_text(encoding="utf-8-sig").splitlines()
        assert len(lines) == 3 and image.name in lines[1] and "PNEUMONIA" in lines[1], lines
        page.click("#history-clear")
        wait_until(lambda: "0" in page.locator("#kept").inner_text(), "the history isn't deleted", 10)
        page.click("#keep")
        predict(page, [image])
        assert page.locator("#kept").inner_text() == ""
    app.stop()
    return dict(rows=len(lines) - 1)


def photo_by_camera(folder, image):
    "An X-ray of the sample with the EXIF block of a camera"
    from PIL import Image

    exif = Image.Exif()
    exif.get_ifd(0x8769)[33434] = 0.01  # exposure time in seconds
    path = Path(folder) / "camera.jpeg"
    Image.open(image).save(path, quality=95, exif=exif)
    return path


def test_photo(files, args):
    "A photo gets no class and is referred; one that is chosen as a file, too, by its EXIF block"
    image = next((sample_dir() / "originals").rglob("person*.jpeg"))
    app = AppServer(files)
    with tempfile.TemporaryDirectory() as folder, profile() as context:
        page = open_app(context, app.url)
        assert page.get_attribute("#photo", "capture") == "environment"
        results = predict(page, [image], "#photo") + predict(page, [photo_by_camera(folder, image)])
        for found in results:
            assert (found["class"], found["refer"], found["reason"]) == (None, True, "photo"), found
            assert found["probability"] is None and found["heat"] is None
        shown = page.locator("#answer").inner_text()
        assert texts("app")["about_photo"] in shown and texts("page")["refer"] in shown
    app.stop()
    return dict(photos=len(results))


def test_pages(files, args):
    "Both languages, a desktop and a phone: nothing is cut off, and axe finds no problem"
    shots = Path(args.shots) if args.shots else None
    images = [next((sample_dir() / "originals").rglob(pattern)) for pattern in ("person*.jpeg", "*IM*.jpeg")]
    app = AppServer(files)
    problems = []
    with profile() as context:
        for size, viewport in dict(desktop=dict(width=1280, height=860), phone=PHONE).items():
            for lang in ("en", "zh"):
                page = open_app(context, app.url)
                page.set_viewport_size(viewport)
                page.select_option("#lang", lang)
                if shots:
                    page.screenshot(path=shots / f"app_start_{size}_{lang}.png", full_page=True)
                predict(page, images)
                page.wait_for_timeout(300)
                width = page.evaluate("document.documentElement.scrollWidth")
                assert width <= viewport["width"], (size, lang, width)
                assert texts("page", lang)["PNEUMONIA"] in page.locator("#answer").inner_text()
                if shots:
                    page.screenshot(path=shots / f"app_result_{size}_{lang}.png", full_page=True)
                page.click("#history summary")
                predict(page, images[:1], "#photo")
                page.locator("#list button").last.click()
                page.wait_for_timeout(300)
                if shots:
                    page.screenshot(path=shots / f"app_photo_{size}_{lang}.png", full_page=True)
                problems += accessibility(page, f"{size} {lang}")
                assert not page.problems, page.problems
                page.close()
    app.stop()
    assert not problems, problems
    return {}


def accessibility(page, name):
    "Problems that axe finds; none without axe"
    try:
        from axe_playwright_python.sync_playwright import Axe
    except ImportError:
        print("  axe-playwright-python isn't installed; accessibility isn't tested")
        return []
    page.evaluate("1")
    found = Axe().run(page).response["violations"]
    return [f"{name}: {v['id']} {[n['target'] for n in v['nodes']][:3]}" for v in found]


def test_served(files, args):
    "`pneumonia serve` offers the app with threads; its results are those of one thread"
    image = next((sample_dir() / "originals").rglob("person*.jpeg"))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        sys.executable,
        "-c",
        "from pneumonia_nbdev.cli.cli import main; main()",
        "serve",
        "--threads",
        "1",
        "--port",
        port,
    ]
    plain = AppServer(files)
    with (
        tempfile.TemporaryDirectory() as folder,
        server(command, f"{url}/health/ready", folder),
        profile() as context,
    ):
        page = open_app(context, f"{url}/app/")
        assert page.evaluate("crossOriginIsolated")
        (threaded,) = predict(page, [image])
        fast = median(page.evaluate("pneumonia.ask('time', {rounds: 15})")["model"])
        single_page = open_app(context, plain.url)
        assert not single_page.evaluate("crossOriginIsolated")
        (single,) = predict(single_page, [image])
        slow = median(single_page.evaluate("pneumonia.ask('time', {rounds: 15})")["model"])
        difference = abs(threaded["raw"] - single["raw"])
        assert difference < 1e-3, (threaded["raw"], single["raw"])
        assert not page.problems, page.problems
    plain.stop()
    return dict(difference=float(f"{difference:.2g}"), threads_to_one=round(fast / slow, 2))


TESTS = dict(
    parity=test_parity,
    other=test_other,
    install=test_install,
    offline=test_offline,
    update=test_update,
    many=test_many,
    bad=test_bad,
    storage=test_storage,
    photo=test_photo,
    pages=test_pages,
    served=test_served,
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=list(TESTS))
    parser.add_argument("--images", type=int, default=200, help="shared images of the comparison")
    parser.add_argument("--threads", action="store_true", help="measure `many` on an isolated page")
    parser.add_argument("--shots", help="folder for screenshots")
    parser.add_argument("--out", help="file for the measurements")
    args = parser.parse_args()
    if reason := missing():
        print(f"skipped: {reason}")
        return 0
    files = app_files(Bundle())
    digest = hashlib.sha256(files["sw.js"]).hexdigest()[:12]
    earlier = Path(args.out) if args.out else None
    measured = json.loads(earlier.read_text(encoding="utf-8")) if earlier and earlier.exists() else {}
    measured["app"] = digest
    failed = 0
    for name in args.only or TESTS:
        start = time.time()
        try:
            measured[name] = TESTS[name](files, args)
            state = "ok"
        except AssertionError as error:
            failed += 1
            state = "FAIL"
            message = str(error)
        note = message if state == "FAIL" else measured[name].get("all", measured[name])
        print(f"{state:4} {time.time() - start:6.1f} s  {name}  {note}", flush=True)
        if args.out and state == "ok":
            Path(args.out).write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    print(f"{len(args.only or TESTS) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
