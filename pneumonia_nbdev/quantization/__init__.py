"""Quantization: 8 bits, ONNX, OpenVINO, TensorRT, speed."""

# Written by tools/structure.py from the `__all__` of the modules.
import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "parity": ["Parity"],
        "benchmark": ["BaselineDetector", "Benchmark", "interleaved_timing", "speedup_table"],
        "data_benchmark": ["benchmark_data"],
        "litert": ["Export", "ParityError"],
        "tensorrt": ["TensorRTEngine"],
        "export": ["ModelOptimizer", "plot_performance"],
    },
)
