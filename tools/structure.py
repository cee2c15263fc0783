"""Write the files that follow from the folders of notebooks and from the public names of the modules.

    python tools/structure.py            write the files
    python tools/structure.py --check    exit with an error when a file is out of date

These are the `__init__.py` of the package and of each topic, the page that lists the public API, the sidebar of the
site, the layers that import-linter checks, and the table of topics in `nbs/index.ipynb`, `README.zh-CN.md` and
`CONTRIBUTING.md`.
A name is public when its cell is marked `#| export`; `#| exporti` keeps it internal. Names are loaded on first use
(`lazy_loader`), so importing the package imports no submodule.
"""

import ast
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "pneumonia_nbdev"
PAGE = ROOT / "nbs" / "guide" / "api.ipynb"
LIMIT = 244  # public names
TOPICS = {  # folder or notebook -> title and content in English, title and content in Chinese
    "core": (
        "Core",
        "reading images, quality checks, bundles, metrics",
        "核心",
        "图像读取、质量检查、模型包与指标",
    ),
    "data": (
        "Data",
        "augmentation, data set, audit",
        "数据",
        "数据增强、数据集与数据审查",
    ),
    "visualization": (
        "Visualization",
        "images and their statistics",
        "可视化",
        "图像及其统计特征",
    ),
    "cnn": (
        "CNN",
        "a convolutional network from scratch",
        "卷积网络",
        "从零训练的卷积神经网络",
    ),
    "transfer": (
        "Transfer learning",
        "pretrained backbones, Keras files",
        "迁移学习",
        "预训练骨干网络与 Keras 文件",
    ),
    "training": (
        "Training",
        "linear head, trainer",
        "训练",
        "线性头与训练器",
    ),
    "evaluation": (
        "Evaluation",
        "operating points, calibration, robustness, error analysis",
        "评估",
        "判定阈值、校准、稳健性与错误分析",
    ),
    "gradcam": (
        "Grad-CAM",
        "heat maps, attribution, localization, explorer",
        "Grad-CAM",
        "热图、归因、定位与交互查看",
    ),
    "recipe": (
        "Recipe",
        "the default model and its report",
        "训练方案",
        "默认模型及其评估报告",
    ),
    "deployment": (
        "Deployment",
        "predictor, HTTP API, case store, registry",
        "部署",
        "预测器、HTTP 接口、病例库与模型库",
    ),
    "quantization": (
        "Quantization",
        "8 bits, ONNX, OpenVINO, TensorRT, speed",
        "量化",
        "8 位量化、ONNX、OpenVINO、TensorRT 与速度",
    ),
    "continual": (
        "Continual learning",
        "drift, worklist, update, gate",
        "持续学习",
        "漂移监测、判读列表、更新与验收",
    ),
    "cluster": (
        "Cluster",
        "screening and training on several machines",
        "集群",
        "在多台机器上筛查与训练",
    ),
    "federated": (
        "Federated learning",
        "hospitals that train together and keep their images",
        "联邦学习",
        "各医院共同训练，图像留在本院",
    ),
    "dicom": (
        "DICOM network",
        "results as DICOM, listener, DICOMweb, de-identification",
        "DICOM 网络",
        "DICOM 结果、接收服务、DICOMweb 与去标识化",
    ),
    "app": (
        "Browser app",
        "the same model on a phone, without a network",
        "浏览器应用",
        "在手机上离线运行同一模型",
    ),
    "cli": (
        "Command line",
        "the `pneumonia` command and its checks",
        "命令行",
        "`pneumonia` 命令与环境检查",
    ),
}
OTHER_SECTIONS = {
    "Tutorials": "tutorials",
    "Solutions": "solutions",
    "Guide": "guide",
    "Experiments": "lab",
}
FIRST_PAGES = {  # pages whose order matters; the others follow by name
    "Tutorials": [
        f"tutorials/{name}.ipynb"
        for name in (
            *("ten_lines", "one_page", "end_to_end", "full_set"),
            *("own_data", "findings", "archive", "learn_together"),
        )
    ],
    "Guide": [
        f"guide/{name}.ipynb"
        for name in (
            *("api", "contract", "results", "data_card", "heat_maps", "limits", "clusters", "federation"),
            *("connect_pacs", "conformance", "browser_app"),
        )
    ],
}
SITE = "https://pneumonia-nbdev.github.io/pneumonia-nbdev"


