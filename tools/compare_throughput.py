"""Throughput of this tree against another one, side by side.

    git worktree add ../before COMMIT
    python tools/compare_throughput.py ../before [N]

Four tasks are measured N times (30 by default) in both trees, in alternating order: `pneumonia screen --sample`,
`batch_predict` in Python, and `/batch_predict` and `/predict` of a server, each with the originals of the sample.
The ratio of the times, other tree to this one, is printed with its quartiles; above 1, this tree is faster.
"""

import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from statistics import quantiles
from time import perf_counter

ROOT = Path(__file__).resolve().parents[1]
ORIGINALS = sorted((ROOT / "pneumonia_nbdev/sample/originals").rglob("*.jpeg"))
SCREEN = "from pneumonia_nbdev.cli.cli import main; main()"
SERVE = "from pneumonia_nbdev.deployment.api import PneumoniaDetectionAPI as A; A().run(port=0)"
PREDICT = """
import sys
from pneumonia_nbdev import PneumoniaDetectionSystem
system = PneumoniaDetectionSystem()
for line in sys.stdin:
    results = system.batch_predict(sys.argv[1:])
    print(sum("error" not in r for r in results), flush=True)
"""


def command(code, *arguments):
    "A Python process that imports the package from PYTHONPATH, not from the current folder"
    return [sys.executable, "-P", "-c", code, *map(str, arguments)]


def form(files, field):
    "Files as a form"
    head = f'--sep\r\nContent-Disposition: form-data; name="{field}"; filename="x"\r\n\r\n'.encode()
    return b"".join(head + file.read_bytes() + b"\r\n" for file in files) + b"--sep--\r\n"


class Tree:
    "The tasks in one tree"

    def __init__(self, folder):
        self.env = {**os.environ, "PYTHONPATH": str(folder)}
        pipes = dict(text=True, env=self.env, cwd="/")
        self.predictor = subprocess.Popen(
            command(PREDICT, *ORIGINALS * 2), stdin=subprocess.PIPE, stdout=subprocess.PIPE, **pipes
        )
        self.server = subprocess.Popen(command(SERVE), stderr=subprocess.PIPE, **pipes)
        address = json.loads(self.server.stderr.readline())["url"].removeprefix("http://")
        threading.Thread(target=self.server.stderr.read, daemon=True).start()
        self.connection = http.client.HTTPConnection(address, timeout=120)
        self.batch = form(ORIGINALS * 2, "files")
        self.single = form(ORIGINALS[:1], "file")

    def post(self, path, body):
        "Send a form to the server"
        self.connection.request("POST", path, body, {"Content-Type": "multipart/form-data; boundary=sep"})
        response = self.connection.getresponse()
        response.read()
        assert response.status == 200, response.status

    def predict_batch(self):
        "Predict the originals twice"
        self.predictor.stdin.write("\n")
        self.predictor.stdin.flush()
        assert int(self.predictor.stdout.readline()) == 2 * len(ORIGINALS)

    def screen(self):
        "Run the command"
        with tempfile.TemporaryDirectory() as folder:
            arguments = command(SCREEN, "screen", "--sample", "--out", folder)
            subprocess.run(arguments, check=True, capture_output=True, env=self.env, cwd=folder)

    def tasks(self):
        "Name -> task"
        return {
            "screen --sample": self.screen,
            "batch_predict": self.predict_batch,
            "/batch_predict": lambda: self.post("/batch_predict", self.batch),
            "/predict": lambda: self.post("/predict", self.single),
        }

    def close(self):
        "End the processes"
        for process in (self.predictor, self.server):
            process.terminate()
            process.wait(60)


def seconds(task):
    "The time of a task"
    start = perf_counter()
    task()
    return perf_counter() - start


def main():
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 30
    trees = [Tree(Path(sys.argv[1]).resolve()), Tree(ROOT)]
    tasks = [tree.tasks() for tree in trees]
    try:
        for name in tasks[0]:
            ratios = []
            for i in range(n + 1):
                order = (0, 1) if i % 2 else (1, 0)
                times = {tree: seconds(tasks[tree][name]) for tree in order}
                if i:  # the first run fills caches
                    ratios.append(times[0] / times[1])
            low, middle, high = quantiles(ratios, n=4)
            print(f"{name:16} {middle:.3f} (quartiles {low:.3f} to {high:.3f}, n = {n})", flush=True)
    finally:
        for tree in trees:
            tree.close()


if __name__ == "__main__":
    main()
