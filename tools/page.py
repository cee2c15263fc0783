"""The page of `pneumonia serve`, driven by a real browser: one file, many, DICOM, bad files, 200 at once, both languages, a phone, no network, readings, axe.

    python tools/page.py [--keep]

Chromium is that of the system (`apt install chromium`); without it, or without Playwright, the check is skipped and says so.
`--keep` writes the pictures into the documentation; otherwise they go to a temporary folder.
"""

import json, sys, tempfile, time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from browser import ROOT, chromium, free_port, missing, page, server

SAMPLE = ROOT / "pneumonia_nbdev" / "sample"
COMMAND = [sys.executable, "-c", "from pneumonia_nbdev.cli.cli import main; main()", "serve"]


def dicom(path):
    "A DICOM file of a sample X-ray"
    import numpy as np, pydicom
    from PIL import Image
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    pixels = (
        np.asarray(Image.open(next((SAMPLE / "originals").rglob("person*.jpeg"))).convert("L")).astype(
            np.uint16
        )
        * 16
    )
    d = pydicom.Dataset()
    d.file_meta = pydicom.dataset.FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    d.file_meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID = generate_uid()
    d.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    d.Modality = "DX"
    d.BodyPartExamined = "CHEST"
    d.PatientName = "Nobody^At^All"
    d.Rows, d.Columns = pixels.shape
    d.SamplesPerPixel = 1
    d.PhotometricInterpretation = "MONOCHROME2"
    d.BitsAllocated = 16
    d.BitsStored = 12
    d.HighBit = 11
    d.PixelRepresentation = 0
    d.PixelData = pixels.tobytes()
    d.save_as(path, enforce_file_format=True)


def half(path, good):
    "Not even half of a chest; the network is sure of it, and nobody should be"
    from PIL import Image

    image = Image.open(good).convert("L")
    image.crop((0, 0, 500, image.height)).save(path)


def files(folder):
    "What is uploaded"
    good = sorted((SAMPLE / "originals").rglob("*.jpeg"))
    dicom(folder / "chest.dcm")
    (folder / "notes.png").write_text("to do: buy film")
    (folder / "empty.jpeg").write_bytes(b"")
    (folder / "cut.jpeg").write_bytes(good[0].read_bytes()[:9000])
    half(folder / "half.png", good[-1])
    (folder / "<img src=x onerror=alert(1)>.jpeg").write_bytes(good[1].read_bytes())
    (folder / '=cmd, quoted ".jpeg').write_bytes(good[2].read_bytes())
    return good, [
        folder / n
        for n in (
            "chest.dcm",
            "notes.png",
            "empty.jpeg",
            "cut.jpeg",
            "half.png",
            "<img src=x onerror=alert(1)>.jpeg",
            '=cmd, quoted ".jpeg',
        )
    ]


@contextmanager
def opened_page(url, _=None, fine="ERR_CONNECTION_REFUSED", **kw):
    "The page, with nothing that goes elsewhere and nothing that complains"
    with page(**kw) as p:
        wrong = []
        p.on("pageerror", lambda e: wrong.append(str(e)))
        p.on("console", lambda m: m.type == "error" and fine not in m.text and wrong.append(m.text))
        p.on(
            "request",
            lambda r: r.url.startswith((url, f"blob:{url}", "data:")) or wrong.append(f"asks {r.url}"),
        )
        p.goto(url)
        p.locator("#samples button").first.wait_for()
        yield p
        assert not wrong, wrong


def until(p, truth, seconds=120):
    "Wait for something in the page; Playwright's own way needs `eval`, which the page forbids"
    end = time.monotonic() + seconds
    while not p.evaluate(truth):
        assert time.monotonic() < end, f"{truth} never came true"
        time.sleep(0.05)


def upload(p, paths):
    p.set_input_files("#files", [str(f) for f in paths])


