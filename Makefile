# make run | serve | test | test-slow | test-lab | test-cluster | test-federated | test-dicom | test-app | fuzz | lab | docs | readme | lock | pin | train | export | clean
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11 python3.10,$(shell command -v $(p) >/dev/null 2>&1 && $(p) tools/system.py >/dev/null 2>&1 && echo $(p))) python3)
VENV ?= .venv
BIN := $(abspath $(VENV))/bin
DATA ?= $(or $(PNEUMONIA_DATA),../shared/data/chest_xray_224)
WEIGHTS ?= ../shared/weights/efficientnet_lite0_imagenet_notop_fp16.npz
SOURCES ?=
MASKS ?=
OUT ?= pneumonia-report
MINUTES ?= 5
SEED ?= 1

export PIP_CONSTRAINT := $(abspath constraints.txt)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export TF_CPP_MIN_LOG_LEVEL ?= 3
export PATH := $(BIN):$(PATH)

.PHONY: run serve test test-slow test-lab test-cluster test-federated test-dicom test-app fuzz lab docs readme lock pin train export clean

run: $(VENV)/.installed  ## screen the X-rays of the embedded sample
	@pneumonia screen --sample --out "$(OUT)"

serve: $(VENV)/.installed  ## start the web page and the HTTP API on this machine
	@pneumonia serve

test: $(VENV)/.installed-dev  ## run all notebooks and checks, without the slow ones
	@python tools/check.py

test-slow: $(VENV)/.installed-dev  ## run also the cells marked `slow`, the wheel with its extras, and the tutorials in JupyterLab
	@python tools/check.py --slow

test-lab: $(VENV)/.installed-dev  ## run the notebooks in real kernels, with changed settings, and the solutions of the exercises
	@python tools/lab.py

test-cluster: $(VENV)/.installed-dev  ## screen an archive while clients, workers and schedulers are killed
	@python tools/cluster.py

test-federated: $(VENV)/.installed-dev  ## train at three sites while sites and the server are killed
	@python tools/federated.py

test-dicom: $(VENV)/.installed-dev  ## Orthanc, DCMTK and validators as peers of the listener; installs their Debian packages as root
	@python tools/dicom.py --install

test-app: $(VENV)/.installed-dev  ## run the browser app in Chromium: same results as Python, offline, updates, bad files
	@python tools/app.py

fuzz: $(VENV)/.installed-dev  ## send damaged files to the reader, the server and the command line, for MINUTES=5
	@python tools/fuzz.py --minutes "$(MINUTES)" --seed "$(SEED)" $(if $(KEEP),--keep "$(KEEP)")

lab: $(VENV)/.installed-dev  ## open the notebooks in JupyterLab
	@jupyter lab --config=tools/jupyter_server_config.py

docs: $(VENV)/.installed-dev  ## build the documentation site in _docs, without a network
	@python tools/docs.py

readme: $(VENV)/.installed-dev  ## write README.md from nbs/index.ipynb, and the tables of topics
	@python tools/structure.py
	@python tools/readme.py

export: $(VENV)/.installed-dev  ## write the package from the notebooks
	@nbdev_export && nbdev_clean && python tools/structure.py

lock: $(VENV)/.installed-dev  ## write the lock files of the container image; needs the package index
	@python tools/lock.py

pin: $(VENV)/.installed-dev  ## pin the actions of the workflows and the base image; needs the network
	@python tools/pin.py

train: $(VENV)/.installed-dev  ## train the default model again, on the full data set, SOURCES="rsna.csv nih.csv" and MASKS=lungs.npz
	@pneumonia train --recipe default --data "$(DATA)" --weights "$(WEIGHTS)" \
	  $(foreach source,$(SOURCES),--source "$(source)") $(if $(MASKS),--lung-masks "$(MASKS)") \
	  --out pneumonia_nbdev/models/default.bundle --test-log nbs/results/test_ledger.csv --reason "make train"

$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "missing: $(PYTHON); on Debian or Ubuntu: apt install python3 python3-venv"; exit 1; }
	@$(PYTHON) tools/system.py
	@$(PYTHON) -m venv "$(VENV)"

$(VENV)/.installed: $(VENV)/bin/python settings.ini setup.py constraints.txt
	@echo "installing the package into $(VENV)"
	@python -m pip install --quiet --editable .
	@python tools/system.py --libraries
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "installing the development tools into $(VENV); this takes a few minutes the first time"
	@python -m pip install --quiet --editable ".[dev]"
	@touch $@

clean:
	rm -rf "$(VENV)" _proc _docs build dist *.egg-info pneumonia-report
