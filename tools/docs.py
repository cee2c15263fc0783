"""Build the documentation site in `_docs`: nbdev prepares the notebooks, and Quarto or smalldocs renders them.

    python tools/docs.py [--check] [--online]

smalldocs is used where Quarto is missing. It is pure Python and needs no network. The names of pages are the paths of
the notebooks without their numbers: `nbs/00_core/15_image.ipynb` becomes `core/image.html`. Each link of the site must
lead to an existing file and place. `--check` checks a site that is already built; `--online` also requests links to
other sites.
"""

import ast
import functools
import inspect
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from html import escape, unescape
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

import fastcore.docments
import nbdev.frontmatter
import nbdev.processors
import nbformat
from nbdev.frontmatter import FrontmatterProc
from nbdev.serve import proc_nbs
from nbdev.showdoc import BasicMarkdownRenderer
from readme import BLOB, SITE

ROOT = Path(__file__).resolve().parents[1]
PROC = ROOT / "_proc"
DOCS = ROOT / "_docs"
TREE = BLOB.replace("/blob/", "/tree/")
GITHUB_PAGES = f"{BLOB.rsplit('/', 2)[0]}/"  # issues and releases of the repository: not in the tree
# Warnings of smalldocs about settings that only Quarto uses.
IGNORED = re.compile(r"output-file is not read|commonmark is not built|keep-md is ignored")
# LaTeX commands that matplotlib doesn't support -> replacements
MATHTEXT = {
    "tfrac": r"\frac",
    "le": r"\leq",
    "ge": r"\geq",
    "lVert": r"\Vert",
    "rVert": r"\Vert",
    "[bB]ig[lr]?": "",
}


# --- signatures with a table of the parameters


def signature(thing, **kw):
    "The signature; a type hint that is defined in a later cell is shown as its source"
    try:
        return inspect.signature(thing, **kw)
    except NameError:
        return inspect.signature(thing)


def table_row(values):
    "A row of a Markdown table"
    cells = [str(value).replace("|", "\\|").replace("\n", " ") for value in values]
    return f"| {' | '.join(cells)} |"


def is_given(value):
    "True for a type or a default that exists"
    return value is not inspect.Parameter.empty and value is not None


def parameter_row(name, parameter):
    "Name, type, default and description of a parameter or of the result"
    is_result = name == "return"
    has_default = parameter.default is not inspect.Parameter.empty and not is_result
    return [
        "*returns*" if is_result else f"`{name}`",
        f"`{fastcore.docments._fmt_anno(parameter.anno)}`" if is_given(parameter.anno) else "",
        f"`{parameter.default!r}`" if has_default else "",
        parameter.docment or "",
    ]


def parameter_table(thing):
    "The documented parameters of a function or class as a table; empty without comments"
    parameters = fastcore.docments.docments(thing, full=True)
    parameters = {name: p for name, p in parameters.items() if name not in ("self", "cls")}
    if not any(p.docment for p in parameters.values()):
        return ""
    rows = [["parameter", "type", "default", "description"], ["---"] * 4]
    for name, parameter in parameters.items():
        if name != "return" or parameter.docment or is_given(parameter.anno):
            rows.append(parameter_row(name, parameter))
    return "\n".join(map(table_row, rows))


def without_comments(match):
    "A code block without comments at the ends of its lines"
    return re.sub(r"\s*# .*$", "", match[0], flags=re.MULTILINE)


def markdown_with_table(renderer, plain=BasicMarkdownRenderer._repr_markdown_):
    "nbdev's Markdown of a definition (signature and docstring), with the table of its parameters"
    text = plain(renderer)
    table = parameter_table(renderer.sym)
    if not table:
        return text
    text = re.sub(r"```python\n.*?\n```", without_comments, text, flags=re.DOTALL)
    return f"{text}\n\n{table}"


def is_needed(cell, default=nbdev.processors._do_eval):
    "True for a cell that nbdev must run to show the signatures: exported code and imports, but no demonstrations"
    if cell.cell_type != "code" or cell.directives_.keys() & {"export", "exports", "exporti", "exec_doc"}:
        return default(cell)
    statements = cell.parsed_() or []
    only_imports = all(isinstance(node, ast.Import | ast.ImportFrom) for node in statements)
    return default(cell) if only_imports or "show_doc(" in cell.source else None


