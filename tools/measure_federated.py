"""Measure a federated training of three sites against each site alone and all images together.

    python tools/measure_federated.py DATA --rsna FOLDER --nih FOLDER --weights FILE [--only NAME ...] [--work FOLDER]

DATA is the official data set. Two sites have half of its training patients each, the third site has three quarters of
the patients of RSNA and the images of NIH without a finding. The last quarter of RSNA is held out. All arms start
from the weights of ImageNet and have the same number of steps. The official test set is evaluated once for each arm;
each of these evaluations is a row of `nbs/results/test_ledger.csv`. The results are `nbs/results/federated.csv` (an
arm and a set of images a row) and `nbs/results/federated.json` (rounds, bytes, seconds, memory). An arm that is in
the work folder isn't computed again.
"""

import argparse
import hashlib
import json
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
from nvflare.apis.dxo import DXO, DataKind, MetaKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.filters.svt_privacy import SVTPrivacy

from make_sources import SUFFIXES
from pneumonia_nbdev import MedicalDataLoader
from pneumonia_nbdev.core.base import CLASSES
from pneumonia_nbdev.core.bundle import Bundle
from pneumonia_nbdev.core.metrics import compare_auroc, delong_interval, metrics_with_ci, sigmoid
from pneumonia_nbdev.data.files import fingerprint
from pneumonia_nbdev.evaluation.evaluation import log_test_evaluation
from pneumonia_nbdev.federated.aggregation import apply_change
from pneumonia_nbdev.federated.candidate import untrained_bundle
from pneumonia_nbdev.federated.head import FeatureScale, HeadLearner, combine_moments, final_head
from pneumonia_nbdev.federated.kits import init_federation
from pneumonia_nbdev.federated.local_data import count_images, divide_patients
from pneumonia_nbdev.federated.network import NetworkLearner, logit_network
from pneumonia_nbdev.federated.plan import Plan
from pneumonia_nbdev.federated.rounds import Reply, run_rounds
from pneumonia_nbdev.federated.run import event_line, simulate_federation
from pneumonia_nbdev.federated.site import Site
from pneumonia_nbdev.federated.state import FederationState
from pneumonia_nbdev.training.linear_head import precompute_features
from pneumonia_nbdev.transfer.keras_io import load_keras_model, split_head

RESULTS = Path(__file__).resolve().parents[1] / "nbs" / "results"
SITES = ("children-a", "children-b", "adults")
HEAD = dict(learn="head", rounds=30, steps=5, timeout=7200)
NETWORK = dict(learn="network", rounds=4, steps=10, learning_rate=3e-4, timeout=7200, check=False)
FEDERATED = {  # arm -> choices of the plan
    "head, FedAvg": HEAD,
    "head, FedProx": HEAD | dict(mu=0.1),
    "network, FedAvg": NETWORK,
    "network, FedAvg, local statistics": NETWORK | dict(statistics="local"),
    "network, FedProx": NETWORK | dict(mu=0.01),
}
PRIVATE = {  # arm -> epsilon of a round for the choice of weights, and for their values
    "head, FedAvg, epsilon 2,000 a round": (1e3, 1e3),
    "head, FedAvg, epsilon 200,000 a round": (1e5, 1e5),
}
FILTER = dict(fraction=1.0, gamma=1e-4, tau=1e-7)  # further options of the privacy filter
DIFFERENCE = {"": "difference", "_low": "low", "_high": "high"}


def adult_rows(rsna, nih):
    "The images of RSNA with class and patient, and those of NIH without a finding"
    files = {path.stem: str(path.resolve()) for path in rsna.rglob("*.*") if path.suffix in SUFFIXES}
    found = pd.read_csv(rsna / "labels.csv", dtype=str)
    label = np.where(found.cls == "Lung Opacity", CLASSES[1], CLASSES[0])
    rows = pd.DataFrame(dict(path=found.patientId.map(files), label=label, patient="rsna-" + found.patientId))
    more = pd.read_csv(nih / "labels.csv", dtype=str)
    more = more[more["No Finding"] == "1"]
    paths = [str((nih / "images" / name).resolve()) for name in more.image]
    return rows, pd.DataFrame(dict(path=paths, label=CLASSES[0], patient="nih-" + more.patient))


