"""Evaluation: operating points, calibration, robustness, error analysis."""

# Written by tools/structure.py from the `__all__` of the modules.
import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "operating_points": [
            "decision_curve",
            "operating_points",
            "predictive_value_table",
            "predictive_values",
            "sensitivity_threshold",
            "specificity_threshold",
            "threshold_interval",
            "youden_threshold",
        ],
        "evaluation": ["ModelEvaluator", "Predictor", "as_predictor", "log_test_evaluation"],
        "calibration": [
            "calibrators",
            "conformal_limits",
            "conformal_sets",
            "conformal_table",
            "fit_calibration",
            "plot_reliability",
            "reliability",
        ],
        "robustness": [
            "CORRUPTIONS",
            "corruption_table",
            "mean_degradation",
            "negative_control",
            "subgroup_table",
            "subgroups",
        ],
        "error_analysis": [
            "Predictions",
            "error_gallery",
            "find_label_issues",
            "most_confident_errors",
            "predict_rows",
        ],
    },
)