def done(p, n, seconds=120):
    "Wait until so many files are settled"
    until(
        p,
        f"document.querySelector('#progress').hidden && document.querySelectorAll('tbody tr').length >= {n}",
        seconds,
    )


def axe(p, where):
    "No serious violation of accessibility"
    from axe_playwright_python.sync_playwright import Axe

    found = [v for v in Axe().run(p).response["violations"] if v["impact"] in ("serious", "critical")]
    assert not found, (where, [(v["id"], [n["html"][:120] for n in v["nodes"]][:3]) for v in found])


def rows(p):
    return p.locator("tbody tr").all_inner_texts()


def one(p, good):
    "A sample, by keyboard alone"
    p.locator("#samples button").last.focus()
    p.keyboard.press("Enter")
    done(p, 1)
    assert p.locator("#answer .word").inner_text() in ("Normal", "Pneumonia")
    assert p.locator(".review").count() == 0  # this server keeps nothing
    assert (
        "operating point" in p.locator("#answer .meter b").inner_text()
        and "Research tool" in p.locator("#answer").inner_text()
    )
    heat = p.locator(".heat")
    until(
        p,
        "document.querySelector('.heat').naturalWidth === 112 && document.querySelector('.xray').naturalWidth > 0 && document.querySelector('.layers').style.width",
    )
    p.locator("#opacity").focus()
    p.keyboard.press("Home")
    assert heat.evaluate("e => e.style.opacity") == "0"
    width = p.locator(".layers").bounding_box()["width"]
    p.locator("#stages").focus()
    p.keyboard.press("+")
    p.keyboard.press("ArrowLeft")
    assert p.locator(".layers").bounding_box()["width"] > width * 1.2
    p.locator("#window").focus()
    p.keyboard.press("ArrowLeft")
    assert float(p.locator("#wl feFuncR").get_attribute("slope")) > 1
    p.click("#side")
    assert p.locator("#stages .stage").count() == 2
    p.click("#side")
    p.click("#reset")
    until(
        p,
        f"Math.abs(document.querySelector('.layers').getBoundingClientRect().width - {width}) < 1 && document.querySelector('#wl feFuncR').getAttribute('slope') === '1'",
    )


def many(p, good, odd):
    "Good, bad and hostile ones together; the table, its filters and what is taken home"
    upload(p, good + odd)
    done(p, 1 + len(good) + len(odd))
    said = "\n".join(rows(p))
    assert said.count("this file cannot be read as an image") == 3, said
    assert "<img src=x onerror=alert(1)>.jpeg" in said and p.locator("img[src=x]").count() == 0
    p.locator("tbody button.row", has_text="chest.dcm").click()
    assert (
        p.locator(".xray").first.evaluate(
            "async e => { await e.decode(); return e.src.startsWith('data:image/jpeg') && e.naturalWidth }"
        )
        > 300
    )
    p.locator("tbody button.row", has_text="half.png").click()
    assert all(
        "Refer to a reader" in text
        for text in (p.locator("#answer").inner_text(), next(r for r in rows(p) if "half.png" in r))
    )
    p.select_option("#show", "failed")
    assert len(rows(p)) == 3
    p.select_option("#show", "")
    p.fill("#search", "dcm")
    assert len(rows(p)) == 1
    p.fill("#search", "")
    p.locator("th[data-sort=p] button").click()
    p.locator("th[data-sort=p] button").click()
    chances = [
        float(t)
        for t in p.locator("tbody td:nth-child(3)").all_inner_texts()
        if t.strip() and "<" not in t and ">" not in t
    ]
    assert (
        chances == sorted(chances, reverse=True)
        and p.locator("th[data-sort=p]").get_attribute("aria-sort") == "descending"
    )
    with p.expect_download() as got:
        p.click("#csv")
    table = Path(got.value.path()).read_text(encoding="utf-8-sig")
    assert (
        table.count("unreadable_image") == 3
        and "'=cmd, quoted" in table
        and ",refer,not_chest_like," in next(line for line in table.splitlines() if "half.png" in line)
    ), table
    p.evaluate(
        "window.print = () => { window.printed = document.querySelectorAll('#report article').length }"
    )
    p.click("#print")
    until(p, "window.printed")
    assert p.evaluate("window.printed") == 1 + len(good) + len(odd)
    upload(p, [good[4]])
    until(
        p, f"document.querySelector('#case-title').textContent === {json.dumps(good[4].name)}"
    )  # the newest is on the screen
    done(p, 2 + len(good) + len(odd))
    p.evaluate(
        """() => { const d = new DataTransfer(); d.items.add(new File(["x"], "a folder")); Object.defineProperty(d.files[0], "slice", { value: () => { throw new Error("a folder") } }); dispatchEvent(new DragEvent("drop", { dataTransfer: d })) }"""
    )
    done(p, 3 + len(good) + len(odd))


