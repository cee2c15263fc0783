"""Data: augmentation, data set, audit."""

# Written by tools/structure.py from the `__all__` of the modules.
import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "augmentation": ["Augmentation", "augment", "augment_batch"],
        "names": ["SPLITS"],
        "files": ["fingerprint", "patient_group", "patient_id", "split_patients"],
        "lists": ["list_images", "scan_csv"],
        "dataset": ["MedicalDataLoader", "download"],
        "audit": ["Audit", "find_duplicates", "shortcut_report"],
        "sources": ["Source", "SourceMixer", "pd", "read_source"],
    },
)