def notebooks():
    "Module notebooks in reading order: (path, module, title, one-sentence description)"
    for path in sorted((ROOT / "nbs").rglob("*.ipynb")):
        if not re.match(r"\d\d_", path.relative_to(ROOT / "nbs").parts[0]) or path.parent.name.startswith(
            "."
        ):
            continue
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        source = "\n".join("".join(cell["source"]) for cell in cells)
        module = re.search(r"^#\| default_exp (\S+)", source, re.MULTILINE)
        if module:
            title = re.search(r"^# (.+)", source, re.MULTILINE)[1]
            quote = re.search(r"^> (.+)", source, re.MULTILINE)[1]
            yield path, module[1], title, quote


def module_file(module):
    "The exported file of a module such as `core.image`"
    return PACKAGE / (module.replace(".", "/") + ".py")


def public_names(module):
    "The names in `__all__` of a module"
    for node in ast.parse(module_file(module).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return []


def summary(module, name):
    "The first line of a definition's docstring, or of the comment of a constant"
    text = module_file(module).read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        if getattr(node, "name", None) == name:
            return (ast.get_docstring(node) or "").splitlines()[0] if ast.get_docstring(node) else ""
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            comment = re.search(r"  # (.+)", text.splitlines()[node.lineno - 1])
            return comment[1] if comment else ""
    return ""


def attach(names_of):
    "The lines that offer names lazily; `names_of` maps a submodule to its public names"
    rows = []
    for module, names in names_of.items():
        quoted = [f'"{name}"' for name in sorted(names)]
        row = f'        "{module}": [{", ".join(quoted)}],\n'
        if len(row) > 120:
            listed = "".join(f"            {name},\n" for name in quoted)
            row = f'        "{module}": [\n{listed}        ],\n'
        rows.append(row)
    body = "".join(rows)
    return (
        "import lazy_loader as lazy\n\n"
        "__getattr__, __dir__, __all__ = lazy.attach(\n    __name__,\n"
        f"    submod_attrs={{\n{body}    }},\n)\n"
    )


MAIN = '''"""`python -m` runs the command `pneumonia`."""

# Written by tools/structure.py.
from pneumonia_nbdev.cli.cli import main

if __name__ == "__main__":
    main()
'''


def init_files():
    "Every `__init__.py` and `__main__.py` and its text"
    version = re.search(
        r"^version = (\S+)", (ROOT / "settings.ini").read_text(encoding="utf-8"), re.MULTILINE
    )[1]
    everything = {}
    topics = {}
    for _, module, _, _ in notebooks():
        names = public_names(module)
        if names:
            everything[module] = names
        if "." in module:
            topic, _, name = module.partition(".")
            topics.setdefault(topic, {})[name] = names
    note = "# Written by tools/structure.py from the `__all__` of the modules.\n"
    doc = (
        '"""Chest X-ray pneumonia detection: train, evaluate, explain, serve and update a classifier."""\n\n'
    )
    files = {PACKAGE / "__init__.py": f'{doc}__version__ = "{version}"\n\n{note}{attach(everything)}'}
    for folder in (PACKAGE, PACKAGE / "cli"):
        files[folder / "__main__.py"] = MAIN
    for topic, modules in topics.items():
        names_of = {name: names for name, names in modules.items() if names}
        files[PACKAGE / topic / "__init__.py"] = (
            f'"""{TOPICS[topic][0]}: {TOPICS[topic][1]}."""\n\n{note}{attach(names_of)}'
        )
    return files


def page():
    "The notebook of the page that lists the public API by topic"
    lines = [
        "# Public API",
        "",
        "> The names that `from pneumonia_nbdev import …` offers, by topic.",
        "",
        "Everything else is internal and may change without notice.",
        "Importing `pneumonia_nbdev` imports none of the modules.",
        "A module is imported when one of its names is first used.",
    ]
    topic = None
    total = 0
    for path, module, title, quote in notebooks():
        names = public_names(module)
        if not names:
            continue
        if module.split(".")[0] != topic:
            topic = module.split(".")[0]
            lines += ["", f"## `{topic}`"]
        link = path.relative_to(ROOT / "nbs").as_posix()
        lines += ["", f"[{title}](../{link}): {quote}", "", "| name | description |", "| --- | --- |"]
        for name in names:
            text = summary(module, name).replace("|", "\\|")
            lines.append(f"| `{name}` | {text} |")
        total += len(names)
    text = "\n".join(lines)
    cell = dict(cell_type="markdown", id="publicapi", metadata={}, source=text.splitlines(keepends=True))
    kernel = dict(display_name="python3", language="python", name="python3")
    notebook = dict(cells=[cell], metadata=dict(kernelspec=kernel), nbformat=4, nbformat_minor=5)
    return json.dumps(notebook, sort_keys=True, indent=1, ensure_ascii=False) + "\n", total


def sidebar():
    "The text of `nbs/sidebar.yml`: home, tutorials, topics in reading order, guide, experiments"

    def section(title, pages):
        listed = "".join(f"          - {page}\n" for page in pages)
        return f"      - section: {title}\n        contents:\n{listed}"

    def other(title):
        first = FIRST_PAGES.get(title, [])
        folder = ROOT / "nbs" / OTHER_SECTIONS[title]
        found = sorted(path.relative_to(ROOT / "nbs").as_posix() for path in folder.glob("*.ipynb"))
        return section(title, [*first, *(page for page in found if page not in first)])

    pages = {}
    for path, module, _, _ in notebooks():
        pages.setdefault(module.split(".")[0], []).append(path.relative_to(ROOT / "nbs").as_posix())
    topics = "".join(section(TOPICS[topic][0], listed) for topic, listed in pages.items())
    head = "website:\n  sidebar:\n    contents:\n      - {text: Home, href: index.ipynb}\n"
    return "".join([head, other("Tutorials"), topics, other("Guide"), other("Experiments")])


def topics_table(chinese=False, site=""):
    "The table of topics in Markdown; links are relative to `nbs`, or lead to the site"
    rows = ["| 主题 | 内容 | 模块 |" if chinese else "| topic | content | modules |", "| --- | --- | --- |"]
    modules = {}
    for path, module, _, _ in notebooks():
        page = path.relative_to(ROOT / "nbs").as_posix()
        if site:
            page = f"{site}/{re.sub(r'(^|/)[0-9][0-9]_', lambda m: m[1], page).replace('.ipynb', '.html')}"
        modules.setdefault(module.split(".")[0], []).append(f"[{module.split('.')[-1]}]({page})")
    for topic, links in modules.items():
        title, content = TOPICS[topic][2:] if chinese else TOPICS[topic][:2]
        rows.append(f"| {title} | {content} | {', '.join(links)} |")
    return "\n".join(rows)


def between_marks(text, table):
    "Text with the table between `<!-- topics -->` and `<!-- /topics -->` replaced"
    pattern = re.compile(r"(<!-- topics -->\n).*?(<!-- /topics -->)", re.DOTALL)
    return pattern.sub(lambda match: f"{match[1]}{table}\n{match[2]}", text)


def pages_with_table():
    "Files that hold the table of topics, with the table of now"
    index = ROOT / "nbs" / "index.ipynb"
    notebook = json.loads(index.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = between_marks("".join(cell["source"]), topics_table()).splitlines(keepends=True)
    yield index, json.dumps(notebook, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
    for name, chinese in (("CONTRIBUTING.md", False), ("README.zh-CN.md", True)):
        path = ROOT / name
        yield path, between_marks(path.read_text(encoding="utf-8"), topics_table(chinese, SITE))


def contracts():
    "`pyproject.toml` with a contract for import-linter for each topic: modules import from earlier ones"
    path = ROOT / "pyproject.toml"
    topics = {}
    for _, module, _, _ in notebooks():
        if "." in module:
            topics.setdefault(module.split(".")[0], []).append(module)
    parts = []
    for topic, modules in topics.items():
        layers = "".join(f'  "pneumonia_nbdev.{module}",\n' for module in reversed(modules))
        name = f'  name = "Modules of {topic} import only from modules before them"\n'
        parts.append(f'[[tool.importlinter.contracts]]\n{name}type = "layers"\nlayers = [\n{layers}]\n')
    text = path.read_text(encoding="utf-8")
    mark = "# The contracts below are written by tools/structure.py from the numbers of the notebooks.\n"
    return path, text.partition(mark)[0].rstrip() + f"\n\n{mark}\n" + "\n".join(parts)


def main():
    text, total = page()
    files = {**init_files(), PAGE: text, ROOT / "nbs" / "sidebar.yml": sidebar(), **dict(pages_with_table())}
    files |= dict([contracts()])
    stale = [
        path
        for path, content in files.items()
        if not path.exists() or path.read_text(encoding="utf-8") != content
    ]
    if "--check" in sys.argv:
        if stale:
            sys.exit(
                f"out of date, run tools/structure.py: {', '.join(str(p.relative_to(ROOT)) for p in stale)}"
            )
        if total > LIMIT:
            sys.exit(f"{total} public names; at most {LIMIT}")
    else:
        for path in stale:
            path.write_text(files[path], encoding="utf-8")
    print(f"{total} public names")


if __name__ == "__main__":
    main()
