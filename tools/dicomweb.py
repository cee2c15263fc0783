"""A small DICOMweb server on the loopback interface for the tests of notebooks: QIDO, WADO and STOW of a few objects.

    from dicomweb import dicomweb_server

    with dicomweb_server([dataset, ...]) as server:
        server.url, server.objects  # SOP Instance UID -> data sets in the order of their arrival
"""

import http.server
import io
import json
import re
import threading
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import pydicom

BOUNDARY = "parts-of-the-test-server"


def file_content(dataset):
    "A data set as the content of a file"
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
    "The addresses of a DICOMweb server below `/dicom-web`"

    def log_message(self, *_):
        "Write no log"

    def answer(self, status, content=b"", kind="application/dicom+json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def allowed(self):
        self.server.requests.append((self.command, self.path))
        if self.server.failures:
            self.answer(self.server.failures.pop(0))
            return False
        if self.server.token and self.headers.get("Authorization") != f"Bearer {self.server.token}":
            self.answer(401)
            return False
        return True

    def found(self, path, query):
        "The data sets below a path, one for each level"
        uids = re.findall(r"(?:studies|series|instances)/([0-9.]+)", path)
        names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        depth = path.count("/")  # 1 for studies
        level = names[(depth - 1) // 2]
        rows = {}
        for objects in self.server.objects.values():
            dataset = objects[-1]
            date = query.get("StudyDate", [""])[0].partition("-")[0]
            modality = query.get("Modality", [""])[0]
            if date and str(dataset.get("StudyDate")) < date or modality and dataset.Modality != modality:
                continue
            if all(dataset[name].value == uid for name, uid in zip(names, uids, strict=False)):
                rows.setdefault(dataset[level].value, dataset)
        return list(rows.values())

    def do_GET(self):
        if not self.allowed():
            return
        parts = urlsplit(self.path)
        path = parts.path.partition("/dicom-web")[2]
        query = parse_qs(parts.query)
        if re.fullmatch(r"/studies/[\d.]+/series/[\d.]+/instances/[\d.]+", path):
            objects = self.server.objects.get(path.rpartition("/")[2])
            if not objects:
                self.answer(404)
                return
            head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
            content = head + file_content(objects[-1]) + f"\r\n--{BOUNDARY}--\r\n".encode()
            self.answer(200, content, f'multipart/related; type="application/dicom"; boundary={BOUNDARY}')
            return
        found = self.found(path, query)
        offset = int(query.get("offset", ["0"])[0])
        limit = int(query.get("limit", ["1000"])[0])
        rows = []
        for dataset in found[offset : offset + limit]:
            names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "Modality", "StudyDate")
            row = pydicom.Dataset({dataset[name].tag: dataset[name] for name in names if name in dataset})
            rows.append(row.to_json_dict())
        self.answer(200 if rows else 204, json.dumps(rows).encode() if rows else b"")

    def do_POST(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.allowed():
            return
        boundary = re.search(r'boundary="?([^";]+)', self.headers["Content-Type"])[1].encode()
        for part in content.split(b"--" + boundary)[1:-1]:
            raw = part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
            dataset = pydicom.dcmread(io.BytesIO(raw))
            self.server.objects.setdefault(str(dataset.SOPInstanceUID), []).append(dataset)
        self.answer(200, json.dumps({}).encode())


@contextmanager
def dicomweb_server(datasets=(), token=None):
    "A server with some objects; yields it with `url`, `objects`, `requests` and `failures`"
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.objects = {str(dataset.SOPInstanceUID): [dataset] for dataset in datasets}
    server.requests = []
    server.failures = []  # statuses of the next answers
    server.token = token
    server.url = f"http://127.0.0.1:{server.server_address[1]}/dicom-web"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