def languages(p):
    "Every word changes, results included"
    p.locator("tbody button.row", has_text="person72").first.click()
    p.select_option("#lang", "zh")
    text = p.locator("main").inner_text()
    assert "肺炎" in text and "仅供研究" in text and "无法读取该图像" in text and "Choose files" not in text
    assert (
        "训练全部层" in text and "约登指数" in text and "Youden" not in text and "layers trained" not in text
    )  # what the card says of itself, too
    assert p.evaluate("document.documentElement.lang") == "zh"
    p.select_option("#lang", "en")


def crowd(p, folder, good):
    "Two hundred files at once; the progress is the server's"
    paths = []
    for k in range(200):
        paths.append(folder / f"{k:03}.jpeg")
        paths[-1].write_bytes(good[k % len(good)].read_bytes())
    p.click("#clear")
    p.evaluate(
        "window.seen = new Set(); new MutationObserver(() => seen.add(document.querySelector('#bar').value)).observe(document.querySelector('#progress-text'), {childList: true, characterData: true, subtree: true})"
    )
    upload(p, paths)
    done(p, 200, 300)
    assert p.evaluate("seen.size") > 60, p.evaluate(
        "seen.size"
    )  # verdicts that arrive together are drawn together
    until(
        p, "document.querySelector('#live').textContent.startsWith('Files: 200;')"
    )  # said when the last request has ended, a moment after its last line
    assert p.locator("#live").inner_text().endswith(", 0 failed"), (
        p.locator("#live").inner_text(),
        [r for r in rows(p) if "verdict" in r or "busy" in r][:3],
    )
    upload(p, paths)
    p.click("#clear")
    upload(p, paths[:3])
    done(p, 3)
    time.sleep(0.5)
    assert (
        len(rows(p)) == 3 and len({r.split()[0] for r in rows(p)}) == 3
    )  # nothing of what was cleared comes back
    p.click("#clear")
    assert rows(p) == [] and p.locator("#case").is_hidden()


def interface(p, url):
    "The documentation of the interface, without a network"
    p.goto(url + "/docs")
    p.locator(".opblock-summary-path", has_text="/batch_predict").first.wait_for()


def with_key(folder, good):
    "With an API key, the page shows the dialog once, and then works"
    port = free_port()
    with (
        server([*COMMAND, "--port", port], f"http://127.0.0.1:{port}/", folder, PNEUMONIA_API_KEY="s3cret"),
        page() as p,
    ):
        p.goto(f"http://127.0.0.1:{port}/")
        p.locator("#key-value").fill("wrong")
        p.locator("#key button").click()
        p.locator("#wrong").wait_for()
        p.locator("#key-value").fill("s3cret")
        p.locator("#key button").click()
        p.locator("#samples button").first.click()
        done(p, 1)
        assert p.locator("#answer .word").inner_text() in ("Normal", "Pneumonia")


def writing(path, good):
    "An X-ray with text in its picture"
    from PIL import Image, ImageDraw

    image = Image.open(good).convert("L")
    image.thumbnail((700, 700))
    ImageDraw.Draw(image).text((20, 20), "ERIKA MUSTERMANN 1964", fill=255, font_size=26)
    image.save(path)
    return path


