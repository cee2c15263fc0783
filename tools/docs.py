"""The documentation site in `_docs`: nbdev prepares the notebooks, then Quarto renders them, or smalldocs where Quarto is missing.

    python tools/docs.py [--check] [--online]

smalldocs is pure Python and needs no network. It takes a page's name from the file, so the leading numbers go first. Every link of the
site, with its fragment, must lead somewhere; `--check` looks at a site that is already built, and `--online` asks for the pages of others too.
"""

import inspect
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from os.path import relpath
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

import fastcore.docments
import nbformat
from nbdev.serve import proc_nbs
from nbdev.showdoc import BasicMarkdownRenderer
from readme import BLOB, SITE

ROOT = Path(__file__).resolve().parents[1]
PROC = ROOT / "_proc"
DOCS = ROOT / "_docs"
UNSEEN = f"{BLOB.rsplit('/', 2)[0]}/"  # issues and releases of the repository: pages that only GitHub makes


def as_written(thing, **kw):
    "A signature; where a hint names what the chapter defines only later, with the hints as they are written"
    try:
        return inspect.signature(thing, **kw)
    except NameError:
        return inspect.signature(thing)


def cell(x):
    "What fits between two bars of a Markdown table"
    return str(x).replace("|", "\\|").replace("\n", " ")


def parameters(thing):
    "The comments of a signature as a table: parameter, type, default, what it is; empty where there are none"
    told = {k: v for k, v in fastcore.docments.docments(thing, full=True).items() if k not in ("self", "cls")}
    if not any(v.docment for v in told.values()):
        return ""

    def known(x):
        return x is not inspect.Parameter.empty and x is not None

    def line(name, v):
        kind = f"`{fastcore.docments._fmt_anno(v.anno)}`" if known(v.anno) else ""
        return [
            f"`{name}`" if name != "return" else "*returns*",
            kind,
            f"`{v.default!r}`" if v.default is not inspect.Parameter.empty and name != "return" else "",
            v.docment or "",
        ]

    rows = [line(k, v) for k, v in told.items() if k != "return" or v.docment or known(v.anno)]
    return "\n".join(
        f"| {' | '.join(map(cell, row))} |"
        for row in [["parameter", "type", "default", "what it is"], ["---"] * 4, *rows]
    )


def with_table(shown, plain=BasicMarkdownRenderer._repr_markdown_):
    "What nbdev shows of a definition: the signature, the docstring; and here the table of its parameters"
    text = plain(shown)
    table = parameters(shown.sym)
    if not table:
        return text
    text = re.sub(
        r"```python\n.*?\n```",
        lambda m: re.sub(r"\s*# .*$", "", m[0], flags=re.MULTILINE),
        text,
        flags=re.DOTALL,
    )  # the table says it
    return f"{text}\n\n{table}"


fastcore.docments.signature = as_written  # in the workers too, which import this file
BasicMarkdownRenderer._repr_markdown_ = with_table


def drop_numbers():
    "`_proc/00_core/01_base.ipynb` becomes `_proc/core/base.ipynb`, and links follow"
    number = re.compile(r"^\d\d_")
    for path in sorted(PROC.rglob("*"), key=lambda path: -len(path.parts)):  # files before their folders
        if number.match(path.name):
            path.rename(path.with_name(number.sub("", path.name)))
    # A number is dropped from each part of a path that leads to a notebook.
    in_path = re.compile(r"(?<![\w-])\d\d_(?=\w+(?:\.ipynb|/\d*_?\w+\.ipynb))")
    for path in [*PROC.rglob("*.ipynb"), PROC / "sidebar.yml"]:
        path.write_text(in_path.sub("", path.read_text(encoding="utf-8")), encoding="utf-8")


