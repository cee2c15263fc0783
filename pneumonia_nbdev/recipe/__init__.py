"""Recipe: the default model and its report."""

# Written by tools/structure.py from the `__all__` of the modules.
import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "fine_tuning": [
            "MAX_SEED",
            "RECIPES",
            "REGIONS",
            "Recipe",
            "WITH_REGIONS",
            "augmented_batches",
            "choose_recipe",
            "fine_tune",
        ],
        "recipe": ["score_files", "train_default"],
        "rendering": ["Evaluation"],
        "report": ["augmented_scores", "evaluate_bundle"],
        "own_model": ["make_bundle", "recalibrate"],
        "view_training": ["ViewSources", "random_view", "train_views", "view_network", "view_sources"],
    },
)
