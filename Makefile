# Everything runs in .venv; `make env` makes it with the tested versions.
PYTHON ?= $(shell for python in python3.11 python3.12 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
SUDO := $(shell test "$$(id -u)" = 0 || command -v sudo)

.PHONY: env demo test test-all test-robustness test-pacs test-report lint data weights results benchmark env-monailabel test-monailabel env-flare test-flare env-nnunet test-nnunet docs clean

env: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test,lint,tracking,experiments]"
	touch $@

demo: env  ## one synthetic case, its segmentation with the shipped weights, a picture and the volumes
	$(BIN)/ctp-stroke demo --out demo

test: env lint  ## everything that CI runs; two processes of one thread each
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=term:skip-covered --cov-fail-under=90

test-robustness: env  ## more than 900 damaged inputs, kills, full disks and a soak; prints what came of each kind
	ROBUSTNESS_EXAMPLES=1000 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/robustness -n 2 --dist worksteal

ORTHANC ?= /usr/sbin/Orthanc

test-pacs: env  ## the node with a real Orthanc on 127.0.0.1; installs it where apt-get may
	test -x $(ORTHANC) || $(SUDO) apt-get install --yes --no-install-recommends orthanc orthanc-dicomweb
	ORTHANC=$(ORTHANC) OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/pacs -n 0

test-all: test test-robustness test-pacs test-report test-monailabel test-flare test-nnunet  ## all tests, with the environments that they need

test-report: env  ## the report of a case in Chromium, which apt-get installs where it may
	command -v chromium || $(SUDO) apt-get install --yes --no-install-recommends chromium
	REPORT_SCREENSHOTS=runs/report $(BIN)/python -m pytest tests/browser -n 0

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

data: env  ## the default data set of the configs
	$(BIN)/ctp-stroke phantom --out data/phantom --cases 94 --seed 0

COHORT := data/cohort
MORE := data/more
TRAIN := $(BIN)/python -m monai.bundle run training --config_file configs/train.json --amp True --elastic_probability 0

$(COHORT)/datalist.json: | env
	$(BIN)/ctp-stroke phantom --out $(COHORT) --split 160/12/40 --seed 2018

$(MORE)/datalist.json: | env
	$(BIN)/ctp-stroke phantom --out $(MORE) --split 480/12/0 --seed 2019

weights: env $(COHORT)/datalist.json $(MORE)/datalist.json  ## models/model.pt, as models/README.md says
	$(TRAIN) --dataset_dir $(COHORT) --seed 2018 --image_size 128 --epochs 10 --ckpt_dir runs/coarse --output_dir runs/coarse
	$(TRAIN) --dataset_dir $(COHORT) --seed 2018 --pretrained runs/coarse/model.pt --epochs 8 --learning_rate 0.0004 \
		--computed_maps 0.25 --ckpt_dir runs/fine --output_dir runs/fine
	$(TRAIN) --dataset_dir $(MORE) --seed 2019 --pretrained runs/fine/model.pt --epochs 4 --learning_rate 0.0004 \
		--computed_maps 0.5 --ckpt_dir runs/more --output_dir runs/more
	$(TRAIN) --dataset_dir $(MORE) --seed 2019 --pretrained runs/more/model.pt --epochs 4 --learning_rate 0.0004 \
		--computed_maps 0.5 --ckpt_dir runs/tuned --output_dir runs/tuned
	$(BIN)/python -m bundle ship runs/tuned/model.pt

results: env  ## docs/results.md, from the shipped weights and the same cohort
	$(BIN)/python -m bundle results

benchmark: env $(COHORT)/datalist.json  ## docs/performance.md: speed and memory on this machine
	OMP_NUM_THREADS=1 $(BIN)/python -m bundle benchmark all --out docs/performance.json

VENV_MONAILABEL ?= .venv-monailabel

env-monailabel: $(VENV_MONAILABEL)/.ready  ## MONAI Label 0.8.5 on a CPU