def plain_signatures():
    "nbdev links names in prose, and in the comments of signatures too, where a link is only noise"

    def unlink(fence):
        return re.sub(r"\[(`[^`]+`)\]\([^)\s]+\)", r"\1", fence[0])

    for p in PROC.rglob("*.ipynb"):
        nb = nbformat.read(p, 4)
        for data in (
            o.data for c in nb.cells for o in c.get("outputs", []) if "text/markdown" in o.get("data", {})
        ):
            data["text/markdown"] = re.sub(
                r"```python\n.*?\n```", unlink, data["text/markdown"], flags=re.DOTALL
            )
        nbformat.write(nb, p)


def stay_home():
    "Links to the published site lead to the page beside this one, so that a copy works without a network"
    for page in DOCS.rglob("*.html"):

        def beside(m, folder=page.parent):
            return f'href="{relpath(DOCS / m[1], folder)}{m[2]}"'

        text = page.read_text(encoding="utf-8")
        page.write_text(
            re.sub(rf'href="{re.escape(SITE)}/([\w/]+\.html)((?:#[^"]*)?)"', beside, text), encoding="utf-8"
        )


def from_a_file():
    "smalldocs' pages wait for a font of Google's, and a browser that opens them as files may not fetch the index of the search"
    for css in DOCS.glob("site_libs/themes/*.css"):
        css.write_text(
            re.sub(r"@import url\([^)]*\);?", "", css.read_text(encoding="utf-8")), encoding="utf-8"
        )
    (DOCS / "search.js").write_text(
        "window.searchIndex = " + (DOCS / "search.json").read_text(encoding="utf-8"), encoding="utf-8"
    )
    script = DOCS / "site_libs" / "smalldocs.js"
    text = script.read_text(encoding="utf-8")
    gives_up = "catch (e) { index = []; }"
    asks_again = """catch (e) { index = await new Promise((done) => {
      const s = document.createElement("script");
      s.onload = () => done(window.searchIndex); s.onerror = () => done([]); s.src = offset + "search.js"; document.head.append(s); }); }"""
    if gives_up not in text:
        sys.exit("smalldocs.js has changed: is the search still there when a page is opened as a file?")
    script.write_text(text.replace(gives_up, asks_again), encoding="utf-8")


