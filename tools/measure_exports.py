"""Compare every export of the default model with the original, on the complete validation and test sets.

    python tools/measure_exports.py DATA [--test-log nbs/results/test_ledger.csv] [--ship] [--kinds int8 float16]

DATA is the official data set. Exports are calibrated on 250 images of validation, and layers are selected on validation
alone. Each export is evaluated on test once, and the evaluation is recorded in the test log. The table is written to
nbs/results/parity.csv; with `--kinds`, the rows of these LiteRT kinds alone are replaced. `--ship` writes
pneumonia_nbdev/models/int8.bundle with the metrics of its own network.

    python tools/measure_exports.py DATA --other-quantizer

compares, on validation alone, the 8-bit model of TensorFlow's converter with that of ai-edge-quantizer
(`pip install ai-edge-quantizer`), from the same calibration images.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import pandas as pd

from pneumonia_nbdev.core.base import CLASSES
from pneumonia_nbdev.core.bundle import Bundle, default_bundle
from pneumonia_nbdev.core.metrics import metrics_with_ci
from pneumonia_nbdev.data.dataset import MedicalDataLoader
from pneumonia_nbdev.data.files import fingerprint
from pneumonia_nbdev.evaluation.evaluation import log_test_evaluation
from pneumonia_nbdev.quantization.export import ModelOptimizer
from pneumonia_nbdev.quantization.parity import Parity, parity_table, run_model


def other_quantizer(optimizer, images):
    "An 8-bit export by ai-edge-quantizer, with float input and output"
    from ai_edge_quantizer import algorithm_manager, quantizer
    from ai_edge_quantizer.qtyping import TFLOperationName

    converter = quantizer.Quantizer(optimizer.quantize_model("float32").content)
    converter.add_static_config(".*", TFLOperationName.ALL_SUPPORTED, 8, 8)
    for end in (TFLOperationName.INPUT, TFLOperationName.OUTPUT):
        no_quantization = algorithm_manager.AlgorithmName.NO_QUANTIZE
        converter.update_quantization_recipe(".*", end, algorithm_key=no_quantization)
    samples = {"serving_default": [{"image": image[None]} for image in images]}
    result = converter.quantize(converter.calibrate(samples, num_threads=1))
    return optimizer._litert_export("int8", bytes(result.quantized_model), images)


def compare_quantizers(optimizer, loader):
    "Print the parity of both quantizers"
    images = optimizer.calibration_images(loader)
    comparisons = {
        "TensorFlow's converter": optimizer.quantize_model("int8", images).parity,
        "ai-edge-quantizer": other_quantizer(optimizer, images).parity,
    }
    print(parity_table(comparisons).to_string())


def all_exports(optimizer, loader, kinds):
    "Exports of the named LiteRT kinds, or of all kinds"
    if kinds:
        return [optimizer.quantize_model(kind, loader) for kind in kinds]
    exports = [
        optimizer.quantize_model(kind, loader) for kind in ("float32", "float16", "dynamic", "int8", "int8_uint8io")
    ]
    symmetric = optimizer.export_onnx("int8", loader, symmetric=True)
    symmetric.kind += "-symmetric"
    return exports + [
        optimizer.export_onnx(),
        optimizer.export_onnx("int8", loader),
        symmetric,
        optimizer.export_openvino(),
        optimizer.export_openvino("int8", loader),
    ]


def worst_names(rows, parity):
    "Names of the three files with the largest difference"
    return ", ".join(Path(path).name for path in rows.path.iloc[parity.worst(3)])


def table_of(export, on_test, val, test):
    "Rows of the table for one export"
    table = parity_table({"validation": export.parity, "test": on_test}).rename_axis("part").reset_index()
    return table.assign(
        export=export.kind,
        id=export.id,
        megabytes=len(export.content) / 1e6,
        layers_in_floats=len(export.float_layers),
        worst=[worst_names(val, export.parity), worst_names(test, on_test)],
    )


def as_json(metrics):
    "Metrics of the splits as plain types, for a card"
    return {
        split: {name: dict(row) for name, row in table.round(4).astype(object).iterrows()}
        for split, table in metrics.items()
    }


def measure(bundle, optimizer, loader, test_log, kinds):
    "Write the table of the exports; returns the 8-bit export and its metrics"
    int8 = None
    val = loader.split_rows("val")
    test = loader.split_rows("test")
    images = loader.images(test)
    labels = (test.label == CLASSES[1]).to_numpy().astype(int)
    expected = run_model(optimizer.model, images)
    threshold = optimizer.threshold
    tables = []
    for export in all_exports(optimizer, loader, kinds):
        on_test = Parity(expected, run_model(export.run, images), threshold, labels, export.precision)
        tables.append(table_of(export, on_test, val, test))
        metrics = {
            "val": metrics_with_ci(optimizer.labels, export.parity.p_actual, threshold, val.patient.to_numpy()),
            "test": metrics_with_ci(labels, on_test.p_actual, threshold, test.patient.to_numpy()),
        }
        if export.kind == "int8":
            int8 = export, as_json(metrics)
        if test_log:
            log_test_evaluation(
                metrics["test"],
                test_log,
                model=export.id,
                data=fingerprint(test),
                threshold=f"{threshold:.4f}",
                rule=bundle.card["threshold_rule"],
                why=f"parity of the export {export.kind}",
            )
        print(tables[-1].drop(columns="worst").to_string(), flush=True)
    table = pd.concat(tables).set_index(["export", "part"])
    if kinds:
        stored = pd.read_csv("nbs/results/parity.csv", index_col=["export", "part"])
        stored.loc[table.index] = table[stored.columns].astype(stored.dtypes)
        table = stored
    table.to_csv("nbs/results/parity.csv", float_format="%.6g")
    return int8


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--test-log", "--ledger", type=Path)
    parser.add_argument("--ship", action="store_true")
    parser.add_argument("--kinds", nargs="+", default=())
    parser.add_argument("--other-quantizer", action="store_true")
    args = parser.parse_args()
    bundle = Bundle()
    loader = MedicalDataLoader(args.data)
    optimizer = ModelOptimizer(bundle, loader)
    if args.other_quantizer:
        compare_quantizers(optimizer, loader)
        return
    export, metrics = measure(bundle, optimizer, loader, args.test_log, args.kinds)
    if args.ship:
        print(Bundle(optimizer.write(export, default_bundle("int8"), metrics=metrics)))


if __name__ == "__main__":
    main()
