"""Quantization: 8 bits, ONNX, OpenVINO, TensorRT, speed."""

# Written by tools/structure.py from the `__all__` of the modules.
import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "parity": [
            "Parity",
        ],
        "benchmark": [
            "BaselineDetector",
            "Benchmark",
            "benchmark_augmentation",
            "benchmark_data",
            "bounds",
            "interleaved_timing",
            "measure_screen",
            "measure_single",
            "measure_start",
            "peak_memory",
            "peak_rss",
            "run_python",
            "screen_files",
            "speedup_table",
            "this_machine",
        ],
        "export": [
            "Export",
            "KINDS",
            "MIN_CALIBRATION",
            "ModelOptimizer",
            "PRECISIONS",
            "PROVIDERS",
            "ParityError",
            "TensorRTEngine",
            "build_engine",
            "engine_path",
            "find_tensorrt",
            "gpu_name",
            "plot_performance",
            "quantize_onnx",
            "read_onnx",
        ],
        "litert": [
            "Export",
            "ParityError",
        ],
        "tensorrt": [
            "TensorRTEngine",
        ],
    },
)