def defined_names(cell, documented, default=nbdev.processors._def_names):
    "The names that a cell defines, the last one first, because nbdev inserts each of them directly below the cell"
    return list(default(cell, documented))[::-1]


def split_title(source):
    "The title and the quote of a first cell, and the text after them"
    head = re.match(r"\s*# .*\n*(?:>.*\n*)*", source)
    return (head[0], source[head.end() :]) if head else (source, "")


def title_fields(source, default=nbdev.frontmatter._md2dict):
    "Title and description of a page; lists in the text of the cell aren't fields"
    return default(split_title(source)[0])


def read_title(processor, parse, cell, default=FrontmatterProc._update):
    "Read the title of a page from its first cell; nbdev would remove the text after the title"
    source = cell.source
    default(processor, parse, cell)
    if cell.cell_type == "markdown" and cell.source is None:
        cell.source = split_title(source)[1].strip() or None


# nbdev's worker processes import this file, too.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
fastcore.docments.signature = signature
nbdev.processors._do_eval = is_needed
nbdev.processors._def_names = defined_names
nbdev.frontmatter._md2dict = title_fields
FrontmatterProc._update = read_title
BasicMarkdownRenderer._repr_markdown_ = markdown_with_table


# --- build


def without_numbers(text):
    "A text whose links to pages have no numbers: `00_core/02_base.ipynb` becomes `core/base.ipynb`"
    number = r"(?<![\w-])\d\d_(?=(?:\w+/)*\w+\.(?:ipynb|html)\b)"
    address = rf"{re.escape(BLOB)}/[^\s\"')]*"  # files of the repository keep their names
    return re.sub(rf"({address})|{number}", lambda match: match[1] or "", text)


def drop_numbers():
    "Rename `_proc/00_core/02_base.ipynb` to `_proc/core/base.ipynb`, and change the links"
    number = re.compile(r"^\d\d_")
    for path in sorted(PROC.rglob("*"), key=lambda path: -len(path.parts)):  # files before their folders
        if number.match(path.name):
            target = path.with_name(number.sub("", path.name))
            assert not target.exists(), f"two pages have the name {target.relative_to(PROC)}"
            path.rename(target)
    for path in [*PROC.rglob("*.ipynb"), PROC / "sidebar.yml"]:
        path.write_text(without_numbers(path.read_text(encoding="utf-8")), encoding="utf-8")


def unlink_signatures():
    "Remove the links that nbdev adds to names in signatures"

    def unlink(match):
        return re.sub(r"\[(`[^`]+`)\]\([^)\s]+\)", r"\1", match[0])

    for path in PROC.rglob("*.ipynb"):
        nb = nbformat.read(path, 4)
        for cell in nb.cells:
            for output in cell.get("outputs", []):
                data = output.get("data", {})
                if "text/markdown" in data:
                    data["text/markdown"] = re.sub(
                        r"```python\n.*?\n```", unlink, data["text/markdown"], flags=re.DOTALL
                    )
        nbformat.write(nb, path)


def unlink_internal_names():
    "Remove nbdev's links to names that the site doesn't document, such as internal functions"
    link = re.compile(rf'<a href="{re.escape(SITE)}/([\w/]+\.html)#([^"]*)">(<code>[^<]*</code>)</a>')

    def unlink(match):
        page = DOCS / match[1]
        return match[3] if page.exists() and match[2] not in anchors(page) else match[0]

    for page in DOCS.rglob("*.html"):
        page.write_text(link.sub(unlink, page.read_text(encoding="utf-8")), encoding="utf-8")


def relative_links():
    "Make links to the published site relative, so that a copy of the site works without a network"
    for page in DOCS.rglob("*.html"):

        def relative(match, folder=page.parent):
            return f'href="{os.path.relpath(DOCS / match[1], folder)}{match[2]}"'

        text = page.read_text(encoding="utf-8")
        text = re.sub(rf'href="{re.escape(SITE)}/([\w/]+\.html)((?:#[^"]*)?)"', relative, text)
        page.write_text(text, encoding="utf-8")


