"""Continual learning: drift, worklist, update, gate."""

# Written by tools/structure.py from the `__all__` of the modules.
import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "drift": ["DriftReport", "fit_reference", "load_reference", "monitor", "observe", "plot_drift"],
        "worklist": ["rank_cases"],
        "replay": ["add_replay", "load_replay"],
        "update": ["load_reviewed_cases", "update"],
        "criteria": ["AcceptanceCriteria"],
        "gate": ["GateResult", "evaluate_candidate", "update_and_promote"],
    },
)
