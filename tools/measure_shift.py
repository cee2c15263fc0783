"""Learning on under a real shift: adults of another hospital arrive in five rounds, and only cases that are on the worklist get a label.

    python tools/measure_shift.py DATA ADULTS [--work runs/shift] [--ledger nbs/results/test_ledger.csv]

DATA is the official set, ADULTS a folder with labels.csv (patientId, cls, view, target) and the images. Every third patient of each class and view, in the order of a hash, is held out for good; the others come in five rounds in the same order. In each round the worklist of the model in use gives out 80 cases, a quarter of them by lot from patients that are held out for the gate. Four ways: no update; naive fine-tuning of all layers on the round's cases, one after the other; replay with the gate; and the same with 30 % of the labels of the third round flipped, which is the last one there.

The figures of each model on the official test set (logged in the ledger) and on the held-out adults go to nbs/results/shift.csv, learning curves by order of labelling to nbs/results/curve.csv. Nothing is chosen by them. An arm that is done is not done again.
"""

import argparse, hashlib, json, os, shutil
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras, numpy as np, pandas as pd
from pneumonia_nbdev.core.bundle import Bundle
from pneumonia_nbdev.continual.update import group_weights, last_maps, load_replay, pooled
from pneumonia_nbdev.core.base import CLASSES
from pneumonia_nbdev.data.dataset import MedicalDataLoader, fingerprint
from pneumonia_nbdev.evaluation.evaluation import log_test_evaluation
from pneumonia_nbdev.transfer.keras_io import load_keras_model
from pneumonia_nbdev.core.metrics import compare_auroc, metrics_with_ci
from pneumonia_nbdev.continual.gate import AcceptanceCriteria, update_and_promote
from pneumonia_nbdev.core.image import preprocess, read_xray
from pneumonia_nbdev.deployment.registry import ModelRegistry
from pneumonia_nbdev.deployment.case_store import CaseStore
from pneumonia_nbdev.training.linear_head import fit_head
from pneumonia_nbdev.continual.worklist import Candidates, disagreement, rank_cases, uncertainty

args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
args.add_argument("data", type=Path)
args.add_argument("adults", type=Path)
args.add_argument("--work", type=Path, default=Path("runs/shift"))
args.add_argument("--ledger", type=Path)
args.add_argument("--budget", type=int, default=80)
args.add_argument("--draws", type=int, default=20)
args.add_argument("--out", type=Path, default=Path("nbs/results"))
args = args.parse_args()

base = Bundle()
loader = MedicalDataLoader(args.data)
table = pd.read_csv(args.adults / "labels.csv")
table["path"] = [next(args.adults.rglob(f"{p}.*")) for p in table.patientId]
table["order"] = [hashlib.sha256(p.encode()).hexdigest() for p in table.patientId]
table = table.sort_values("order").reset_index(drop=True)
held = table[table.groupby(["cls", "view"]).cumcount() % 3 == 0]
fresh = table.drop(held.index)
rounds = [fresh.iloc[i] for i in np.array_split(np.arange(len(fresh)), 5)]
test = loader.split_rows("test")
prepared = lambda paths: np.stack([preprocess(read_xray(p), base.spec) for p in paths])
X_test = prepared(test.path)
X_held = prepared(held.path)
y_test = (test.label == CLASSES[1]).to_numpy(int)
y_held = held.target.to_numpy(int)


def both(model):
    "Probabilities on the official test set and on the held-out adults"
    if isinstance(model, Bundle):
        return model.run(X_test)["probability"], model.run(X_held)["probability"]
    return tuple(
        np.concatenate([model.predict_on_batch(x[i : i + 32])[:, -1] for i in range(0, len(x), 32)])
        for x in (X_test, X_held)
    )


ZERO = both(base)


