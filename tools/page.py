"""Test the page of `pneumonia serve` in a real browser.

    python tools/page.py [--keep]

The test covers one file, many files, DICOM, malformed files, 200 files at once, both languages, a phone, reviews, API
keys, a path of a proxy, the worklist, accessibility (axe) and a server that stops. No request may leave the server.
The browser is the Chromium of the system (`apt install chromium`). Without it, or without Playwright, the test is
skipped. `--keep` writes the screenshots to `nbs/images`.
"""

import csv
import json
import re
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

from browser import ROOT, chromium, free_port, missing, page, server

from pneumonia_nbdev.core.bundle import Bundle
from pneumonia_nbdev.core.finding_entries import UNSURE, choose_entries
from pneumonia_nbdev.core.i18n import texts, translate
from pneumonia_nbdev.core.quality import NO_CLASS_REASONS

SAMPLE = ROOT / "pneumonia_nbdev" / "sample"
COMMAND = [sys.executable, "-c", "from pneumonia_nbdev.cli.cli import main; main()", "serve"]
TEXT = texts("page")
TEXT_ZH = texts("page", "zh")
LABELS = (TEXT["NORMAL"], TEXT["PNEUMONIA"])
UNREADABLE = translate("errors.unreadable_image")
DESKTOP = dict(width=1280, height=860)
PHONE = dict(width=390, height=844)


# --- files


def write_dicom(path, **elements):
    "A DICOM file with an X-ray of the sample, and further elements of its header"
    import numpy as np
    import pydicom
    from PIL import Image
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    image = Image.open(next((SAMPLE / "originals").rglob("person*.jpeg"))).convert("L")
    pixels = np.asarray(image).astype(np.uint16) * 16
    d = pydicom.Dataset()
    d.file_meta = pydicom.dataset.FileMetaDataset()
    d.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
    d.SOPInstanceUID = generate_uid()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.file_meta.MediaStorageSOPClassUID = d.SOPClassUID
    d.file_meta.MediaStorageSOPInstanceUID = d.SOPInstanceUID
    d.Modality = "DX"
    d.BodyPartExamined = "CHEST"
    d.PatientName = "Nobody^At^All"
    for keyword, value in elements.items():
        setattr(d, keyword, value)
    d.Rows, d.Columns = pixels.shape
    d.SamplesPerPixel = 1
    d.PhotometricInterpretation = "MONOCHROME2"
    d.BitsAllocated = 16
    d.BitsStored = 12
    d.HighBit = 11
    d.PixelRepresentation = 0
    d.PixelData = pixels.tobytes()
    d.save_as(path, enforce_file_format=True)


def write_half(path, source):
    "Less than half of a chest: the network is certain, but the image isn't assessed"
    from PIL import Image

    image = Image.open(source).convert("L")
    image.crop((0, 0, 500, image.height)).save(path)


def write_with_text(path, source):
    "An X-ray with a name in the image"
    from PIL import Image, ImageDraw

    image = Image.open(source).convert("L")
    image.thumbnail((700, 700))
    ImageDraw.Draw(image).text((20, 20), "ERIKA MUSTERMANN 1964", fill=255, font_size=26)
    image.save(path)


