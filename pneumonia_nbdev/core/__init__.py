"""Core: reading images, quality checks, bundles, metrics."""

# Written by tools/structure.py from the `__all__` of the modules.
import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "i18n": [
            "LANGS",
            "texts",
            "translate",
        ],
        "base": [
            "BadArchive",
            "BadBundle",
            "BadData",
            "CLASSES",
            "CannotRead",
            "CannotWrite",
            "InputError",
            "InvalidOption",
            "MissingFile",
            "MissingPackage",
            "MultiFrame",
            "NewerBundle",
            "NoPixelData",
            "NotAnXray",
            "PneumoniaError",
            "TooLarge",
            "UnreadableImage",
            "data_dir",
            "error_codes",
            "label",
            "sample_dir",
        ],
        "xray": [
            "MAX_BYTES",
            "MAX_PIXELS",
            "MAX_SIDE",
            "XRay",
            "to_pil",
        ],
        "decoder_process": [
            "IsolationFailed",
            "TooSlow",
        ],
        "image": [
            "COLORMAPS",
            "InputSpec",
            "load_image",
            "load_resized",
            "overlay",
            "preprocess",
            "read_xray",
        ],
        "folders": [
            "find_images",
        ],
        "runtimes": [
            "ENGINES",
            "load_litert",
            "load_onnx",
            "load_openvino",
        ],
        "view": [
            "VIEWS",
            "view_probabilities",
        ],
        "quality": [
            "Quality",
            "REASONS",
            "assess_quality",
            "quality_metrics",
        ],
        "ood": [
            "OODDetector",
        ],
        "card": [
            "CARD_SCHEMA",
        ],
        "packing": [
            "default_bundle",
            "find_bundle",
            "read_bundle",
            "write_bundle",
        ],
        "bundle": [
            "Bundle",
            "heatmap",
            "predict_images",
            "verify_bundle",
        ],
        "metrics": [
            "bootstrap_interval",
            "bootstrap_weights",
            "compare_auroc",
            "compare_metrics",
            "delong_interval",
            "logit",
            "mcnemar",
            "metrics_with_ci",
            "sigmoid",
            "wilson_interval",
        ],
        "plots": [
            "CLASS_COLORS",
            "plot_language",
        ],
        "prediction": [
            "FailedPrediction",
            "Prediction",
        ],
    },
)
