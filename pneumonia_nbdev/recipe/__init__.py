"""Recipe: the default model and its report."""

# Written by tools/structure.py from the `__all__` of the modules.
import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "recipe": [
            "RECIPES",
            "Recipe",
            "augmented_batches",
            "choose_recipe",
            "fine_tune",
            "fit_calibrated_head",
            "score_files",
            "train_default",
        ],
        "report": [
            "Evaluation",
            "augmented_scores",
            "evaluate_bundle",
            "format_table",
        ],
    },
)