@functools.cache
def formula_svg(latex):
    "A formula as an inline SVG picture in the color of the text"
    from matplotlib import rc_context
    from matplotlib.textpath import TextPath

    supported = latex.replace("\n", " ")
    for pattern, replacement in MATHTEXT.items():
        supported = re.sub(rf"\\{pattern}(?![a-zA-Z])", lambda match, r=replacement: r, supported)
    size = 10.0
    with rc_context({"mathtext.fontset": "stix"}):
        path = TextPath((0, 0), f"${supported}$", size=size)
    box = path.get_extents().padded(0.2)
    commands = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}  # codes of matplotlib.path.Path
    data = []
    for points, code in path.iter_segments(simplify=False):
        coordinates = [] if code == 79 else [f"{x:.2f} {-y:.2f}" for x, y in points.reshape(-1, 2)]
        data.append(commands[code] + " ".join(coordinates))
    style = f"height:{1.1 * box.height / size:.3f}em;vertical-align:{1.1 * box.y0 / size:.3f}em"
    view = f"{box.x0:.2f} {-box.y1:.2f} {box.width:.2f} {box.height:.2f}"
    return (
        f'<svg role="img" aria-label="{escape(latex)}" viewBox="{view}" style="{style}" fill="currentColor">'
        f'<path d="{"".join(data)}"/></svg>'
    )


def render_formulas():
    "Replace formulas by pictures, and remove the script that smalldocs loads for them from another site"
    formula = re.compile(r'(<span class="math (?:inline|display)">)\\[(\[](.*?)\\[)\]](</span>)', re.DOTALL)
    katex = re.compile(r"<(?:link|script) [^>]*cdn\.jsdelivr\.net/npm/katex[^>]*>(?:</script>)?")

    def picture(match):
        return match[1] + formula_svg(unescape(match[2])) + match[3]

    for page in DOCS.rglob("*.html"):
        text = katex.sub("", page.read_text(encoding="utf-8"))
        page.write_text(formula.sub(picture, text), encoding="utf-8")


def adapt_smalldocs():
    "Remove a web font, and load the index of the search by a script, because pages opened as files cannot fetch it"
    for css in DOCS.glob("site_libs/themes/*.css"):
        text = css.read_text(encoding="utf-8")
        css.write_text(re.sub(r"@import url\([^)]*\);?", "", text), encoding="utf-8")
    index = (DOCS / "search.json").read_text(encoding="utf-8")
    (DOCS / "search.js").write_text(f"window.searchIndex = {index}", encoding="utf-8")
    script = DOCS / "site_libs" / "smalldocs.js"
    text = script.read_text(encoding="utf-8")
    failure = "catch (e) { index = []; }"
    fallback = """catch (e) { index = await new Promise((done) => {
      const s = document.createElement("script");
      s.onload = () => done(window.searchIndex);
      s.onerror = () => done([]);
      s.src = offset + "search.js";
      document.head.append(s); }); }"""
    if failure not in text:
        sys.exit("smalldocs.js has changed; check that the search works when a page is opened as a file")
    script.write_text(text.replace(failure, fallback), encoding="utf-8")