def make_data(options):
    "The lists of images of the sites and of the held-out adults"
    folder = options.work / "data"
    if not (folder / "held-out.csv").exists():
        folder.mkdir(parents=True, exist_ok=True)
        official = MedicalDataLoader(options.data)
        for name, part in divide_patients(official, SITES[:2]).items():
            table = part.files[["path", "label", "split", "patient", "group"]]
            table.assign(path=[str(Path(p).resolve()) for p in table.path]).to_csv(folder / f"{name}.csv", index=False)
        rsna, nih = adult_rows(options.rsna, options.nih)
        quarter = [int(hashlib.sha256(p.encode()).hexdigest(), 16) % 4 == 0 for p in rsna.patient]
        adults = pd.concat([rsna[~np.array(quarter)], nih]).assign(split="train")
        adults.to_csv(folder / "adults.csv", index=False)
        rsna[quarter].assign(split="test").to_csv(folder / "held-out.csv", index=False)
    return {name: folder / f"{name}.csv" for name in (*SITES, "held-out")}


class Tests:
    "The official test set and the held-out adults"

    def __init__(self, options, spec):
        self.loaders = dict(official=MedicalDataLoader(options.data))
        self.loaders["held-out adults"] = MedicalDataLoader(make_data(options)["held-out"])
        for loader in self.loaders.values():
            loader.spec = spec

    def rows(self, name):
        return self.loaders[name].split_rows("test")

    def batches(self, name):
        return self.loaders[name].create_dataset("test")[0]

    def truth(self, name):
        rows = self.rows(name)
        return (rows.label == CLASSES[1]).to_numpy(int), rows.patient.to_numpy()


