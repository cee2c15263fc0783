"""Every export of the default model against the original, on the whole validation and test sets; and the small bundle that ships.

    python tools/measure_exports.py DATA [--ledger nbs/results/test_ledger.csv] [--ship]

DATA is the official set. Calibration: 250 images of validation. Layers are chosen by validation alone; test is looked at once for each export, and the looks go into the ledger. The table goes to nbs/results/parity.csv, `--ship` writes pneumonia_nbdev/models/int8.bundle with the figures of its own network.

    python tools/measure_exports.py DATA --other-quantizer

compares, on validation alone, the 8 bits of TensorFlow's converter with those of ai-edge-quantizer (`pip install ai-edge-quantizer`), from the same calibration images.
"""

import argparse, os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import pandas as pd
from pneumonia_nbdev.core.bundle import Bundle, default_bundle
from pneumonia_nbdev.data.dataset import MedicalDataLoader, fingerprint
from pneumonia_nbdev.evaluation.evaluation import log_test_evaluation
from pneumonia_nbdev.core.metrics import metrics_with_ci
from pneumonia_nbdev.quantization.parity import Parity, run_model, parity_table
from pneumonia_nbdev.quantization.export import ModelOptimizer

args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
args.add_argument("data", type=Path)
args.add_argument("--ledger", type=Path)
args.add_argument("--ship", action="store_true")
args.add_argument("--other-quantizer", action="store_true")
args = args.parse_args()


def other_quantizer(optimizer, x):
    "8 bits by ai-edge-quantizer, floats at both ends"
    from ai_edge_quantizer import algorithm_manager, quantizer
    from ai_edge_quantizer.qtyping import TFLOperationName as Op

    q = quantizer.Quantizer(optimizer.quantize_model("float32").content)
    q.add_static_config(".*", Op.ALL_SUPPORTED, 8, 8)
    for end in (Op.INPUT, Op.OUTPUT):
        q.update_quantization_recipe(".*", end, algorithm_key=algorithm_manager.AlgorithmName.NO_QUANTIZE)
    content = bytes(
        q.quantize(
            q.calibrate({"serving_default": [{"image": i[None]} for i in x]}, num_threads=1)
        ).quantized_model
    )
    return optimizer._export("int8", content, x)


bundle = Bundle()
loader = MedicalDataLoader(args.data)
optimizer = ModelOptimizer(bundle, loader)
if args.other_quantizer:
    x = optimizer.calibration_images(loader)
    print(
        parity_table(
            {
                "TensorFlow's converter": optimizer.quantize_model("int8", x).parity,
                "ai-edge-quantizer": other_quantizer(optimizer, x).parity,
            }
        ).to_string()
    )
    raise SystemExit
exports = [
    optimizer.quantize_model(k, loader) for k in ("float32", "float16", "dynamic", "int8", "int8_uint8io")
]
exports += [
    optimizer.export_onnx(),
    optimizer.export_onnx("int8", loader),
    optimizer.export_onnx("int8", loader, symmetric=True),
    optimizer.export_openvino(),
    optimizer.export_openvino("int8", loader),
]
exports[7].kind += "-symmetric"
test = loader.split_rows("test")
images = loader.images(test)
y = (test.label == "PNEUMONIA").to_numpy().astype(int)
want = run_model(optimizer.model, images)
tables = []
kept = {}
for e in exports:
    on_test = Parity(want, run_model(e.run, images), optimizer.threshold, y, e.arithmetic)
    table = parity_table({"validation": e.parity, "test": on_test}).rename_axis("part").reset_index()
    tables.append(
        table.assign(
            export=e.kind,
            id=e.id,
            megabytes=len(e.content) / 1e6,
            layers_in_floats=len(e.floats),
            worst=[
                ", ".join(rows.path.map(lambda p: Path(p).name).iloc[q.worst(3)])
                for rows, q in ((loader.split_rows("val"), e.parity), (test, on_test))
            ],
        )
    )
    figures = {
        "val": metrics_with_ci(
            optimizer.labels, e.parity.q, optimizer.threshold, loader.split_rows("val").patient.to_numpy()
        ),
        "test": metrics_with_ci(y, on_test.q, optimizer.threshold, test.patient.to_numpy()),
    }
    kept[e.kind] = figures
    if args.ledger:
        log_test_evaluation(
            figures["test"],
            args.ledger,
            model=e.id,
            data=fingerprint(test),
            threshold=f"{optimizer.threshold:.4f}",
            rule=bundle.card["threshold_rule"],
            why=f"parity of the export {e.kind}",
        )
    print(tables[-1].drop(columns="worst").to_string(), flush=True)
pd.concat(tables).set_index(["export", "part"]).to_csv("nbs/results/parity.csv", float_format="%.6g")
if args.ship:
    metrics = {
        split: {k: dict(r) for k, r in t.round(4).astype(object).iterrows()}
        for split, t in kept["int8"].items()
    }
    print(Bundle(optimizer.write(exports[3], default_bundle("int8"), metrics=metrics)))