def render(command):
    "Run Quarto or smalldocs"
    done = subprocess.run(command, cwd=PROC, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    messages = "\n".join(line for line in done.stdout.splitlines() if not IGNORED.search(line))
    if messages or done.returncode:
        print(messages, file=sys.stderr)
    if done.returncode:
        sys.exit(f"{command[0]} failed")


def build():
    "Write the site to `_docs`"
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    quarto = shutil.which("quarto")
    if not quarto and not shutil.which("smalldocs"):
        sys.exit("missing: quarto, or smalldocs, which needs Python 3.11")
    shutil.rmtree(PROC, ignore_errors=True)
    shutil.rmtree(DOCS, ignore_errors=True)
    proc_nbs(n_workers=0)  # each worker of a pool would import TensorFlow
    unlink_signatures()
    for name in ("nbdev.yml", "sidebar.yml", "styles.css"):
        shutil.copy(ROOT / "nbs" / name, PROC / name)
    drop_numbers()
    render(["quarto", "render", "--no-cache"] if quarto else ["smalldocs", "render", "--quiet", "."])
    shutil.move(PROC / "_docs", DOCS)
    unlink_internal_names()
    relative_links()
    if not quarto:
        adapt_smalldocs()
        render_formulas()


# --- check


def links(page):
    "The addresses in the tags of a page"
    text = re.sub(
        r"<(script|pre|code)\b.*?</\1>",
        lambda match: " ".join(re.findall(r"<a [^>]*>|<script [^>]*>", match[0])),
        page.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    return {unescape(address) for address in re.findall(r'<[^>]*?\s(?:href|src)="([^"]*)"', text)}


@functools.cache
def anchors(page):
    "The places of a page that a link may name"
    if page.suffix != ".html":
        return set()
    return set(re.findall(r'\s(?:id|name)="([^"]+)"', page.read_text(encoding="utf-8")))


def resolve(page, target):
    "File and fragment of a link into the site or the repository; None for a link to another site"
    for start, root in ((f"{SITE}/", DOCS), (f"{BLOB}/", ROOT), (f"{TREE}/", ROOT)):
        if target.startswith(start):
            page = root / "index.html"
            target = target.removeprefix(start)
    if re.match(r"[a-z][a-z0-9+.-]*:|//", target):
        return None
    path, _, fragment = target.partition("#")
    path = unquote(path.split("?")[0])
    return (page.parent / path if path else page), unquote(fragment)


def broken_links():
    "Links to files and places that don't exist in the site or the repository"
    for page in DOCS.rglob("*.html"):
        for target in links(page):
            found = resolve(page, target)
            if not found:
                continue
            file, fragment = found
            if file.is_dir() and file.is_relative_to(DOCS):
                file /= "index.html"
            if not file.exists():
                yield f"{page.relative_to(DOCS)}: {target}"
            elif fragment and file.suffix == ".html" and fragment not in anchors(file):
                yield f"{page.relative_to(DOCS)}: {file.name} has no place #{fragment}"


def external_links():
    "Address on another site -> a page with this link"
    return {
        target.partition("#")[0]: page.relative_to(DOCS)
        for page in DOCS.rglob("*.html")
        for target in links(page)
        if not resolve(page, target) and not target.startswith("data:")
    }


def is_well_formed(address):
    "True for a valid web or mail address"
    parts = urlsplit(address)
    if parts.scheme == "mailto":
        return True
    return bool(
        parts.scheme in ("http", "https")
        and re.fullmatch(r"[\w.-]+(:\d+)?", parts.netloc)
        and not re.search(r"[\s<>\"{}|\\^`]", address)
    )


def external_resources(page):
    "Scripts, pictures and style sheets that a page loads from other sites; without a network they are missing"
    tag = r'<(?:script|img|iframe|link rel="(?:stylesheet|preload|icon)")'
    return re.findall(rf'{tag}[^>]*?(?:src|href)="((?:https?:)?//[^"]+)"', page.read_text(encoding="utf-8"))


def request(address):
    "None if a site answers, otherwise the reason"
    header = {"User-Agent": "Mozilla/5.0 (link check)"}
    try:
        with urlopen(Request(address, method="HEAD", headers=header), timeout=20):
            return None
    except HTTPError as e:
        # These pages exist, but programs are rejected.
        return None if e.code in (401, 403, 405, 429) else f"{address}: {e.code}"
    except OSError as e:
        return f"{address}: {e}"


def check(online=False):
    "Exit with a message when the built site has errors"
    pages = list(DOCS.rglob("*.html"))
    external = external_links()
    malformed = [f"{page}: {address}" for address, page in external.items() if not is_well_formed(address)]
    wrong = {"broken links": list(broken_links()), "malformed addresses": malformed}
    if (DOCS / "search.js").exists():  # built by smalldocs; Quarto's pages load some resources
        wrong["loaded from other sites"] = [
            f"{page.name}: {address}" for page in pages for address in external_resources(page)
        ]
    if online:
        skipped = (GITHUB_PAGES, "http://127.0.0.1")
        addresses = [a for a in sorted(external) if a.startswith("http") and not a.startswith(skipped)]
        with ThreadPoolExecutor(8) as pool:
            wrong["not available"] = [problem for problem in pool.map(request, addresses) if problem]
    messages = [f"{name}:\n" + "\n".join(sorted(set(lines))) for name, lines in wrong.items() if lines]
    if messages:
        sys.exit("\n".join(messages))
    print(f"{len(pages)} pages; {len(external)} external addresses, {'checked' if online else 'not checked'}")


if __name__ == "__main__":  # nbdev's worker processes import this file
    if "--check" not in sys.argv:
        build()
    check("--online" in sys.argv)
    print(DOCS / "index.html", flush=True)
    os._exit(0)  # to free the shells of all notebooks would take longer than to build the site
