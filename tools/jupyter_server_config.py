"""Configuration of `make lab`: opening a notebook doesn't mark it as changed, and saving writes no metadata.

JupyterLab stores the exact Python version of the kernel in a notebook when it opens it. A notebook from another
machine is therefore marked as changed at once. Here the metadata are added when a notebook is read and removed when it
is written, so the file on the disk changes only when its cells change.
"""

import platform
from pathlib import Path

from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

LANGUAGE_INFO = dict(
    codemirror_mode=dict(name="ipython", version=3),
    file_extension=".py",
    mimetype="text/x-python",
    name="python",
    nbconvert_exporter="python",
    pygments_lexer="ipython3",
    version=platform.python_version(),
)
KERNELS = {  # as in the file -> as JupyterLab writes it
    "python3": dict(display_name="Python 3 (ipykernel)", language="python", name="python3"),
}
STORED_KERNEL = dict(display_name="python3", language="python", name="python3")


class NotebookManager(AsyncLargeFileManager):
    "Adds the metadata of the running kernel to a notebook when it is opened"

    async def get(self, path, content=True, type=None, format=None, **options):
        model = await super().get(path, content=content, type=type, format=format, **options)
        if model["type"] == "notebook" and model["content"]:
            metadata = model["content"]["metadata"]
            kernel = metadata.get("kernelspec", {}).get("name", "python3")
            if kernel in KERNELS:
                metadata.update(kernelspec=KERNELS[kernel], language_info=LANGUAGE_INFO)
        return model


def remove_metadata(model, **_):
    "Write a notebook with the metadata that it has in the repository"
    if model["type"] != "notebook" or not model.get("content"):
        return
    metadata = model["content"]["metadata"]
    if metadata.get("kernelspec", {}).get("name") in KERNELS:
        metadata["kernelspec"] = STORED_KERNEL
        metadata.pop("language_info", None)


if "get_config" in globals():  # Jupyter runs this file with the function `get_config`
    c = get_config()  # noqa: F821
    c.ServerApp.contents_manager_class = NotebookManager
    c.FileContentsManager.pre_save_hook = remove_metadata
    c.NotebookManager.pre_save_hook = remove_metadata
    c.ServerApp.root_dir = str(Path(__file__).resolve().parents[1] / "nbs")
    c.LabApp.default_url = "/lab/tree/index.ipynb"
    c.LabApp.app_settings_dir = str(Path(__file__).resolve().parent / "jupyterlab")  # no news from the network
