"""Training: linear head, trainer."""

# Written by tools/structure.py from the `__all__` of the modules.
import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "linear_head": ["choose_C", "fit_head", "fit_temperature", "precompute_features"],
        "callbacks": ["SaveBest", "SaveCheckpoint", "StopOnNaN", "device_scope", "warmup_cosine"],
        "progress": ["LivePlot"],
        "trainer": ["ModelTrainer"],
    },
)
