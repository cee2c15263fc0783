"""Record the results of the package for a fixed set of files, and compare two recordings.

A refactor must not change any result. Record one version, then the other, then compare:

    python tools/compare_behaviour.py record before.json
    python tools/compare_behaviour.py record after.json
    python tools/compare_behaviour.py compare before.json after.json --rename old_field=new_field

A recording contains the result or the error of about 200 files in English and in Chinese, the responses of the HTTP
API (including errors), and the output of a few commands. The files are the sample of the package, broken files that
this script makes, and a fixed selection from the shared folder (`PNEUMONIA_SHARED`, by default `../shared` beside the
project). Missing files are skipped. No file below `cases/21_hostile` is opened, because these files crash the process.

The package that Python finds first is recorded, so `PYTHONPATH` selects it. Only the standard library and the
requirements of the package are needed. The exit code of `compare` is 0 without differences, else 1.
"""
import argparse
import contextlib
import dataclasses
import fnmatch
import hashlib
import io
import json
import math
import os
import sys
import tempfile
import time
import zlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
from PIL import Image

# (folder below the shared folder, how many files to take from each of its subfolders; None takes all)
SELECTION = [
    ("data/chest_xray_224/test", 4),
    ("data/chest_xray_224/train", 4),
    ("data/originals/train", 2),
    ("data/originals/test", 2),
    ("data/test_512", 3),
    ("data/rsna_adult", 2),
    ("data/dicom", None),
    ("data/ood", 3),
    ("cases", None),
]
EXCLUDED = "21_hostile"
NO_INPUT = {".py", ".md", ".sh", ".csv"}  # explanations and tables beside the images
VOLATILE = {"seconds", "waited", "judged", "time", "added", "uptime"}  # must be there on both sides, may have any value
HEADERS = ["Content-Type", "Content-Security-Policy", "X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy",
           "Cache-Control", "Vary", "Allow", "Retry-After", "Access-Control-Allow-Origin"]


# --- the package under test -------------------------------------------------------------------------------------

def load():
    "The detector and the HTTP interface: by their public names, or from the modules of version 0.1."
    try:
        from pneumonia_nbdev import PneumoniaDetectionAPI, PneumoniaDetectionSystem
    except ImportError:
        from pneumonia_nbdev.api import PneumoniaDetectionAPI
        from pneumonia_nbdev.deployment import PneumoniaDetectionSystem
    return PneumoniaDetectionSystem, PneumoniaDetectionAPI


def load_command():
    "The function behind the command `pneumonia`, wherever the package keeps it."
    for entry in entry_points(group="console_scripts", name="pneumonia"):
        return entry.load()
    from pneumonia_nbdev.cli import main
    return main


def package_folder():
    "Where the package lies."
    import pneumonia_nbdev
    return Path(pneumonia_nbdev.__file__).resolve().parent


def sample_folder():
    "The sample of X-rays, wherever the package keeps it."
    return next(package_folder().rglob("sample/ATTRIBUTION.md")).parent


def shared_folder():
    "The shared folder; it need not exist."
    beside = Path(__file__).resolve().parents[2] / "shared"
    return Path(os.environ.get("PNEUMONIA_SHARED") or beside)


# --- the files ---------------------------------------------------------------------------------------------------

def by_hash(paths):
    "Paths in an order that depends on their names only, and mixes them."
    return sorted(paths, key=lambda p: hashlib.sha256(p.name.encode()).hexdigest())


def selected(folder, count):
    "The files of one entry of `SELECTION`, sorted; none when the folder is absent."
    groups = {}
    for path in folder.rglob("*") if folder.is_dir() else ():
        if path.is_file() and EXCLUDED not in path.parts and path.suffix not in NO_INPUT:
            groups.setdefault(path.parent, []).append(path)
    return sorted(p for group in groups.values() for p in by_hash(group)[:count])