def links(page):
    "What a page asks for: addresses in tags, as they are meant"
    text = re.sub(
        r"<(script|pre|code)\b.*?</\1>",
        lambda m: " ".join(re.findall(r"<a [^>]*>|<script [^>]*>", m[0])),
        page.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    return {unescape(m) for m in re.findall(r'<[^>]*?\s(?:href|src)="([^"]*)"', text)}


def anchors(page, known={}):  # noqa: B006, it is the memory
    "Places of a page that a link may name"
    if page not in known:
        known[page] = (
            set(re.findall(r'\s(?:id|name)="([^"]+)"', page.read_text(encoding="utf-8")))
            if page.suffix == ".html"
            else set()
        )
    return known[page]


def leads(page, target):
    "The file and the fragment of the site, or of the repository, that a link means; None for the world outside"
    for start, root in (
        (f"{SITE}/", DOCS),
        (f"{BLOB}/", ROOT),
        (f"{BLOB.replace('/blob/', '/tree/')}/", ROOT),
    ):
        if target.startswith(start):
            page = root / "index.html"
            target = target.removeprefix(start)
    if re.match(r"[a-z][a-z0-9+.-]*:|//", target):
        return None
    path, _, fragment = target.partition("#")
    path = unquote(path.split("?")[0])
    return (page.parent / path if path else page), unquote(fragment)


def broken_links():
    "Links that lead nowhere in the site or the repository, and fragments that nothing is called by"
    for page in DOCS.rglob("*.html"):
        for target in links(page):
            where = leads(page, target)
            if not where:
                continue
            file, fragment = where
            if file.is_dir() and file.is_relative_to(DOCS):
                file /= "index.html"
            if not file.exists():
                yield f"{page.relative_to(DOCS)}: {target}"
            elif fragment and file.suffix == ".html" and fragment not in anchors(file):
                yield f"{page.relative_to(DOCS)}: no place called #{fragment} in {file.name}"


def outside():
    "Addresses of others -> a page that names it"
    return {
        t.partition("#")[0]: page.relative_to(DOCS)
        for page in DOCS.rglob("*.html")
        for t in links(page)
        if not leads(page, t) and not t.startswith("data:")
    }


def malformed(found):
    "Addresses that cannot be right"
    for address, page in found.items():
        parts = urlsplit(address)
        fine = parts.scheme == "mailto" or (
            parts.scheme in ("http", "https")
            and re.fullmatch(r"[\w.-]+(:\d+)?", parts.netloc)
            and not re.search(r"[\s<>\"{}|\\^`]", address)
        )
        if not fine:
            yield f"{page}: {address}"


def needed(page):
    "What the page loads from elsewhere: nothing, or it is no page for a place without a network"
    return re.findall(
        r'<(?:script|img|iframe|link rel="(?:stylesheet|preload|icon)")[^>]*?(?:src|href)="((?:https?:)?//[^"]+)"',
        page.read_text(encoding="utf-8"),
    )


def asked(address):
    "None when somebody answers, or else what went wrong"
    try:
        with urlopen(
            Request(address, method="HEAD", headers={"User-Agent": "Mozilla/5.0 (link check)"}), timeout=20
        ):
            return None
    except HTTPError as e:
        return (
            None if e.code in (401, 403, 405, 429) else f"{address}: {e.code}"
        )  # there, but not for programs
    except OSError as e:
        return f"{address}: {e}"


def check(online=False):
    "Stop with what is wrong with the built site"
    found = outside()
    wrong = {"broken links": broken_links(), "malformed addresses": malformed(found)}
    if (DOCS / "search.js").exists():
        wrong["loaded from elsewhere"] = {
            f"{p.name}: {t}" for p in DOCS.rglob("*.html") for t in needed(p)
        }  # Quarto's pages do so
    if online:
        world = sorted(
            a for a in found if a.startswith("http") and not a.startswith((UNSEEN, "http://127.0.0.1"))
        )
        with ThreadPoolExecutor(8) as pool:
            wrong["nobody answers"] = filter(None, pool.map(asked, world))
    said = [f"{what}:\n" + "\n".join(lines) for what, each in wrong.items() if (lines := sorted(set(each)))]
    if said:
        sys.exit("\n".join(said))
    print(
        f"{len(list(DOCS.rglob('*.html')))} pages; {len(found)} addresses of others"
        + (", asked" if online else ", not asked")
    )


def build():
    shutil.rmtree(PROC, ignore_errors=True)
    shutil.rmtree(DOCS, ignore_errors=True)
    proc_nbs()
    plain_signatures()
    for f in ("nbdev.yml", "sidebar.yml", "styles.css"):
        shutil.copy(ROOT / "nbs" / f, PROC / f)
    drop_numbers()
    quarto = shutil.which("quarto")
    if quarto:
        command = ["quarto", "render", "--no-cache"]
    elif not shutil.which("smalldocs"):
        sys.exit("missing: quarto, or smalldocs, which needs Python 3.11")
    else:
        command = ["smalldocs", "render", "--quiet", "."]
    done = subprocess.run(
        command, cwd=PROC, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    told = "\n".join(
        line
        for line in done.stdout.splitlines()
        if not re.search(r"output-file is not read|commonmark is not built|keep-md is ignored", line)
    )  # what only Quarto needs
    if told or done.returncode:
        print(told, file=sys.stderr)
    if done.returncode:
        sys.exit(f"{command[0]} failed")
    shutil.move(PROC / "_docs", DOCS)
    stay_home()
    if not quarto:
        from_a_file()


if __name__ == "__main__":  # nbdev spawns workers, which import this file
    if "--check" not in sys.argv:
        build()
    check("--online" in sys.argv)
    print(DOCS / "index.html")