def says(p, text, seconds=30):
    until(p, f"document.querySelector('.review .message')?.textContent.includes({json.dumps(text)})", seconds)


def readings(folder, good, shoot):
    "A server with reviews: saved, deleted, text in the image, refused; by keyboard, in both languages, dark, on a phone"
    from pneumonia_nbdev.deployment.case_store import CaseStore

    port = free_port()
    kept = folder / "readings"
    url = f"http://127.0.0.1:{port}"
    store = CaseStore(kept)
    known = store.add(good[1], label="NORMAL", reader="before")
    with (
        server([*COMMAND, "--port", port, "--reviews", kept], url, folder) as running,
        opened_page(url, running, "status of 500") as p,
    ):
        assert "unless you save a review" in p.locator(".notice").first.inner_text()
        upload(p, good[:1])
        done(p, 1)
        assert p.locator(".review button:visible").all_inner_texts() == [
            "Normal",
            "Pneumonia",
            "Unsure",
            "Save, review later",
        ]
        p.locator(".review button").first.focus()
        p.keyboard.press("Enter")
        says(p, "Saved.")
        assert (store.counts()["cases"], "Saved." in p.locator("#live").inner_text()) == (2, True)
        p.get_by_role("button", name="Undo").click()
        says(p, "Deleted")
        assert (store.counts()["cases"], p.evaluate("document.activeElement.textContent")) == (1, "Normal")
        p.get_by_label("Your name or initials").fill("Dr. A 王")
        p.get_by_label("Patient number").fill("PN-4711-0815")
        p.get_by_label("Comment").fill("左下 left lower zone")
        p.get_by_role("button", name="Pneumonia", exact=True).click()
        says(p, "Saved.")
        assert (
            p.locator(".review [aria-pressed=true]").inner_text() == "Pneumonia"
            and p.get_by_label("Comment").input_value() == ""
        )
        p.get_by_role("button", name="Unsure").click()
        until(
            p,
            "document.querySelector('.review [aria-pressed=true]').textContent === 'Unsure' && document.querySelector('.review').ariaBusy === 'false'",
        )
        assert [(r["label"], r["comment"], r["reader"]) for r in store.reviews()][1:] == [
            ("PNEUMONIA", "左下 left lower zone", "Dr. A 王"),
            ("UNSURE", "", "Dr. A 王"),
        ]
        axe(p, "a reading, light")
        p.locator("#case").scroll_into_view_if_needed()
        shoot(p, "page-reading")
        first = store.reviews()[-1]["case_id"]
        store.add_review(first, "NORMAL", "meanwhile")
        p.get_by_role("button", name="Undo").click()
        says(p, "was deleted")
        assert [r["reader"] for r in store.reviews(first)] == ["Dr. A 王", "meanwhile"] and p.locator(
            ".review [aria-pressed=true]"
        ).inner_text() == "Pneumonia"  # the last one only
        upload(p, good[1:2])
        done(p, 2)
        assert [p.get_by_label(n).input_value() for n in ("Your name or initials", "Patient number")] == [
            "Dr. A 王",
            "",
        ]  # the one stays, the other is the image's
        p.get_by_label("Patient number").fill("PN-4711-0815")
        p.get_by_role("button", name="Normal", exact=True).click()
        says(p, "Saved.")
        assert len(store.reviews(known.id)) == 2 and store.case(known.id).patient == store.case(
            first
        ).patient not in (known.id, first)  # one person, two images
        p.get_by_role("button", name="Undo").click()
        says(p, "was deleted")
        assert [r["reader"] for r in store.reviews(known.id)] == ["before"]
        waiting = store.add(good[3])
        upload(p, good[3:4])
        done(p, 3)
        p.get_by_role("button", name="Normal", exact=True).click()
        says(p, "Saved.")
        assert (
            len(store.reviews(waiting.id)) == 1 and p.get_by_role("button", name="Undo").is_hidden()
        )  # it was there before, and must not go
        upload(p, [writing(folder / "text.png", good[2])])
        done(p, 4)
        p.get_by_role("button", name="Save, review later").click()
        says(p, "seems to contain text")
        assert (
            p.get_by_role("button", name="Undo").is_visible()
            and p.get_by_role("button", name="Save, review later").is_hidden()
        )
        p.select_option("#lang", "zh")
        p.select_option("#theme", "dark")
        says(p, "图像中似乎有文字")
        axe(p, "a reading, dark, zh")
        p.set_viewport_size(dict(width=390, height=844))
        assert p.evaluate("document.documentElement.scrollWidth") <= 390, "wider than the phone"
        p.locator(".review").scroll_into_view_if_needed()
        axe(p, "a reading, phone")
        shoot(p, "page-reading-phone")
        p.evaluate(
            "window.print = () => { window.printed = document.querySelectorAll('#report .review').length + 1 }"
        )
        p.click("#print")
        until(p, "window.printed")
        assert p.evaluate("window.printed") == 1  # no buttons on paper
        assert not any(
            b"4711-0815" in f.read_bytes() for f in kept.iterdir()
        ) and "PN-4711" not in p.evaluate("JSON.stringify({...sessionStorage, ...localStorage})")
        p.select_option("#lang", "en")
        (kept / "reviews.db").write_bytes(b"damaged " * 999)
        p.get_by_role("button", name="Normal", exact=True).click()
        says(p, "Not saved: this case store cannot be used")
    assert not any(
        n.encode() in (folder / "server.log").read_bytes()
        for n in ("left lower", "4711-0815", "Dr. A", good[0].name)
    )


