"""Chest X-ray pneumonia detection: train, evaluate, explain, serve and update a classifier."""

__version__ = "0.1.0"

# Written by tools/structure.py from the `__all__` of the modules.
import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "core.i18n": [
            "LANGS",
            "texts",
            "translate",
        ],
        "core.base": [
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
        "core.xray": [
            "MAX_BYTES",
            "MAX_PIXELS",
            "MAX_SIDE",
            "XRay",
            "to_pil",
        ],
        "core.decoder_process": [
            "IsolationFailed",
            "TooSlow",
        ],
        "core.image": [
            "COLORMAPS",
            "InputSpec",
            "load_image",
            "load_resized",
            "overlay",
            "preprocess",
            "read_xray",
        ],
        "core.folders": [
            "find_images",
        ],
        "core.runtimes": [
            "ENGINES",
            "load_litert",
            "load_onnx",
            "load_openvino",
        ],
        "core.view": [
            "VIEWS",
            "view_probabilities",
        ],
        "core.quality": [
            "Quality",
            "REASONS",
            "assess_quality",
            "quality_metrics",
        ],
        "core.ood": [
            "OODDetector",
        ],
        "core.card": [
            "CARD_SCHEMA",
        ],
        "core.packing": [
            "default_bundle",
            "find_bundle",
            "read_bundle",
            "write_bundle",
        ],
        "core.bundle": [
            "Bundle",
            "heatmap",
            "predict_images",
            "verify_bundle",
        ],
        "core.metrics": [
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
        "core.plots": [
            "CLASS_COLORS",
            "plot_language",
        ],
        "core.prediction": [
            "FailedPrediction",
            "Prediction",
        ],
        "data.augmentation": [
            "Augmentation",
            "augment",
            "augment_batch",
        ],
        "data.names": [
            "SPLITS",
        ],
        "data.files": [
            "fingerprint",
            "patient_group",
            "patient_id",
            "split_patients",
        ],
        "data.lists": [
            "list_images",
            "scan_csv",
        ],
        "data.dataset": [
            "MedicalDataLoader",
            "download",
        ],
        "data.audit": [
            "Audit",
            "find_duplicates",
            "shortcut_report",
        ],
        "data.sources": [
            "Source",
            "SourceMixer",
            "pd",
            "read_source",
        ],
        "visualization": [
            "DataVisualizer",
            "gallery",
        ],
        "cnn": [
            "PneumoniaCNN",
            "SmoothedCrossentropy",
            "classification_metrics",
            "compile_classifier",
            "positive_class_metric",
        ],
        "transfer.backbones": [
            "BACKBONES",
            "TransferLearningModel",
            "build_backbone",
            "efficientnet_lite0",
            "load_weights",
        ],
        "transfer.adapt": [
            "adapt_model",
        ],
        "transfer.regions": [
            "add_regions",
        ],
        "transfer.keras_io": [
            "as_bundle",
            "linear_model",
            "load_keras_model",
        ],
        "transfer.checkpoints": [
            "convert_checkpoint",
        ],
        "training.linear_head": [
            "choose_C",
            "fit_head",
            "fit_temperature",
            "precompute_features",
        ],
        "training.callbacks": [
            "SaveBest",
            "SaveCheckpoint",
            "StopOnNaN",
            "device_scope",
            "warmup_cosine",
        ],
        "training.progress": [
            "LivePlot",
        ],
        "training.trainer": [
            "ModelTrainer",
        ],
        "evaluation.operating_points": [
            "decision_curve",
            "operating_points",
            "predictive_value_table",
            "predictive_values",
            "sensitivity_threshold",
            "specificity_threshold",
            "threshold_interval",
            "youden_threshold",
        ],
        "evaluation.evaluation": [
            "ModelEvaluator",
            "Predictor",
            "as_predictor",
            "log_test_evaluation",
        ],
        "evaluation.calibration": [
            "calibrators",
            "conformal_limits",
            "conformal_sets",
            "conformal_table",
            "fit_calibration",
            "plot_reliability",
            "reliability",
        ],
        "evaluation.robustness": [
            "CORRUPTIONS",
            "corruption_table",
            "mean_degradation",
            "negative_control",
            "subgroup_table",
            "subgroups",
        ],
        "evaluation.error_analysis": [
            "Predictions",
            "error_gallery",
            "find_label_issues",
            "most_confident_errors",
            "predict_rows",
        ],
        "gradcam.gradcam": [
            "gradient_cam",
            "inference_model",
            "to_litert",
        ],
        "gradcam.methods": [
            "METHODS",
        ],
        "gradcam.attribution": [
            "Explanation",
            "ModelExplainer",
        ],
        "gradcam.localization": [
            "box_mask",
            "deletion_insertion",
            "region_energy",
            "sanity_check",
        ],
        "gradcam.features": [
            "FeatureVisualizer",
        ],
        "gradcam.explorer": [
            "GradCAMExplorer",
        ],
        "recipe.fine_tuning": [
            "MAX_SEED",
            "RECIPES",
            "REGIONS",
            "Recipe",
            "WITH_REGIONS",
            "augmented_batches",
            "choose_recipe",
            "fine_tune",
        ],
        "recipe.recipe": [
            "score_files",
            "train_default",
        ],
        "recipe.rendering": [
            "Evaluation",
        ],
        "recipe.report": [
            "augmented_scores",
            "evaluate_bundle",
        ],
        "recipe.own_model": [
            "make_bundle",
            "recalibrate",
        ],
        "recipe.view_training": [
            "ViewSources",
            "random_view",
            "train_views",
            "view_network",
            "view_sources",
        ],
        "deployment.predictor": [
            "PneumoniaDetectionSystem",
            "Report",
            "format_probability",
        ],
        "deployment.privacy": [
            "deidentified_png",
            "has_burned_in_text",
            "pseudonym",
        ],
        "deployment.readers": [
            "NotOwner",
            "QuotaExceeded",
            "ReaderKeys",
        ],
        "deployment.case_fields": [
            "CaseNotFound",
            "InvalidStore",
            "StoreBusy",
        ],
        "deployment.case_images": [
            "Case",
        ],
        "deployment.case_store": [
            "CaseStore",
        ],
        "deployment.registry": [
            "ModelNotFound",
            "ModelRegistry",
            "RegistryLocked",
        ],
        "deployment.workers": [
            "Workers",
        ],
        "deployment.server": [
            "Server",
        ],
        "deployment.http": [
            "Limits",
        ],
        "deployment.api": [
            "PneumoniaDetectionAPI",
        ],
        "quantization.parity": [
            "Parity",
        ],
        "quantization.benchmark": [
            "BaselineDetector",
            "Benchmark",
            "interleaved_timing",
            "speedup_table",
        ],
        "quantization.data_benchmark": [
            "benchmark_data",
        ],
        "quantization.litert": [
            "Export",
            "ParityError",
        ],
        "quantization.tensorrt": [
            "TensorRTEngine",
        ],
        "quantization.export": [
            "ModelOptimizer",
            "plot_performance",
        ],
        "continual.drift": [
            "DriftReport",
            "fit_reference",
            "load_reference",
            "monitor",
            "observe",
            "plot_drift",
        ],
        "continual.worklist": [
            "rank_cases",
        ],
        "continual.replay": [
            "add_replay",
            "load_replay",
        ],
        "continual.update": [
            "load_reviewed_cases",
            "update",
        ],
        "continual.criteria": [
            "AcceptanceCriteria",
        ],
        "continual.gate": [
            "GateResult",
            "evaluate_candidate",
            "update_and_promote",
        ],
        "cluster.screening": [
            "screen_archive",
        ],
        "cluster.cost": [
            "ClusterCost",
        ],
        "dicom.report": [
            "to_sr",
        ],
        "dicom.overlay": [
            "to_sc",
        ],
        "dicom.outline": [
            "to_gsps",
        ],
        "dicom.segmentation": [
            "to_seg",
        ],
        "dicom.key_object": [
            "to_ko",
        ],
        "cli.doctor": [
            "examine",
        ],
        "cli.cli": [
            "main",
        ],
    },
)