def line(way, n, labels, model, name, threshold, gate=""):
    "One row of the table, and a line in the ledger"
    p = both(model)
    row = dict(way=way, round=n, labels=labels, gate=gate, model=name)
    for side, y, q, zero, who in (
        ("official", y_test, p[0], ZERO[0], test.patient.to_numpy()),
        ("adults", y_held, p[1], ZERO[1], None),
    ):
        t = metrics_with_ci(y, q, threshold, who)
        d = compare_auroc(y, q, zero)
        row |= {
            f"{side}_n": len(y),
            **{
                f"{side}_{k}": t[v]["auroc"]
                for k, v in (("auroc", "value"), ("low", "low"), ("high", "high"))
            },
            f"{side}_sensitivity": t.value["sensitivity"],
            f"{side}_specificity": t.value["specificity"],
            f"{side}_change": d["difference"],
            f"{side}_change_low": d["low"],
            f"{side}_change_high": d["high"],
        }
        if side == "official" and args.ledger and n:
            log_test_evaluation(
                t,
                args.ledger,
                model=name,
                data=fingerprint(test),
                threshold=f"{threshold:.4f}",
                rule="its own",
                why=f"shift, {way}, round {n}; nothing chosen by it",
            )
    print(
        {
            k: round(v, 4) if isinstance(v, float) else v
            for k, v in row.items()
            if not k.endswith(("_low", "_high", "_n"))
        },
        flush=True,
    )
    return row


def ask(store, bundle, batch, flip=0.0):
    "A round arrives; the worklist's cases get their labels, a share of them flipped"
    labels = {
        store.add(r.path, base, patient=r.patientId, source="import").id: CLASSES[r.target]
        for r in batch.itertuples()
    } | json.loads(
        (store.folder / "labels.json").read_text() if (store.folder / "labels.json").exists() else "{}"
    )
    (store.folder / "labels.json").write_text(json.dumps(labels))
    todo = store.worklist(bundle, args.budget).id.tolist()
    lies = set(
        sorted(todo, key=lambda i: hashlib.sha256(f"lie {i}".encode()).hexdigest())[: round(flip * len(todo))]
    )
    for id in todo:
        store.add_review(id, labels[id] if id not in lies else CLASSES[labels[id] == CLASSES[0]], "reader")
    return todo, [CLASSES.index(labels[i]) for i in todo]


def rounds_of(store, registry, way, numbers, poisoned=None):
    "Some rounds with replay and gate; in the one that is `poisoned`, 30 % of the labels are wrong"
    rows = []
    for n in numbers:
        current = Bundle(registry.folder) if registry.current else base
        ask(store, current, rounds[n - 1], 0.3 if n == poisoned else 0.0)
        found = update_and_promote(store, registry, base, AcceptanceCriteria())
        now = Bundle(registry.folder)
        candidate = Bundle(registry.path(found.name))
        assert len(store.consensus()) == n * args.budget
        rows.append(
            line(
                way,
                n,
                n * args.budget,
                now,
                now.id,
                now.threshold,
                "promoted" if found else "refused: " + "; ".join(found.judgement.reasons),
            )
        )
        if not found or n == poisoned:
            rows.append(
                line(
                    f"{way}: the candidate",
                    n,
                    n * args.budget,
                    candidate,
                    candidate.id,
                    candidate.threshold,
                    "promoted" if found else "refused",
                )
            )
    return rows


def replay(way="replay and gate"):
    "All five rounds"
    shutil.rmtree(args.work / way, ignore_errors=True)  # a half-done arm begins anew
    return rounds_of(
        CaseStore(args.work / way / "reviews"), ModelRegistry(args.work / way / "models"), way, range(1, 6)
    )


def poisoned(way="replay and gate, third round poisoned"):
    "The third round again, from the store and the model of the second, with 30 % wrong labels"
    clean = args.work / "replay and gate"
    folder = args.work / way
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("reviews", "models"):
        shutil.copytree(clean / part, folder / part)
    store = CaseStore(folder / "reviews")
    registry = ModelRegistry(folder / "models")
    with store.transaction() as db:
        db.execute("DELETE FROM reviews WHERE number > ?", (2 * args.budget,))
    early = {c.id for batch in rounds[:2] for p in batch.patientId for c in store.patient_cases(p)}
    for c in store.cases():
        if c.id not in early:
            store.delete(c.id)
    second = next(r["model"] for r in json.loads((args.work / "replay.json").read_text()) if r["round"] == 2)
    while Bundle(registry.folder).id != second:
        registry.rollback("back to the second round")
    return rounds_of(store, registry, way, [3], 3)