class Study:
    "All arms, with their log odds in the work folder"

    def __init__(self, options):
        self.options = options
        self.folder = options.work
        self.data = make_data(options)
        self.start = self.folder / "start.bundle"
        if not self.start.exists():
            untrained_bundle(self.start, options.weights)
        self.spec = Bundle(self.start).spec
        self.tests = Tests(options, self.spec)
        self._features = None

    def loader(self, *sites):
        "The images of one or several sites"
        parts = [MedicalDataLoader(self.data[site]) for site in sites]
        loader = parts[0]
        if len(parts) > 1:
            loader.files = pd.concat([part.files for part in parts], ignore_index=True)
        loader.spec = self.spec
        return loader

    def test_features(self):
        "Features of both test sets"
        if self._features is None:
            backbone, _ = split_head(load_keras_model(self.start))
            self._features = {n: precompute_features(backbone, self.tests.batches(n))[0] for n in self.tests.loaders}
        return self._features

    def head_logits(self, weights, scale):
        w, b = final_head(weights, scale)
        return {name: X @ w + b for name, X in self.test_features().items()}

    def network_logits(self, weights):
        model = logit_network(self.start)
        for variable in model.variables:
            variable.assign(weights[variable.path])
        return {
            name: np.concatenate([model.predict_on_batch(x)[:, 0] for x, _ in self.tests.batches(name)])
            for name in self.tests.loaders
        }

    def plan(self, **choices):
        "A plan for an arm in this process"
        digest = hashlib.sha256(self.start.read_bytes()).hexdigest()
        return Plan(name="study", sites=SITES, start="start.bundle", start_sha256=digest, **choices)

    def alone(self, learn, sites, steps):
        "One site, or all images together, with the same steps as in the federated arm"
        plan = self.plan(**(HEAD if learn == "head" else NETWORK) | dict(steps=steps))
        loader = self.loader(*sites)
        if learn == "head":
            learner = HeadLearner(plan, loader, self.start, self.folder / "features")
            scale = combine_moments([learner.moments()])
            weights = learner.start(scale)
            for number in range(plan.rounds):
                weights = apply_change(weights, learner.train(weights, scale, number))
            return self.head_logits(weights, scale)
        learner = NetworkLearner(plan, loader, self.start)
        weights = learner.start()
        for number in range(plan.rounds):
            weights = apply_change(weights, learner.train(weights, number))
            print(f"  part {number + 1} of {plan.rounds}", flush=True)
        return self.network_logits(weights)

    def federated(self, name, choices):
        "A federated arm with NVFlare's simulator"
        project = self.folder / "projects" / name.replace(", ", "-").replace(" ", "-").lower()
        if not project.exists():
            init_federation(project, SITES, self.start, **choices)
        private = project / "simulation" / "private"
        for site in SITES:  # features are computed once for all arms
            (private / site).mkdir(parents=True, exist_ok=True)
            for path in (self.folder / "features").glob("*.npz"):
                if not (private / site / path.name).exists():
                    (private / site / path.name).hardlink_to(path)
        memory = Memory()
        data = {site: self.data[site] for site in SITES}
        state = simulate_federation(project, data, lambda event: print("  " + event_line(event), flush=True))
        peak = memory.stop()
        for path in private.rglob("features-*.npz"):
            kept = self.folder / "features" / path.name
            kept.parent.mkdir(exist_ok=True)
            if not kept.exists():
                kept.hardlink_to(path)
        self.note(name, state, peak)
        if choices["learn"] == "head":
            return self.head_logits(state.weights, FeatureScale(**state.more))
        return self.network_logits(state.weights)

    def here(self, choices, change=None):
        "A federated training in this process; `change` may alter the replies of a task"
        project = self.folder / "here"
        project.mkdir(exist_ok=True)
        if not (project / "start.bundle").exists():
            (project / "start.bundle").hardlink_to(self.start)
        plan = self.plan(**choices)
        plan.write(project)
        sites = {site: Site(site, project, self.data[site], self.folder / "features") for site in SITES}

        def ask(task, arrays, options, targets):
            replies = {site: Reply(*sites[site].answer(task, arrays, options)) for site in targets}
            if change:
                change(sites, task, replies, arrays, options)
            return replies

        with tempfile.TemporaryDirectory() as folder:
            return run_rounds(FederationState(folder, plan), ask, self.start)

    def private(self, epsilon, epsilon_release):
        "A federated head with NVFlare's privacy filter"
        options = FILTER | dict(epsilon=epsilon, epsilon_release=epsilon_release)
        np.random.seed(0)

        def add_noise(sites, task, replies, arrays, asked):
            for site, reply in replies.items() if task == "train" else ():
                meta = {MetaKey.NUM_STEPS_CURRENT_ROUND: reply.metrics["patients"]}
                filtered = SVTPrivacy(**options).process_dxo(
                    DXO(DataKind.WEIGHT_DIFF, dict(reply.arrays), meta), Shareable(), FLContext()
                )
                changed = {name: np.asarray(value, np.float32) for name, value in filtered.data.items()}
                replies[site] = reply._replace(arrays=changed)

        state = self.here(HEAD | dict(rounds=10, check=False), add_noise)
        return self.head_logits(state.weights, FeatureScale(**state.more))

    def absurd(self):
        "Effects of honest and of absurd updates of each site from the third round on"
        rows = []
        for kind in ("none", "exchanged labels", "times 100"):
            for bad in SITES if kind != "none" else ("",):
                state = self.here(HEAD | dict(rounds=6), spoil(kind, bad))
                for entry in state.history[1:]:
                    named = bad in entry["refused"]
                    rows.append(dict(kind=kind, site=bad, round=entry["round"], named=named, **entry["effects"]))
                    others = [site for site in entry["refused"] if site != bad]
                    rows[-1] |= dict(others_named=", ".join(others), reason=entry["refused"].get(bad, ""))
        return pd.DataFrame(rows)

    def note(self, name, state, peak):
        "Rounds, bytes and seconds of an arm"
        path = self.folder / "runs.json"
        runs = json.loads(path.read_text()) if path.exists() else {}
        tasks = [event for event in state.progress() if event["event"] == "task"]
        rounds = state.plan.rounds
        used = {t: [e for e in tasks if e["task"] == t] for t in ("train", "validate")}
        runs[name] = dict(
            rounds=rounds,
            reports={str(entry["round"]): entry["sites"] for entry in state.history},
            refused={str(entry["round"]): entry["refused"] for entry in state.history if entry["refused"]},
            seconds_a_round=[entry["seconds"] for entry in state.history[1:]],
            bytes_sent_a_round=sum(e["sent_bytes"] for each in used.values() for e in each) / rounds,
            bytes_received_a_round=sum(e["received_bytes"] for each in used.values() for e in each) / rounds,
            peak_mb=peak,
            calibration=state.result["calibration"],
        )
        path.write_text(json.dumps(runs, indent=1))

    def arm(self, name, compute):
        "The log odds of an arm on both test sets; computed once"
        path = self.folder / "arms" / f"{name}.npz"
        if not path.exists():
            start = time.monotonic()
            print(name, flush=True)
            found = compute()
            path.parent.mkdir(exist_ok=True)
            np.savez(path, **found)
            print(f"  {time.monotonic() - start:.0f} s", flush=True)
        with np.load(path) as stored:
            return {key: stored[key] for key in stored.files}