$(VENV_MONAILABEL)/.ready: pyproject.toml constraints.txt $(wildcard bundle/monai_label/*.txt bundle/monai_label/*.py)
	$(PYTHON) -m venv $(VENV_MONAILABEL)
	grep -v '^pydicom==' constraints.txt > $(VENV_MONAILABEL)/constraints.txt  # MONAI Label pins an older one
	$(VENV_MONAILABEL)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(VENV_MONAILABEL)/bin/pip install --quiet --disable-pip-version-check --constraint $(VENV_MONAILABEL)/constraints.txt \
		--editable ".[tracking]" --requirement bundle/monai_label/requirements.txt
	$(VENV_MONAILABEL)/bin/pip install --quiet --disable-pip-version-check --no-deps \
		--requirement bundle/monai_label/requirements-no-deps.txt
	cp bundle/monai_label/torchvision_operators.py $(VENV_MONAILABEL)/lib/python3*/site-packages
	echo "import torchvision_operators" > $$(echo $(VENV_MONAILABEL)/lib/python3*/site-packages)/torchvision_operators.pth
	$(VENV_MONAILABEL)/bin/python -c "import monailabel.app, monailabel.tasks.infer.bundle, monailabel.tasks.train.bundle"
	touch $@

test-monailabel: env env-monailabel  ## the bundle in MONAI Label's own server, over REST
	MONAILABEL_PYTHON=$(VENV_MONAILABEL)/bin/python $(BIN)/python -m pytest tests/monailabel -n 0

VENV_FLARE ?= .venv-flare

env-flare: $(VENV_FLARE)/.ready  ## NVIDIA FLARE 2.7.2, which pins an older Flask than ours

$(VENV_FLARE)/.ready: pyproject.toml constraints.txt bundle/federated/requirements.txt
	$(PYTHON) -m venv $(VENV_FLARE)
	grep -v '^Flask==' constraints.txt > $(VENV_FLARE)/constraints.txt
	$(VENV_FLARE)/bin/pip install --quiet --disable-pip-version-check --constraint $(VENV_FLARE)/constraints.txt torch
	$(VENV_FLARE)/bin/pip install --quiet --disable-pip-version-check --constraint $(VENV_FLARE)/constraints.txt \
		--editable . --requirement bundle/federated/requirements.txt
	touch $@

test-flare: env env-flare  ## the federated training in FLARE's own simulator
	FLARE_PYTHON=$(VENV_FLARE)/bin/python $(BIN)/python -m pytest tests/bundle/federated -n 0

VENV_NNUNET ?= .venv-nnunet

env-nnunet: $(VENV_NNUNET)/.ready  ## nnU-Net, which needs nothing of ours

$(VENV_NNUNET)/.ready: constraints.txt bundle/nnunet/requirements.txt bundle/monai_label/torchvision_operators.py
	$(PYTHON) -m venv $(VENV_NNUNET)
	$(VENV_NNUNET)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		torch --requirement bundle/nnunet/requirements.txt
	cp bundle/monai_label/torchvision_operators.py $(VENV_NNUNET)/lib/python3*/site-packages
	echo "import torchvision_operators" > $$(echo $(VENV_NNUNET)/lib/python3*/site-packages)/torchvision_operators.pth
	$(VENV_NNUNET)/bin/python -c "import nnunetv2.training.nnUNetTrainer.nnUNetTrainer"
	touch $@

test-nnunet: env env-nnunet  ## nnU-Net trained on a few small cases
	NNUNET_PROGRAMS=$(VENV_NNUNET)/bin $(BIN)/python -m pytest tests/bundle/nnunet -n 0

VENV_DOCS ?= .venv-docs

$(VENV_DOCS)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV_DOCS)
	$(VENV_DOCS)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(VENV_DOCS)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[docs]"
	touch $@

docs: $(VENV_DOCS)/.ready  ## the site, into site/: pages, API reference, tutorial; fails on a broken link
	NO_MKDOCS_2_WARNING=1 $(VENV_DOCS)/bin/mkdocs build --strict

clean:
	rm -rf site demo eval .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