def stopped(p, good):
    "A server that doesn't respond is reported, and a file can be sent again"
    upload(p, good[:2])
    until(
        p, "document.querySelector('#progress').hidden && document.querySelectorAll('tr .failed').length == 2"
    )
    assert (
        "no response" in p.locator("#answer").inner_text()
        and p.get_by_role("button", name="Try again").is_visible()
    )


def check(keep=False):
    "Everything; returns a line for the log"
    with tempfile.TemporaryDirectory() as d:
        folder = Path(d)
        pictures = ROOT / "nbs" / "images" if keep else folder

        def shoot(p, name):
            p.screenshot(path=pictures / f"{name}.jpg", type="jpeg", quality=80)

        good, odd = files(folder)
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        with (
            ExitStack() as servers,
            opened_page(
                url,
                servers.enter_context(server([*COMMAND, "--port", port], url, folder)),
                width=1280,
                height=860,
            ) as p,
        ):
            one(p, good)
            axe(p, "one, light")
            p.evaluate("scrollTo(0, 0)")
            shoot(p, "page")
            many(p, good, odd)
            axe(p, "many, light")
            languages(p)
            p.select_option("#lang", "zh")
            p.select_option("#theme", "dark")
            axe(p, "many, dark, zh")
            p.locator("tbody button.row", has_text="person72").first.click()
            p.evaluate("scrollTo(0, 0)")
            shoot(p, "page-zh")
            p.set_viewport_size(dict(width=390, height=844))
            axe(p, "phone")
            assert p.evaluate("document.documentElement.scrollWidth") <= 390, "wider than the phone"
            shoot(p, "page-phone")
            p.set_viewport_size(dict(width=1280, height=860))
            p.select_option("#lang", "en")
            p.select_option("#theme", "auto")
            crowd(p, folder, good)
            servers.close()
            stopped(p, good)
        with server([*COMMAND, "--port", port], url, folder), opened_page(url) as p:
            interface(p, url)
        with_key(folder, good)
        readings(folder, good, shoot)
    return "the page, in " + Path(chromium()).name


if __name__ == "__main__":
    if reason := missing():
        sys.exit(f"skipped: {reason}")
    print(check("--keep" in sys.argv))
