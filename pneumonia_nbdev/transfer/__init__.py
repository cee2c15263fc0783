"""Transfer learning: pretrained backbones, Keras files."""

# Written by tools/structure.py from the `__all__` of the modules.
import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "backbones": ["BACKBONES", "TransferLearningModel", "build_backbone", "efficientnet_lite0", "load_weights"],
        "adapt": ["adapt_model"],
        "regions": ["add_regions"],
        "keras_io": ["as_bundle", "linear_model", "load_keras_model"],
        "checkpoints": ["convert_checkpoint"],
    },
)
