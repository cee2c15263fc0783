"""The documentation site in `_docs`: nbdev prepares the notebooks, then Quarto renders them, or smalldocs where Quarto is missing.

smalldocs is pure Python and needs no network. It takes a page's name from the file, so the leading numbers go first.
"""
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
from nbdev.serve import proc_nbs

ROOT = Path(__file__).resolve().parents[1]
PROC, DOCS = ROOT/"_proc", ROOT/"_docs"


def drop_numbers():
    "`_proc/00_core.ipynb` becomes `_proc/core.ipynb`, and every link with it"
    pages = {p.name: re.sub(r"^\d+_", "", p.name) for p in PROC.glob("*.ipynb")}
    for old, new in pages.items(): (PROC/old).rename(PROC/new)
    for p in [*PROC.rglob("*.ipynb"), PROC/"sidebar.yml"]:
        text = p.read_text(encoding="utf-8")
        for old, new in pages.items(): text = re.sub(rf"(?<![\w/])((?:\.\./)?){re.escape(old)}", rf"\g<1>{new}", text)
        p.write_text(text, encoding="utf-8")


def plain_signatures():
    "nbdev links names in prose, and in the comments of signatures too, where a link is only noise"
    def unlink(fence): return re.sub(r"\[(`[^`]+`)\]\([^)\s]+\)", r"\1", fence[0])
    for p in PROC.rglob("*.ipynb"):
        nb = nbformat.read(p, 4)
        for data in (o.data for c in nb.cells for o in c.get("outputs", []) if "text/markdown" in o.get("data", {})):
            data["text/markdown"] = re.sub(r"```python\n.*?\n```", unlink, data["text/markdown"], flags=re.S)
        nbformat.write(nb, p)


def broken_links():
    "Links of the site that lead nowhere in it"
    for page in DOCS.rglob("*.html"):
        for target in re.findall(r'(?:href|src)="([^"#?]+)', page.read_text(encoding="utf-8")):
            if re.match(r"[a-z]+:|//", target): continue
            if not (page.parent/target).exists(): yield f"{page.name}: {target}"


def build():
    shutil.rmtree(PROC, ignore_errors=True)
    shutil.rmtree(DOCS, ignore_errors=True)
    proc_nbs()
    plain_signatures()
    for f in ("nbdev.yml", "sidebar.yml", "styles.css"): shutil.copy(ROOT/"nbs"/f, PROC/f)
    if shutil.which("quarto"): command = ["quarto", "render", "--no-cache"]
    elif not shutil.which("smalldocs"): sys.exit("missing: quarto, or smalldocs, which needs Python 3.11")
    else:
        drop_numbers()
        command = ["smalldocs", "render", "--quiet", "."]
    subprocess.run(command, cwd=PROC, check=True)
    shutil.move(PROC/"_docs", DOCS)
    broken = sorted(set(broken_links()))
    if broken: sys.exit("broken links:\n" + "\n".join(broken))
    print(DOCS/"index.html")


if __name__ == "__main__":  # nbdev spawns workers, which import this file
    build()