def spoil(kind, bad):
    "A change of the replies of one site from the third round on"

    def change(sites, task, replies, arrays, options):
        if task != "train" or options["round"] < 2 or bad not in replies:
            return
        if kind == "exchanged labels":
            learner = sites[bad].learner
            honest = learner.features
            learner.features = honest._replace(y=1 - honest.y)
            replies[bad] = Reply(*sites[bad].answer(task, arrays, options))
            learner.features = honest
        elif kind == "times 100":
            changed = {name: 100 * value for name, value in replies[bad].arrays.items()}
            replies[bad] = replies[bad]._replace(arrays=changed)

    return change


class Memory:
    "Largest resident memory of a site in a simulation"

    def __init__(self):
        self.peak = dict(site=0)
        self.running = True
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()

    def _watch(self):
        import psutil

        while self.running:
            for process in psutil.Process().children(recursive=True):
                try:
                    command = " ".join(process.cmdline())
                    if "simulator_worker" in command:
                        self.peak["site"] = max(self.peak["site"], process.memory_info().rss // 10**6)
                except psutil.Error:
                    continue
            time.sleep(0.5)

    def stop(self):
        self.running = False
        self.thread.join()
        return self.peak


def arms_of(study):
    "Name of an arm -> function that computes its log odds"
    found = {}
    for learn, choices in (("head", HEAD), ("network", NETWORK)):
        steps = choices["steps"]
        for site in SITES:
            found[f"{learn}, {site} alone"] = lambda a=learn, s=site, n=steps: study.alone(a, (s,), n)
        # A federated round has the steps of three sites.
        together = steps if learn == "head" else 3 * steps
        found[f"{learn}, all together"] = lambda a=learn, n=together: study.alone(a, SITES, n)
    for name, choices in FEDERATED.items():
        found[name] = lambda n=name, c=choices: study.federated(n, c)
    for name, epsilons in PRIVATE.items():
        found[name] = lambda e=epsilons: study.private(*e)
    return found


def table_of(study, arms):
    "AUROC of each arm on each test set, with the difference to all images together"
    rows = []
    for name, logits in arms.items():
        learn = name.split(",")[0]
        for images in study.tests.loaders:
            y, patients = study.tests.truth(images)
            p = sigmoid(np.clip(logits[images], -30, 30))
            auroc, low, high = delong_interval(y, p, patients)
            row = dict(learn=learn, arm=name, images=images, n=len(y), auroc=auroc, low=low, high=high)
            together = arms.get(f"{learn}, all together")
            if together is not None and name != f"{learn}, all together":
                difference = compare_auroc(y, p, sigmoid(np.clip(together[images], -30, 30)), patients)
                row |= {f"difference{end}": difference[k] for end, k in DIFFERENCE.items()}
            rows.append(row)
    return pd.DataFrame(rows).round(4)


def log_looks(study, arms):
    "A row of the test log for each arm that has none"
    ledger = RESULTS / "test_ledger.csv"
    y, patients = study.tests.truth("official")
    digest = fingerprint(study.tests.rows("official"))
    for name, logits in arms.items():
        reason = f"federated study: {name}"
        if reason in ledger.read_text(encoding="utf-8"):
            continue
        p = sigmoid(np.clip(logits["official"], -30, 30))
        model = hashlib.sha256(np.round(logits["official"], 4).tobytes()).hexdigest()[:12]
        table = metrics_with_ci(y, p, 0.5, patients)
        log_test_evaluation(table, ledger, model=model, data=digest, threshold="0.5000", rule="none, 0.5", why=reason)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rsna", type=Path, required=True)
    parser.add_argument("--nih", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/federated"))
    parser.add_argument("--only", nargs="*", help="parts of the names of arms")
    parser.add_argument("--absurd", action="store_true", help="measure absurd updates: federated_absurd.csv")
    parser.add_argument("--write", action="store_true", help="write the results and the test log")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    study = Study(options)
    found = {}
    for name, compute in arms_of(study).items():
        if (study.folder / "arms" / f"{name}.npz").exists() or not options.only or any(o in name for o in options.only):
            found[name] = study.arm(name, compute)
    if options.absurd:
        study.absurd().to_csv(RESULTS / "federated_absurd.csv", index=False)
    if options.write:
        table_of(study, found).to_csv(RESULTS / "federated.csv", index=False)
        log_looks(study, found)
        counts = {site: count_images(study.loader(site)) for site in SITES}
        runs = json.loads((study.folder / "runs.json").read_text())
        (RESULTS / "federated.json").write_text(json.dumps(dict(sites=counts, runs=runs), indent=1) + "\n")


if __name__ == "__main__":
    main()