def make_broken(folder, good):
    "Files that are broken or odd in simple ways, made from one good JPEG file."
    content = good.read_bytes()
    gray = np.asarray(Image.open(good).convert("L"))
    ramp = np.arange(60 * 60, dtype=np.uint16).reshape(60, 60) * 18
    (folder / "a_folder.jpeg").mkdir()
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpeg").write_text("this is no image")
    (folder / "cut_in_header.jpeg").write_bytes(content[:200])
    (folder / "cut_in_half.jpeg").write_bytes(content[:len(content) // 2])
    (folder / "zip_inside.dcm").write_bytes(b"PK\x03\x04" + bytes(200))
    Image.fromarray(gray).save(folder / "good.bmp")
    Image.fromarray(255 - gray).save(folder / "inverted.png")
    Image.fromarray(gray[:100, :40]).save(folder / "narrow.png")
    Image.fromarray(np.full((200, 200), 90, np.uint8)).save(folder / "blank.png")
    Image.fromarray(ramp).save(folder / "ramp_16bit.png")
    Image.fromarray(np.dstack([gray, gray // 2, 255 - gray])).save(folder / "colored.png")
    Image.fromarray(gray).save(folder / "two_pages.tiff", save_all=True, append_images=[Image.fromarray(gray)])
    head = bytearray((folder / "blank.png").read_bytes())
    head[16:24] = (60_000).to_bytes(4, "big") * 2  # width and height in the header of the PNG file
    head[29:33] = zlib.crc32(head[12:29]).to_bytes(4, "big")
    (folder / "huge_header.png").write_bytes(head)
    return [*folder.iterdir(), folder / "missing.jpeg"]


def find_files(broken):
    "All files: {name in the recording: path}."
    sample = sample_folder()
    shared = shared_folder()
    images = sorted(sample.rglob("*.jpeg"))
    files = {f"sample/{p.relative_to(sample).as_posix()}": p for p in images}
    for part, count in SELECTION:
        for path in selected(shared / part, count):
            files[f"shared/{path.relative_to(shared).as_posix()}"] = path
    for path in sorted(make_broken(broken, images[0])):
        files[f"made/{path.name}"] = path
    return files


def handful(files):
    "Some files of every kind, for the slower questions."
    groups = {}
    for name, path in files.items():
        groups.setdefault("/".join(name.split("/")[:-1]), []).append((name, path))
    small = {}
    for folder, members in groups.items():
        whole = folder == "made" or folder.startswith("shared/data/dicom")
        small.update(members if whole else members[:1])
    return small


# --- answers as JSON ---------------------------------------------------------------------------------------------

def digest(content):
    "A short hash of bytes."
    return hashlib.sha256(content).hexdigest()[:16]


def heat_map(value):
    "A heat map in short: its shape, its mean, and a hash of its values, rounded to three digits."
    rounded = np.round(np.asarray(value, float), 3)
    content = json.dumps(rounded.tolist()).encode()
    return dict(shape=list(rounded.shape), mean=round(float(rounded.mean()), 4), sha256=digest(content))


def as_mapping(value):
    "What holds named values, as a dict: a pydantic model, a dataclass, a mapping; None for anything else."
    if hasattr(value, "model_dump"):
        return value.model_dump(by_alias=True)
    if isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if hasattr(value, "keys") and hasattr(value, "__getitem__"):
        return {k: value[k] for k in value.keys()}  # noqa: SIM118 (not every such object can be iterated)
    return None


def plain(value, places=()):
    "Anything as JSON can hold it; heat maps, pictures and paths of this run in short."
    if (found := as_mapping(value)) is not None:
        maps = {k: heat_map(v) for k, v in found.items() if k == "heatmap" and isinstance(v, (list, np.ndarray))}
        return {str(k): plain(v, places) for k, v in (found | maps).items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist(), places)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v, places) for v in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, (bytes, bytearray)):
        return f"{len(value)} bytes, sha256 {digest(value)}"
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = str(getattr(value, "value", value))
    if text.startswith("data:"):
        return f"{text.partition(',')[0]}, {len(text)} characters, sha256 {digest(text.encode())}"
    for place, name in places:
        text = text.replace(place, name)
    return text


def outcome(ask, places):
    "The result of a call, or its error: code, both messages, details."
    try:
        return plain(ask(), places)
    except Exception as e:  # every error is recorded
        if not hasattr(e, "code"):
            return dict(error=dict(code="python", kind=type(e).__name__, reason=plain(str(e), places)))
        messages = {lang: plain(e.message(lang), places) for lang in ("en", "zh")}
        return dict(error=dict(code=e.code, reason=plain(e.reason, places), message=messages))


# --- what is recorded --------------------------------------------------------------------------------------------

def record_python(files, places):
    "Results of `PneumoniaDetectionSystem` in both languages, and of its other methods and inputs."
    system_class, _ = load()
    systems = {lang: system_class(lang=lang, threads=1) for lang in ("en", "zh")}
    verdicts = {}
    for name, path in files.items():
        answers = {lang: outcome(lambda s=system, p=path: s.predict(p), places) for lang, system in systems.items()}
        verdicts[name] = answers
    system = systems["en"]
    some = handful(files)
    first = next(iter(files.values()))
    small = system_class("int8", threads=1)
    ways = {
        "bytes": lambda: system.predict(first.read_bytes()),
        "open file": lambda: system.predict(io.BytesIO(first.read_bytes())),
        "own name": lambda: system.predict(first, name="own\tname.jpeg"),
        "preview": lambda: system.predict(first, preview=64),
        "one path as batch": lambda: system.batch_predict(str(first)),
        "unknown language": lambda: system_class(lang="fr"),
        "unknown engine": lambda: system_class(engine="abacus"),
        "missing bundle": lambda: system_class("missing.bundle"),
        "prepared image": lambda: float(system.preprocess_image(first).mean()),
        "batch": lambda: system.batch_predict(list(some.values())),
        "report table": lambda: system.generate_report(list(some.values())).csv().splitlines(),
        "report lines": lambda: systems["zh"].generate_report(list(some.values())).lines(),
        "int8": lambda: [small.predict(p) for n, p in some.items() if n.startswith("sample")],
    }
    return dict(files=verdicts, ways={k: outcome(ask, places) for k, ask in ways.items()})


def answer(response, places):
    "Status, some headers and JSON of an HTTP response; other bodies in short."
    kind = response.headers.get("Content-Type", "")
    headers = {h: response.headers[h] for h in HEADERS if h in response.headers}
    if "Allow" in headers:
        headers["Allow"] = sorted(headers["Allow"].split(", "))  # Flask names them in any order
    found = dict(status=response.status_code, headers=headers)
    if "ndjson" in kind:
        found["lines"] = plain([json.loads(line) for line in response.text.splitlines()], places)
    elif "json" in kind:
        found["json"] = plain(response.get_json(), places)
    elif kind.startswith("image/"):
        found["body"] = plain(response.data)
    return found


def present(names):
    "Names as keys, so that a comparison lists added and removed names."
    return dict.fromkeys(sorted(names), "present")


def api_outline(document):
    "The addresses, methods, statuses, parameters and fields of the OpenAPI document."
    paths = {}
    for address, methods in document["paths"].items():
        for method, facts in methods.items():
            paths[f"{method} {address}"] = dict(
                statuses=present(facts.get("responses", {})),
                parameters=present(p["name"] for p in facts.get("parameters", [])))
    schemas = document.get("components", {}).get("schemas", {})
    fields = {name: present(s.get("properties", {})) for name, s in schemas.items()}
    return dict(paths=paths, fields=fields)


def part(path, name=None):
    "A file for a form of the test client."
    return io.BytesIO(path.read_bytes()), path.name if name is None else name


def post(client, address, places, fields, **kw):
    "The answer to a form."
    response = client.post(address, data=fields, content_type="multipart/form-data", **kw)
    return answer(response, places)


def record_pages(client, places):
    "Everything that can be fetched with GET, and addresses that do not exist."
    sample = client.get("/samples").get_json()["samples"][0]["url"]
    addresses = ["/", "/docs", "/docs/css/swagger-ui.css", "/docs/missing.js", "/health", "/health/live",
                 "/health/ready", "/model", "/models", "/codes", "/samples", sample, "/samples/missing.jpeg",
                 "/metrics", "/missing", "/predict", "/batch_predict", "/review", "/web/../api.py"]
    found = {f"GET {a}": answer(client.get(a), places) for a in addresses}
    found["GET /models, zh"] = answer(client.get("/models", headers={"Accept-Language": "zh-CN"}), places)
    metrics = client.get("/metrics").text.splitlines()
    found["names of metrics"] = present(line for line in metrics if line.startswith("# TYPE"))
    found["OpenAPI"] = api_outline(client.get("/openapi.json").get_json())
    found["PUT /predict"] = answer(client.put("/predict"), places)
    found["OPTIONS /predict"] = answer(client.options("/predict"), places)
    return found


def record_predict(client, files, places):
    "Answers of `/predict`, in many variants, and its errors."
    some = {n: p for n, p in files.items() if p.is_file()}
    found = {}
    for name, path in some.items():
        found[name] = post(client, "/predict", places, dict(file=part(path)))
    first = next(iter(some.values()))
    text = next(p for n, p in some.items() if n == "made/text.jpeg")
    for query in ("lang=zh", "preview=1", "preview=true", "preview=maybe", "heatmap=0", "heatmap=png", "unknown=1"):
        found[f"?{query}"] = post(client, f"/predict?{query}", places, dict(file=part(first)))
    for language in ("zh", "zh-CN,zh;q=0.9,en;q=0.8", "de,en", "en;q=0.1,zh;q=0.5", ""):
        headers = {"Accept-Language": language}
        found[f"language {language!r}"] = post(client, "/predict", places, dict(file=part(first)), headers=headers)
        found[f"language {language!r}, bad"] = post(client, "/predict", places, dict(file=part(text)), headers=headers)
    found["no field"] = post(client, "/predict", places, {})
    found["wrong field"] = post(client, "/predict", places, dict(image=part(first)))
    found["wrong field, zh"] = post(client, "/predict", places, dict(image=part(first)),
                                    headers={"Accept-Language": "zh"})
    found["text field"] = post(client, "/predict", places, dict(file="hello"))
    found["empty file"] = post(client, "/predict", places, dict(file=(io.BytesIO(b""), "empty.jpeg")))
    found["empty file, no name"] = post(client, "/predict", places, dict(file=(io.BytesIO(b""), "")))
    found["file in `files`"] = post(client, "/predict", places, dict(files=part(first)))
    found["two files"] = post(client, "/predict", places, dict(file=[part(first), part(text)]))
    found["path as name"] = post(client, "/predict", places, dict(file=part(first, "ward/a.jpeg")))
    found["JSON body"] = answer(client.post("/predict", json=dict(file="a")), places)
    found["raw body"] = answer(client.post("/predict", data=first.read_bytes(), content_type="image/jpeg"), places)
    return found


def record_batch(client, files, places):
    "Answers of `/batch_predict`."
    some = [p for p in files.values() if p.is_file()]
    mixed = some[:4] + some[-6:]
    found = {"mixed": post(client, "/batch_predict", places, dict(files=[part(p) for p in mixed]))}
    for language in ("zh", "en"):
        headers = {"Accept": "application/x-ndjson", "Accept-Language": language}
        fields = dict(files=[part(p) for p in mixed])
        found[f"lines, {language}"] = post(client, "/batch_predict?preview=1", places, fields, headers=headers)
    found["no field"] = post(client, "/batch_predict", places, {})
    found["`file`"] = post(client, "/batch_predict", places, dict(file=part(some[0])))
    found["empty"] = post(client, "/batch_predict", places, dict(files=[(io.BytesIO(b""), "")]))
    found["too many"] = post(client, "/batch_predict", places, dict(files=[part(p) for p in some[:1] * 12]))
    return found


def record_review(client, files, places):
    "Answers of `/review`: two readers, a disagreement, what is taken back, what is deleted, and errors."
    first, second = list(files.values())[:2]
    said = {"label": "NORMAL", "reader": "A", "comment": "clear", "patient": "p1"}
    found = {
        "reader A": post(client, "/review", places, dict(file=part(first), **said)),
        "reader B": post(client, "/review", places, dict(file=part(first), label="PNEUMONIA", reader="B")),
        "no label": post(client, "/review", places, dict(file=part(second))),
        "unsure": post(client, "/review", places, dict(file=part(second), label="UNSURE")),
        "unknown label": post(client, "/review", places, dict(file=part(second), label="SICK")),
        "no file": post(client, "/review", places, dict(label="NORMAL")),
        "long name": post(client, "/review", places, dict(file=part(second), reader="A" * 81)),
        "other site": post(client, "/review", places, dict(file=part(second)), headers={"Origin": "https://a.example"}),
    }
    case = found["reader A"]["json"]["id"]
    other = found["no label"]["json"]["id"]
    for address in (f"{case}?number=2", f"{case}?number=2", f"{case}?number=x", case, case, other, "short"):
        number = len(found)
        found[f"{number}: delete {address}"] = answer(client.delete(f"/review/{address}"), places)
    return found


def record_http(files, places, folder):
    "The HTTP interface through Flask's test client."
    _, api_class = load()
    api = api_class(threads=1)
    client = api.app.test_client()
    some = handful(files)
    found = dict(pages=record_pages(client, places), predict=record_predict(client, some, places))
    found["no store"] = post(client, "/review", places, dict(file=part(next(iter(files.values())))))
    limits = type(api.limits)(files=11)
    with_store = api_class(threads=1, limits=limits, reviews=folder / "reviews").app.test_client()
    found["batch"] = record_batch(with_store, some, places)
    found["review"] = record_review(with_store, files, places)
    guarded = api_class(threads=1, api_key="secret", cors=("https://a.example",)).app.test_client()
    for name, headers in (("none", {}), ("wrong", {"X-API-Key": "guess"}), ("right", {"X-API-Key": "secret"}),
                          ("bearer", {"Authorization": "Bearer secret", "Origin": "https://a.example"})):
        found[f"key {name}"] = {a: answer(guarded.get(a, headers=headers), places)["status"]
                                for a in ("/", "/health/ready", "/codes", "/models", "/samples", "/metrics")}
    found["cors"] = answer(guarded.get("/codes", headers={"Origin": "https://a.example"}), places)["headers"]
    return found


def run_command(arguments, places):
    "Exit code and output of `pneumonia`, called in this process."
    command = load_command()
    out = io.StringIO()
    err = io.StringIO()
    old = sys.argv
    sys.argv = ["pneumonia", *map(str, arguments)]
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            command()
    except SystemExit as e:
        code = e.code
    finally:
        sys.argv = old
    shown = []
    for line in out.getvalue().splitlines():
        shown.append(plain(json.loads(line) if line.startswith("{") else line, places))
    return dict(exit=code, out=shown, err=plain(err.getvalue(), places).splitlines())


def record_commands(files, places, folder):
    "A few commands: predictions, a report, a check of the model, and typical mistakes."
    first, second = list(files.values())[:2]
    bad = files["made/text.jpeg"]
    report = folder / "report"
    few = folder / "few"
    few.mkdir()
    for path in (first, bad):
        (few / path.name).write_bytes(path.read_bytes())
    commands = {
        "--version": ["--version"],
        "predict --json": ["predict", "--json", first, second, bad],
        "predict, table": ["predict", first, bad],
        "predict, zh": ["predict", "--lang", "zh", first, bad],
        "predict, all bad": ["predict", "--json", bad, files["made/missing.jpeg"]],
        "predict, unknown option": ["predict", "--nothing", first],
        "predict, missing model": ["predict", "--model", "missing.bundle", first],
        "screen": ["screen", few, "--out", report],
        "screen, zh": ["screen", few, "--out", report, "--lang", "zh", "--json"],
        "screen, nothing": ["screen"],
        "verify": ["verify", "--json"],
        "verify int8": ["verify", "int8"],
        "models list": ["models", "list", "--models", folder / "none"],
        "review list": ["review", "list", "--reviews", folder / "none"],
        "review add": ["review", "add", first, "--reviews", folder / "store", "--label", "NORMAL", "--reader", "A"],
        "review list --json": ["review", "list", "--reviews", folder / "store", "--json"],
        "review check": ["review", "check", "--reviews", folder / "store"],
    }
    found = {name: run_command(arguments, places) for name, arguments in commands.items()}
    found["results.csv"] = (report / "results.csv").read_text(encoding="utf-8").splitlines()
    return found


def record(out):
    "Write a recording of the package that Python finds first."
    os.environ.update(COLUMNS="120", NO_COLOR="1", TERM="dumb", TF_CPP_MIN_LOG_LEVEL="3")
    start = time.perf_counter()
    import pneumonia_nbdev
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        (folder / "made").mkdir()
        files = find_files(folder / "made")
        places = [(str(folder), "<temp>"), (str(package_folder()), "<package>"), (str(shared_folder()), "<shared>")]
        found = dict(
            about=dict(version=pneumonia_nbdev.__version__, package=str(package_folder()), files=len(files)),
            python=record_python(files, places),
            http=record_http(files, places, folder),
            commands=record_commands(files, places, folder))
    Path(out).write_text(json.dumps(found, indent=1, ensure_ascii=False), encoding="utf-8")
    print(f"{out}: {len(files)} files, {len(flat(found))} values, {time.perf_counter() - start:.0f} s")


# --- comparison --------------------------------------------------------------------------------------------------

def flat(value, path=()):
    "Nested dicts and lists as {path: value}, where a path is a tuple of keys."
    if not value or not isinstance(value, (dict, list)):
        return {path: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = {}
    for key, inner in items:
        found.update(flat(inner, (*path, str(key))))
    return found


def renamed(path, renames):
    "A path with every allowed rename applied; a rename may span several keys, such as `quality.ok`."
    for old, new in renames:
        size = len(old)
        for i in range(len(path) - size + 1):
            if path[i:i + size] == old:
                path = path[:i] + new + path[i + size:]
                break
    return path


def parse_rename(text):
    "`old=new` as two tuples of keys."
    old, separator, new = text.partition("=")
    if not separator or not old or not new:
        raise SystemExit(f"a rename looks like old=new or quality.ok=quality.good, not {text!r}")
    return tuple(old.split(".")), tuple(new.split("."))


def read_renames(options, file):
    "All renames: those of the command line, and one a line from a file; `#` begins a remark."
    lines = Path(file).read_text(encoding="utf-8").splitlines() if file else []
    from_file = [line.partition("#")[0].strip() for line in lines]
    return [parse_rename(text) for text in [*options, *filter(None, from_file)]]


def same(a, b, tolerance):
    "Are two values equal, numbers within the tolerance?"
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in (a, b))
    if numbers:
        return math.isclose(a, b, rel_tol=0, abs_tol=tolerance) or (math.isnan(a) and math.isnan(b))
    return type(a) is type(b) and a == b


def differences(before, after, renames, tolerance):
    "(path, value before, value after) of everything that differs; `...` stands for a value that is not there."
    old = {renamed(path, renames): value for path, value in flat(before).items()}
    new = flat(after)
    for path in [*old, *(p for p in new if p not in old)]:
        a = old.get(path, ...)
        b = new.get(path, ...)
        on_both_sides = ... not in (a, b)
        if on_both_sides and (VOLATILE.intersection(path) or same(a, b, tolerance)):
            continue
        yield path, a, b


def shown(value):
    "A value in one short line."
    text = "(absent)" if value is ... else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 160 else f"{text[:150]}… ({len(text)} characters)"


def compare(options):
    "Print every field that differs, then the count; returns the exit code."
    before, after = (json.loads(Path(p).read_text(encoding="utf-8")) for p in (options.before, options.after))
    for name, found in (("before", before), ("after", after)):
        about = found.pop("about")
        print(f"{name}: version {about['version']}, {about['files']} files, {about['package']}")
    renames = read_renames(options.rename, options.renames)
    count = 0
    for path, a, b in differences(before, after, renames, options.tolerance):
        where = " > ".join(path)
        if any(fnmatch.fnmatchcase(where, pattern) for pattern in options.ignore):
            continue
        if options.allow_added and a is ...:
            continue
        count += 1
        if count <= options.show:
            print(f"{where}\n    before: {shown(a)}\n    after:  {shown(b)}")
    if count > options.show:
        print(f"... and {count - options.show} more (see them with --show)")
    print(f"{count} differences")
    return 1 if count else 0


def main():
    "Read the command line."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="write a recording of the package that Python finds first")
    recording.add_argument("out", help="the JSON file to write")
    comparing = commands.add_parser("compare", help="print every field that differs between two recordings")
    comparing.add_argument("before")
    comparing.add_argument("after")
    comparing.add_argument("--rename", action="append", default=[], metavar="OLD=NEW", help="an allowed rename")
    comparing.add_argument("--renames", metavar="FILE", help="a file with allowed renames, one a line")
    comparing.add_argument("--ignore", action="append", default=[], metavar="PATTERN",
                           help="leave out paths like this, such as '* > headers > *'")
    comparing.add_argument("--allow-added", action="store_true", help="ignore fields that are only in AFTER")
    comparing.add_argument("--tolerance", type=float, default=1e-6, help="for numbers (default: %(default)s)")
    comparing.add_argument("--show", type=int, default=200, help="print at most this many (default: %(default)s)")
    options = parser.parse_args()
    if options.command == "record":
        record(options.out)
        return 0
    return compare(options)


if __name__ == "__main__":
    sys.exit(main())
