"""Grad-CAM: heat maps, attribution, localization, explorer."""

# Written by tools/structure.py from the `__all__` of the modules.
import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "gradcam": ["gradient_cam", "inference_model", "to_litert"],
        "methods": ["METHODS"],
        "attribution": ["Explanation", "ModelExplainer"],
        "localization": ["box_mask", "deletion_insertion", "region_energy", "sanity_check"],
        "features": ["FeatureVisualizer"],
        "explorer": ["GradCAMExplorer"],
    },
)
