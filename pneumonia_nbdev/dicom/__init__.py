"""DICOM network: results as DICOM, listener, DICOMweb, de-identification."""

# Written by tools/structure.py from the `__all__` of the modules.
import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "report": ["to_sr"],
        "overlay": ["to_sc"],
        "outline": ["to_gsps"],
        "segmentation": ["to_seg"],
        "key_object": ["to_ko"],
        "listener": ["DicomListener"],
        "deidentify": ["deidentify"],
    },
)