def make_files(folder):
    "Paths of good files, and of unusual ones: three of them are unreadable"
    good = sorted((SAMPLE / "originals").rglob("*.jpeg"))
    write_dicom(folder / "chest.dcm")
    write_dicom(folder / "adult.dcm", PatientAge="054Y", ViewPosition="AP")
    write_half(folder / "half.png", good[-1])
    contents = {
        "notes.png": b"to do: buy film",
        "empty.jpeg": b"",
        "cut.jpeg": good[0].read_bytes()[:9000],
        "<img src=x onerror=alert(1)>.jpeg": good[1].read_bytes(),
        '=cmd, quoted ".jpeg': good[2].read_bytes(),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return good, [folder / name for name in ("chest.dcm", "adult.dcm", "half.png", *contents)]


# --- the page


@contextmanager
def opened_page(url, ignored="ERR_CONNECTION_REFUSED", **viewport):
    "The page; at the end, there must be no errors and no requests to other sites"
    wrong = []
    origin = "/".join(url.split("/")[:3])

    def on_console(message):
        if message.type == "error" and ignored not in message.text:
            wrong.append(message.text)

    def on_request(request):
        if not request.url.startswith((url, f"blob:{origin}/", "data:")):
            wrong.append(f"request to {request.url}")

    with page(**viewport) as p:
        p.on("pageerror", lambda error: wrong.append(str(error)))
        p.on("console", on_console)
        p.on("request", on_request)
        p.goto(url)
        p.locator("#samples button").first.wait_for()
        yield p
        assert not wrong, wrong


def until(p, condition, seconds=120):
    "Wait for a JavaScript condition; Playwright's function for this needs `eval`, which the page forbids"
    end = time.monotonic() + seconds
    while not p.evaluate(condition):
        assert time.monotonic() < end, f"not true in {seconds} s: {condition}"
        time.sleep(0.05)


def upload(p, paths):
    "Choose files"
    p.set_input_files("#files", [str(path) for path in paths])


def wait_for_results(p, n, seconds=120):
    "Wait until no file is in progress and the table has at least n rows"
    rows = "document.querySelectorAll('tbody tr').length"
    until(p, f"document.querySelector('#progress').hidden && {rows} >= {n}", seconds)


def check_accessibility(p, state):
    "axe finds no serious problem"
    from axe_playwright_python.sync_playwright import Axe

    found = [v for v in Axe().run(p).response["violations"] if v["impact"] in ("serious", "critical")]
    summary = [(v["id"], [node["html"][:120] for node in v["nodes"]][:3]) for v in found]
    assert not found, (state, summary)


def check_width(p):
    "The page isn't wider than the phone"
    width = p.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE["width"], f"{width} pixels"


def table_rows(p):
    "The texts of the rows"
    return p.locator("tbody tr").all_inner_texts()


def select_row(p, name):
    "Select a file in the table"
    p.locator("tbody button.row", has_text=name).first.click()


def show_top(p):
    "Scroll to the top"
    p.evaluate("scrollTo(0, 0)")


def check_label(p):
    "The result is one of the classes"
    label = p.locator("#answer .word").inner_text()
    assert label in LABELS, label


def check_printed_report(p, selector, expected):
    "Print the report; `expected` elements of it match the selector"
    count = f"document.querySelectorAll('{selector}').length"
    p.evaluate(f"() => {{ window.printed = null; window.print = () => {{ window.printed = {count} }} }}")
    p.click("#print")
    until(p, "window.printed !== null")
    assert p.evaluate("window.printed") == expected, p.evaluate("window.printed")


# --- tests


def one_file(p):
    "A sample, by the keyboard"
    p.locator("#samples button").last.focus()
    p.keyboard.press("Enter")
    wait_for_results(p, 1)
    check_label(p)
    assert p.locator(".review").count() == 0  # this server stores no reviews
    point = TEXT["point"].partition("{")[0].strip()
    assert point in p.locator("#answer .meter b").inner_text()
    assert TEXT["notice"] in p.locator("#answer").inner_text()


def viewer(p):
    "Opacity of the map, zoom, window, two pictures side by side, and reset"
    until(p, "document.querySelector('.heat')?.naturalWidth > 0")
    until(p, "document.querySelector('.xray').naturalWidth > 0 && document.querySelector('.layers').style.width")
    p.locator("#opacity").focus()
    p.keyboard.press("Home")
    assert p.locator(".heat").evaluate("e => e.style.opacity") == "0"
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
    until(p, f"Math.abs(document.querySelector('.layers').getBoundingClientRect().width - {width}) < 1")
    until(p, "document.querySelector('#wl feFuncR').getAttribute('slope') === '1'")


def shown_map(p, width, about):
    "Wait for a map of this width in pixels, and check the text about it"
    until(p, f"document.querySelector('#stages .heat').naturalWidth === {width}")
    assert p.locator("#about-map").inner_text() == about


def choose_map(p):
    "The opacity map is shown first, and Grad-CAM is chosen by the keyboard; a model without opacity map has no choice"
    if "opacity_map" not in Bundle().outputs:
        assert p.locator("#map").is_hidden()
        shown_map(p, 112, TEXT["maps"])
        return
    shown_map(p, 224, TEXT["opacity_maps"])
    p.locator("#map input").first.focus()
    p.keyboard.press("ArrowRight")
    shown_map(p, 112, TEXT["maps"])
    p.select_option("#lang", "zh")
    shown_map(p, 112, TEXT_ZH["maps"])
    p.select_option("#lang", "en")
    p.get_by_label(TEXT["opacity_map"], exact=True).check()
    shown_map(p, 224, TEXT["opacity_maps"])


def many_files(p, good, unusual):
    "Good and unusual files together: results, names and warnings"
    upload(p, good + unusual)
    wait_for_results(p, 1 + len(good) + len(unusual))
    text = "\n".join(table_rows(p))
    assert text.count(UNREADABLE) == 3, text
    assert "<img src=x onerror=alert(1)>.jpeg" in text and p.locator("img[src=x]").count() == 0
    select_row(p, "chest.dcm")
    script = "async e => { await e.decode(); return e.src.startsWith('data:image/jpeg') && e.naturalWidth }"
    assert p.locator(".xray").first.evaluate(script) > 300  # the preview of the server


def without_class(p, screenshot):
    "An image that isn't assessed: label and reason, but no number, no bar and no map; and a filter"
    select_row(p, "half.png")
    answer = p.locator("#answer")
    reason = p.locator("#answer li").first.inner_text()
    assert reason in {translate(f"quality.{code}") for code in NO_CLASS_REASONS}, reason
    for expected in (TEXT["not_assessed"], TEXT["refer"]):
        assert expected in answer.inner_text(), expected
    assert p.locator("#answer .meter, #stages .heat").count() == 0
    assert TEXT["probability"] not in answer.inner_text()
    assert p.locator("#opacity").is_hidden() and p.locator("#map").is_hidden()
    check_accessibility(p, "an image that isn't assessed")
    show_top(p)
    screenshot(p, "page-not-assessed")
    p.select_option("#show", "not_assessed")
    (row,) = table_rows(p)
    assert "half.png" in row and TEXT["not_assessed"] in row and reason in row and "0." not in row, row
    assert p.locator("tbody .meter").count() == 0
    p.select_option("#show", "quality")
    assert "half.png" not in "".join(table_rows(p))  # not only a warning
    p.select_option("#show", "")
    assert f"1 {TEXT['only_not_assessed']}" in p.locator("#counts").inner_text()
    p.locator("tbody tr", has_text="chest.dcm").locator("td").last.click()  # anywhere in the row
    assert p.locator("#answer div.meter").count() == 1 and p.locator("#opacity").is_visible()


def table(p):
    "Filters, search and sorting"
    p.select_option("#show", "failed")
    assert len(table_rows(p)) == 3
    p.select_option("#show", "")
    p.fill("#search", "chest.dcm")
    assert len(table_rows(p)) == 1
    p.fill("#search", "")
    p.locator("th[data-sort=p] button").click()
    p.locator("th[data-sort=p] button").click()
    cells = p.locator("tbody td:nth-child(3)").all_inner_texts()
    probabilities = [float(cell) for cell in cells if re.fullmatch(r"\s*[\d.]+\s*", cell)]
    assert probabilities == sorted(probabilities, reverse=True), probabilities
    assert p.locator("th[data-sort=p]").get_attribute("aria-sort") == "descending"


def prediction_of(path):
    "The prediction of a file with all findings, by the same model in this process"
    from pneumonia_nbdev.deployment.predictor import PneumoniaDetectionSystem

    return PneumoniaDetectionSystem(findings="all").predict(path)


def state_of(finding):
    "The text of the page for a finding that is present, absent or unsure"
    if finding.present == UNSURE:
        return TEXT["finding_unsure"]
    return TEXT["finding_present" if finding.present else "finding_absent"]


def check_finding_columns(rows, adult):
    "The CSV file has two columns for each finding, with the values of the prediction"
    names = [name.removesuffix("_present") for name in rows["adult.dcm"] if name.endswith("_present")]
    known = [entry["name"] for entry in choose_entries(Bundle().card, "all")]
    given = [finding.name for finding in adult.findings or ()]
    assert set(given) <= set(names) and names == [name for name in known if name in names], names
    for finding in adult.findings or ():
        row = rows["adult.dcm"]
        assert abs(float(row[finding.name]) - finding.probability) < 1e-3, (finding, row)
        assert row[f"{finding.name}_present"] == str(finding.present).lower(), (finding, row)
        assert rows["half.png"][finding.name] == rows["half.png"][f"{finding.name}_present"] == ""


def findings_of_adult(p, adult):
    "Chips with state and probability, a map for each by the keyboard, and the experimental ones in a closed section"
    select_row(p, "adult.dcm")
    chips = p.locator("#answer .chip")
    expected = [f for f in adult.findings or () if f.name != "pneumonia"]
    expected.sort(key=lambda finding: finding.experimental)
    assert chips.count() == len(expected), chips.count()
    if not Bundle().card.get("findings"):
        assert p.locator(".findings").count() == 0 and p.locator("#finding").is_hidden()
        return
    n_experimental = sum(finding.experimental for finding in expected)
    assert p.locator("#answer .chip:visible").count() == len(expected) - n_experimental
    if n_experimental:
        p.locator(".findings summary").focus()
        p.keyboard.press("Enter")
    for chip, finding in zip(chips.all(), expected, strict=True):
        text = chip.inner_text()
        assert finding.label in text and state_of(finding) in text, text
        assert abs(float(re.search(r"\d\.\d+", text)[0]) - finding.probability) < 2e-3, (text, finding)
        if chip.get_attribute("aria-pressed") == "false":
            chip.focus()
            p.keyboard.press("Enter")
        pressed = p.locator("#answer .chip[aria-pressed=true]")
        assert pressed.count() == 1 and finding.label in pressed.inner_text()
        assert p.evaluate("document.activeElement.dataset.finding") in (None, finding.name)
        chosen = p.locator("#map input:checked").get_attribute("value")
        about = TEXT["opacity_maps" if chosen == "opacity_map" else "finding_maps" if chosen == "finding" else "maps"]
        shown_map(p, 224 if chosen == "opacity_map" else 112, about)
    check_accessibility(p, "findings")
    select_row(p, "half.png")
    assert p.locator(".findings").count() == 0
    select_row(p, "adult.dcm")
    if p.locator("#map").is_visible():
        first = p.locator("#map input:visible").first
        first.check()
        chosen = first.get_attribute("value")
        pressed = p.locator("#answer .chip[aria-pressed=true]").count()
        outputs = {entry["name"]: entry["output"] for entry in choose_entries(Bundle().card, "all")}
        assert pressed == sum(outputs[finding.name] == chosen for finding in expected), chosen


def filter_by_finding(p, adult):
    "A finding has its own column in the table, which sorts the files, and its states filter them"
    for finding in [f for f in adult.findings or () if f.name != "pneumonia"][:2]:
        p.select_option("#finding", finding.name)
        p.select_option("#state", "")
        row = p.locator("tbody tr", has_text="adult.dcm")
        assert state_of(finding) in row.locator("td").nth(3).inner_text(), row.inner_text()
        header = p.locator("th[data-sort=finding] button")
        assert header.inner_text() == finding.label
        header.click()
        header.click()
        numbers = [re.search(r"\d\.\d+", cell) for cell in p.locator("tbody td:nth-child(4)").all_inner_texts()]
        given = [float(number[0]) for number in numbers if number]
        assert given == sorted(given, reverse=True) and all(numbers[: len(given)]), numbers
        state = "unsure" if finding.present == UNSURE else "present" if finding.present else "absent"
        for choice, is_shown in ((state, True), ("absent" if finding.present else "present unsure", False)):
            p.select_option("#state", choice)
            assert ("adult.dcm" in "".join(table_rows(p))) == is_shown, choice
    if p.locator("#finding").is_visible():
        p.select_option("#finding", "")
        assert p.locator("#state").is_hidden() and p.locator("th[data-sort=finding]").is_hidden()


def downloads(p, n_files, adult):
    "The CSV file and the printed report"
    with p.expect_download() as download:
        p.click("#csv")
    text = Path(download.value.path()).read_text(encoding="utf-8-sig")
    assert text.count("unreadable_image") == 3 and "'=cmd, quoted" in text, text
    rows = {row["file"]: row for row in csv.DictReader(text.splitlines())}
    line = rows["half.png"]
    values = [line[name] for name in ("class", "label", "probability", "threshold", "refer")]
    assert values == ["", TEXT["only_not_assessed"], "", "", "refer"], line
    assert line["reason"] in NO_CLASS_REASONS, line
    check_finding_columns(rows, adult)
    check_printed_report(p, "#report article", n_files)
    first = p.locator("#report article").first  # images that aren't assessed come first
    assert "half.png" in first.text_content() and first.locator(".meter, .heat").count() == 0
    groups = p.locator("#report .group").all_text_contents()
    assert groups[0] == f"{TEXT['not_assessed']} (1)" and groups[-1] == f"{TEXT['group_failed']} (3)", groups


DROP_FOLDER = """() => {
    const data = new DataTransfer();
    data.items.add(new File(["x"], "a folder"));
    Object.defineProperty(data.files[0], "slice", { value: () => { throw new Error("a folder") } });
    dispatchEvent(new DragEvent("drop", { dataTransfer: data }));
}"""


def more_files(p, path, n_files):
    "A new file is shown at once; a dropped folder is an error of its own row"
    upload(p, [path])
    until(p, f"document.querySelector('#case-title').textContent === {json.dumps(path.name)}")
    wait_for_results(p, n_files + 1)
    p.evaluate(DROP_FOLDER)
    wait_for_results(p, n_files + 2)


def languages(p):
    "All texts of the page and of the results are translated, including those of the model card"
    select_row(p, "person72")
    p.select_option("#lang", "zh")
    text = p.locator("main").inner_text()
    for expected in (TEXT_ZH["PNEUMONIA"], TEXT_ZH["notice"], translate("errors.unreadable_image", "zh")):
        assert expected in text, expected
    for expected in ("带肺部与阴影图", "约登指数"):
        assert expected in text, expected
    for english in (TEXT["choose"], "Youden", "layers trained"):
        assert english not in text, english
    assert p.evaluate("document.documentElement.lang") == "zh"
    p.select_option("#lang", "en")


OBSERVE_PROGRESS = """
window.seen = new Set();
new MutationObserver(() => seen.add(document.querySelector('#bar').value))
    .observe(document.querySelector('#progress-text'), { childList: true, characterData: true, subtree: true });
"""


def many_at_once(p, folder, good):
    "200 files at once, with progress; nothing remains after `Clear`"
    paths = [folder / f"{k:03}.jpeg" for k in range(200)]
    for k, path in enumerate(paths):
        path.write_bytes(good[k % len(good)].read_bytes())
    p.click("#clear")
    p.evaluate(OBSERVE_PROGRESS)
    upload(p, paths)
    wait_for_results(p, len(paths), 300)
    # Results that arrive together are drawn together.
    assert p.evaluate("seen.size") > 60, p.evaluate("seen.size")
    # The summary appears when the last request has ended, a moment after its last line.
    until(p, "/\\d/.test(document.querySelector('#live').textContent)")
    summary = p.locator("#live").inner_text()
    failed = TEXT["finished"].rpartition(",")[2].format(failed=0)
    assert summary.startswith(f"Files: {len(paths)};") and summary.endswith(failed), summary
    upload(p, paths)
    p.click("#clear")
    upload(p, paths[:3])
    wait_for_results(p, 3)
    time.sleep(0.5)
    names = {row.split()[0] for row in table_rows(p)}
    assert len(table_rows(p)) == len(names) == 3, names
    p.click("#clear")
    assert table_rows(p) == [] and p.locator("#case").is_hidden()


def stopped_server(p, good):
    "Without a server, files fail with a message, and can be sent again"
    upload(p, good[:2])
    failed = "document.querySelectorAll('tr .failed').length == 2"
    until(p, f"document.querySelector('#progress').hidden && {failed}")
    assert TEXT["network"] in p.locator("#answer").inner_text()
    assert p.get_by_role("button", name=TEXT["retry"]).is_visible()


def api_documentation(p, url):
    "The documentation of the HTTP API"
    p.goto(url + "/docs")
    p.locator(".opblock-summary-path", has_text="/batch_predict").first.wait_for()


def below_a_path(folder):
    "The page and the documentation below the path of a proxy; no request may leave this path"
    port = free_port()
    place = f"http://127.0.0.1:{port}"
    url = f"{place}/xray/"
    with server([*COMMAND, "--port", port, "--root-path", "/xray"], f"{place}/", folder):
        with opened_page(url) as p:
            assert p.locator("#samples img").first.evaluate("image => image.naturalWidth") > 0
            p.locator("#samples button").first.click()
            wait_for_results(p, 1)
            check_label(p)
            p.get_by_role("link", name="API").click()
            p.locator(".opblock-summary-path", has_text="/batch_predict").first.wait_for()
            assert p.url == f"{url}docs" and p.locator(".servers select").input_value() == "/xray"
        with page() as p:
            p.goto(f"{place}/xray")  # is redirected
            p.locator("#samples button").first.wait_for()


def api_key(folder):
    "A server with an API key: the page shows a dialog until the key is right"
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    with server([*COMMAND, "--port", port], url, folder, PNEUMONIA_API_KEY="s3cret"), page() as p:
        p.goto(url)
        p.locator("#key-value").fill("wrong")
        p.locator("#key button").click()
        p.locator("#wrong").wait_for()
        p.locator("#key-value").fill("s3cret")
        p.locator("#key button").click()
        p.locator("#samples button").first.click()
        wait_for_results(p, 1)
        check_label(p)


# --- reviews


class ReviewPage:
    "The page of a server that stores reviews"

    def __init__(self, p, store):
        self.p = p
        self.store = store

    def button(self, key):
        return self.p.get_by_role("button", name=TEXT[key], exact=True)

    def field(self, key):
        return self.p.get_by_label(TEXT[key])

    def pressed(self):
        return self.p.locator(".review [aria-pressed=true]").inner_text()

    def wait_for_message(self, text):
        message = "document.querySelector('.review .message')"
        until(self.p, f"{message}?.textContent.includes({json.dumps(text.strip())})", 30)

    def upload(self, path, n_files):
        upload(self.p, [path])
        wait_for_results(self.p, n_files)

    def labels_of(self, case_id):
        return [(review["label"], review["reader"]) for review in self.store.reviews(case_id)]


def save_and_undo(view):
    "A review is saved by the keyboard and deleted again"
    p = view.p
    visible = p.locator(".review button:visible").all_inner_texts()
    assert visible == [TEXT[key] for key in ("NORMAL", "PNEUMONIA", "UNSURE", "later")], visible
    p.locator(".review button").first.focus()
    p.keyboard.press("Enter")
    view.wait_for_message(TEXT["saved"])
    assert view.store.counts()["cases"] == 2 and TEXT["saved"] in p.locator("#live").inner_text()
    view.button("undo").click()
    view.wait_for_message(TEXT["undone"])
    assert view.store.counts()["cases"] == 1
    assert p.evaluate("document.activeElement.textContent") == TEXT["NORMAL"]


def save_with_comment(view):
    "Name, patient number and comment are saved with a review; a second label is a second review"
    view.field("reader").fill("Dr. A 王")
    view.field("patient").fill("PN-4711-0815")
    view.field("comment").fill("左下 left lower zone")
    view.button("PNEUMONIA").click()
    view.wait_for_message(TEXT["saved"])
    assert view.pressed() == TEXT["PNEUMONIA"] and view.field("comment").input_value() == ""
    view.button("UNSURE").click()
    pressed = "document.querySelector('.review [aria-pressed=true]').textContent"
    idle = "document.querySelector('.review').ariaBusy === 'false'"
    until(view.p, f"{pressed} === {json.dumps(TEXT['UNSURE'])} && {idle}")
    stored = [(r["label"], r["comment"], r["reader"]) for r in view.store.reviews()]
    expected = [("PNEUMONIA", "左下 left lower zone", "Dr. A 王"), ("UNSURE", "", "Dr. A 王")]
    assert stored[1:] == expected, stored


def undo_last_only(view):
    "`Undo` deletes the last review of this page, not one that another reader saved meanwhile; returns the case"
    case_id = view.store.reviews()[-1]["case_id"]
    view.store.add_review(case_id, "NORMAL", "meanwhile")
    view.button("undo").click()
    view.wait_for_message(TEXT["taken_back"])
    assert view.labels_of(case_id) == [("PNEUMONIA", "Dr. A 王"), ("NORMAL", "meanwhile")]
    assert view.pressed() == TEXT["PNEUMONIA"]
    return case_id


def known_cases(view, known, other_case, good):
    "Cases that were stored before: their reviews and images are kept"
    view.upload(good[1], 2)
    # The name of the reader is kept; the patient number belongs to one image.
    assert view.field("reader").input_value() == "Dr. A 王" and view.field("patient").input_value() == ""
    view.field("patient").fill("PN-4711-0815")
    view.button("NORMAL").click()
    view.wait_for_message(TEXT["saved"])
    assert len(view.store.reviews(known.id)) == 2
    patients = [view.store.case(case_id).patient for case_id in (known.id, other_case)]
    assert patients[0] == patients[1] and patients[0] not in (known.id, other_case)
    view.button("undo").click()
    view.wait_for_message(TEXT["taken_back"])
    assert view.labels_of(known.id) == [("NORMAL", "before")]
    without_review = view.store.add(good[3])
    view.upload(good[3], 3)
    view.button("NORMAL").click()
    view.wait_for_message(TEXT["saved"])
    # `Undo` would delete the case with its only review.
    assert len(view.store.reviews(without_review.id)) == 1 and view.button("undo").is_hidden()


def burned_in_text(view, path):
    "An image with text is stored with a warning, in both languages"
    view.upload(path, 4)
    view.button("later").click()
    view.wait_for_message(TEXT["burned_in"])
    assert view.button("undo").is_visible() and view.button("later").is_hidden()
    view.p.select_option("#lang", "zh")
    view.p.select_option("#theme", "dark")
    view.wait_for_message(TEXT_ZH["burned_in"])
    check_accessibility(view.p, "a review, dark, zh")


def damaged_store(view):
    "A review that cannot be saved is an error"
    (view.store.folder / "reviews.db").write_bytes(b"damaged " * 999)
    view.button("NORMAL").click()
    view.wait_for_message(f"{TEXT['not_saved']} {translate('errors.bad_store')}")


def reviews(folder, good, screenshot):
    "A server that stores reviews, on a desktop and on a phone"
    from pneumonia_nbdev.deployment.case_store import CaseStore

    port = free_port()
    url = f"http://127.0.0.1:{port}"
    store = CaseStore(folder / "reviews")
    known = store.add(good[1], label="NORMAL", reader="before")
    command = [*COMMAND, "--port", port, "--reviews", store.folder]
    with server(command, url, folder), opened_page(url, ignored="status of 500") as p:
        view = ReviewPage(p, store)
        assert TEXT["privacy_kept"] in p.locator(".notice").first.inner_text()
        view.upload(good[0], 1)
        save_and_undo(view)
        save_with_comment(view)
        check_accessibility(p, "a review, light")
        p.locator("#case").scroll_into_view_if_needed()
        screenshot(p, "page-reading")
        case_id = undo_last_only(view)
        known_cases(view, known, case_id, good)
        write_with_text(folder / "text.png", good[2])
        burned_in_text(view, folder / "text.png")
        p.set_viewport_size(PHONE)
        check_width(p)
        p.locator(".review").scroll_into_view_if_needed()
        check_accessibility(p, "a review, phone")
        screenshot(p, "page-reading-phone")
        check_printed_report(p, "#report .review", 0)
        assert not any(b"4711-0815" in file.read_bytes() for file in store.folder.iterdir())
        assert "PN-4711" not in p.evaluate("JSON.stringify({...sessionStorage, ...localStorage})")
        p.select_option("#lang", "en")
        damaged_store(view)
    log = (folder / "server.log").read_bytes()
    found = [text for text in ("left lower", "4711-0815", "Dr. A", good[0].name) if text.encode() in log]
    assert not found, f"in the log: {found}"


def reader_keys(folder, path):
    "With reader keys, a review needs the key of a reader; the dialog can be left without one"
    from pneumonia_nbdev.deployment.readers import add_reader

    readers = folder / "readers.toml"
    key = add_reader(readers, "Dr. A")
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    command = [*COMMAND, "--port", port, "--reviews", folder / "keyed", "--readers", readers]
    with server(command, url, folder, PNEUMONIA_API_KEY="s3cret"), page() as p:
        p.goto(url)
        p.locator("#key-value").fill("s3cret")
        p.locator("#key button").click()
        p.locator("#samples button").first.wait_for()
        p.set_input_files("#files", path)
        wait_for_results(p, 1)
        assert p.get_by_label(TEXT["reader"]).count() == 0  # the name comes from the key
        p.locator(".review button").first.click()
        p.get_by_text(TEXT["reader_key"]).wait_for()
        p.keyboard.press("Escape")
        p.locator(".review .message.failed").wait_for()
        p.locator(".review button").first.click()
        p.locator("#key-value").fill(key)
        p.locator("#key button").click()
        p.locator(".review .message", has_text=TEXT["saved"]).wait_for()


# --- all tests


def anonymous_page(url, folder, screenshot, stop):
    "A server without reviews; `stop` stops it"
    good, unusual = make_files(folder)
    n_files = 1 + len(good) + len(unusual)
    with opened_page(url, **DESKTOP) as p:
        one_file(p)
        viewer(p)
        choose_map(p)
        check_accessibility(p, "one file, light")
        show_top(p)
        screenshot(p, "page")
        many_files(p, good, unusual)
        without_class(p, screenshot)
        table(p)
        adult = prediction_of(folder / "adult.dcm")
        findings_of_adult(p, adult)
        filter_by_finding(p, adult)
        downloads(p, n_files, adult)
        more_files(p, good[4], n_files)
        check_accessibility(p, "many files, light")
        languages(p)
        p.select_option("#lang", "zh")
        p.select_option("#theme", "dark")
        check_accessibility(p, "many files, dark, zh")
        select_row(p, "person72")
        show_top(p)
        screenshot(p, "page-zh")
        p.set_viewport_size(PHONE)
        check_accessibility(p, "many files, phone")
        check_width(p)
        screenshot(p, "page-phone")
        p.set_viewport_size(DESKTOP)
        p.select_option("#lang", "en")
        p.select_option("#theme", "auto")
        many_at_once(p, folder, good)
        stop()
        stopped_server(p, good)
    return good


def worklist(folder):
    "Results of a listener appear without a reload, sorted, in both languages"
    from pneumonia_nbdev.dicom.queue import DurableQueue, uid_key

    port = free_port()
    url = f"http://127.0.0.1:{port}"

    def finish(queue, uid, probability, **values):
        queue.add(uid, "1.2", b"image")
        class_ = None if probability is None else ("PNEUMONIA" if probability > 0.5 else "NORMAL")
        row = dict(accession=f"A-{uid}", patient="P-1", class_=class_, probability=probability)
        row |= dict(refer=False, reason=None)
        queue.finish(uid_key(uid), {}, [], summary=row | values)

    def rows(p):
        return p.evaluate("[...document.querySelectorAll('#worklist-rows tr')].map(r => r.cells[0].textContent)")

    shown = "document.querySelectorAll('#worklist-rows tr').length"
    with DurableQueue(folder / "queue", shown=3600) as queue:
        finish(queue, "1", 0.2)
        with server([*COMMAND, "--port", port, "--worklist", folder / "queue"], url, folder), opened_page(url) as p:
            until(p, f"{shown} == 1")
            assert not p.is_checked("#worklist-sound")
            finish(queue, "2", 0.9)
            finish(queue, "3", 0.6, refer=True)
            finish(queue, "4", None, reason="lateral")
            until(p, f"{shown} == 4", 10)
            assert rows(p) == ["A-3", "A-2", "A-1", "A-4"], rows(p)
            assert "ago" in p.locator("#worklist-rows tr").first.inner_text()
            check_accessibility(p, "worklist")
            p.select_option("#worklist-show", "PNEUMONIA")
            assert rows(p) == ["A-3", "A-2"]
            p.select_option("#worklist-show", "")
            p.fill("#worklist-search", "a-4")
            assert rows(p) == ["A-4"]
            p.fill("#worklist-search", "")
            p.select_option("#lang", "zh")
            until(p, "document.querySelector('#worklist-rows').textContent.includes('肺炎')", 20)
            p.check("#worklist-sound")
            finish(queue, "5", 0.95)
            until(p, f"{shown} == 5", 10)
            assert rows(p)[:2] == ["A-3", "A-5"]
            check_accessibility(p, "worklist, zh")


def check(keep=False):
    "All tests; returns a line for the log"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pictures = ROOT / "nbs" / "images" if keep else folder

        def screenshot(p, name):
            p.screenshot(path=pictures / f"{name}.jpg", type="jpeg", quality=80)

        port = free_port()
        url = f"http://127.0.0.1:{port}"
        command = [*COMMAND, "--port", port]
        with ExitStack() as running:
            running.enter_context(server(command, url, folder))
            good = anonymous_page(url, folder, screenshot, running.close)
        with server(command, url, folder), opened_page(url) as p:
            api_documentation(p, url)
        below_a_path(folder)
        worklist(folder)
        api_key(folder)
        reader_keys(folder, good[0])
        reviews(folder, good, screenshot)
    return f"the page, in {Path(chromium()).name}"


if __name__ == "__main__":
    if reason := missing():
        sys.exit(f"skipped: {reason}")
    print(check("--keep" in sys.argv))