def naive():
    "All layers are trained on the cases that each round of the replay had labelled, five epochs, one round after the other"
    store = CaseStore(args.work / "replay and gate" / "reviews")
    rows = []
    asked = store.reviews()
    keras.utils.set_random_seed(0)
    model = load_keras_model(base)
    model.compile(keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy")
    for n in range(1, 6):
        batch = asked[(n - 1) * args.budget : n * args.budget]
        model.fit(
            np.stack([preprocess(store.pixels(r["case_id"]), base.spec) for r in batch]),
            np.array([CLASSES.index(r["label"]) for r in batch]),
            epochs=5,
            batch_size=16,
            verbose=0,
        )
        name = hashlib.sha256(b"".join(w.tobytes() for w in model.get_weights())).hexdigest()[:12]
        rows.append(line("naive fine-tuning", n, n * args.budget, model, name, base.threshold))
    return rows


def curve():
    "AUROC on the held-out adults by the number of labels, for several orders of labelling"
    memory = load_replay(base)
    core = load_replay(base).rows("core")
    network = pooled(last_maps(load_keras_model(base)))
    images = prepared(fresh.path)
    ask_net = lambda x: np.concatenate(
        [network.predict_on_batch(x[i : i + 32]) for i in range(0, len(x), 32)]
    )
    F = ask_net(images)
    H = ask_net(X_held)
    out = base.run(images)
    y = fresh.target.to_numpy(int)
    c = Candidates(
        list(range(len(fresh))),
        out["embedding"],
        uncertainty(out["probability"], base.threshold),
        np.array([disagreement(read_xray(p), base) for p in fresh.path]),
    )
    novel = rank_cases(c, base).set_index("id").novel[c.ids].to_numpy()
    orders = {
        "worklist": [rank_cases(c, base).id.to_numpy()],
        "not sure": [np.argsort(-c.unsure, kind="stable")],
        "of two minds": [np.argsort(-c.torn, kind="stable")],
        "not seen": [np.argsort(-novel, kind="stable")],
        "by lot": [np.random.default_rng(i).permutation(len(fresh)) for i in range(args.n_resamples)],
    }
    rows = []
    for order, n_resamples in orders.items():
        for draw, at in enumerate(n_resamples):
            for n in (50, 100, 150, 200, 300, 400, len(fresh)):
                i = at[:n]
                if min(np.bincount(y[i], minlength=2)) < 2:
                    continue
                X = np.concatenate([memory.X[core], F[i]])
                labels = np.r_[memory.y[core], y[i]]
                w, b = fit_head(
                    X, labels, 1e-4, group_weights(np.r_[np.zeros(core.sum()), np.ones(n)], labels)
                )
                rows.append(
                    dict(
                        order=order,
                        draw=draw,
                        labels=n,
                        auroc=metrics_with_ci(
                            y_held, 1 / (1 + np.exp(-(H @ w + b) / 5)), 0.5, n_resamples=2
                        ).value["auroc"],
                    )
                )
    return rows


WAYS = dict(
    none=lambda: [line("no update", 0, 0, base, base.id, base.threshold)],
    replay=replay,
    naive=naive,
    poisoned=poisoned,
    curve=curve,
)
args.work.mkdir(parents=True, exist_ok=True)
for way, f in WAYS.items():
    if not (kept := args.work / f"{way}.json").exists():
        kept.write_text(json.dumps(f()))
rows = {way: json.loads((args.work / f"{way}.json").read_text()) for way in WAYS}
pd.DataFrame(rows["curve"]).round(4).to_csv(args.out / "curve.csv", index=False)
pd.DataFrame([r for way in ("none", "naive", "replay", "poisoned") for r in rows[way]]).round(4).to_csv(
    args.out / "shift.csv", index=False
)
