# make demo: a live call, end to end. make test: everything that can be tested here. Both set up what they need in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
DEMO_LANG ?= en
TEST_PROCESSES ?= 2
DISTS := gen services edge sdk
EDITABLE := -e ./gen -e './services[local]' -e ./edge -e ./sdk
ENGINE_PYTHON ?= $(shell command -v python3.11 || echo $(PYTHON))
ENGINES := vllm=vllm-test-server resemblyzer=engine-resemblyzer wav2vec2=engine-align paddleocr=engine-paddleocr pyannote=engine-pyannote coqui=engine-coqui
ENGINES_SECONDS ?= 1200
TINY_MODELS := .venvs/models

.PHONY: engines engine-resemblyzer engine-align engine-paddleocr engine-pyannote help demo up health smoke-test bootstrap test check bench vllm-test-server engine-coqui generate checkgenerate lint format clean

help: ## Lists the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ -/'

$(VENV)/.base: constraints.txt $(DISTS:%=%/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "malha: Python 3.11 or later is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "malha: python3 -m venv failed: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -c 'import os, sys, sysconfig; sys.exit(sys.version_info[:2] == (3, 12) and not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' \
	  || { echo "malha: pocketsphinx has no wheel for Python 3.12 and its headers are missing: apt-get install python3-dev gcc, or use Python 3.11 or 3.13"; exit 1; }
	$(PIP) $(EDITABLE)
	$(PIP) --no-deps resemblyzer==0.1.4
	@touch $@

$(VENV)/.whisper: $(VENV)/.base
	$(PIP) -e './services[faster-whisper]'
	@touch $@

$(VENV)/.dev: $(VENV)/.whisper .ci/requirements-dev.txt
	$(PIP) -r .ci/requirements-dev.txt -e './services[local,faster-whisper,bench]'
	@touch $@

# An engine's environment is made by its script, from its pins, and made anew when either changes.
.SECONDEXPANSION:
.PRECIOUS: .venvs/%/.installed
.venvs/%/.installed: .ci/engine-%.sh .ci/requirements-$$*.txt
	@sh $< $(ENGINE_PYTHON) .venvs/$*
	@touch $@

$(TINY_MODELS)/.tiny-qwen2: .venvs/vllm/.installed $(wildcard tests/fakes/tiny_qwen2*.py services/malha/insight/prompts_text/partial_summary.pt.md)
	@echo "[3/3] $(TINY_MODELS): a tiny Qwen2 that answers in Portuguese, and its INT4 form"
	@PYTHONPATH=tests .venvs/vllm/bin/python -m fakes.tiny_qwen2 $(TINY_MODELS)
	@touch $@

engines: ## Every engine's environment that installs here, kept between runs: half an hour and 12 GB at first. ENGINES_SECONDS=1200 bounds it.
	@sh .ci/engines.sh $(MAKE) $(ENGINES_SECONDS) $(ENGINES)

engine-align: .venvs/align/.installed ## wav2vec2 for alignment, in an environment of its own: MALHA_ALIGN_PYTHON=.venvs/align/bin/python

engine-paddleocr: .venvs/paddleocr/.installed ## PaddleOCR in an environment of its own: MALHA_OCR_ENGINE=paddleocr MALHA_PADDLEOCR_PYTHON=.venvs/paddleocr/bin/python

engine-pyannote: .venvs/pyannote/.installed ## pyannote.audio 4 in an environment of its own: MALHA_DIARIZE_ENGINE=pyannote MALHA_PYANNOTE_PYTHON=.venvs/pyannote/bin/python

demo: $(VENV)/.base ## A live call, spoken, transcribed and shown. DEMO_LANG=pt or es pulls a Whisper model first.
	@if [ "$(DEMO_LANG)" != en ]; then $(MAKE) --no-print-directory $(VENV)/.whisper; fi
	@$(BIN)/malha demo --lang $(DEMO_LANG)

up: $(VENV)/.base ## Serves gRPC on 50051 and the edge on 8000 until Ctrl-C. MODE=core leaves out documents, speakers and jobs.
	@$(BIN)/malha up $(if $(MODE),--mode $(MODE))

health: $(VENV)/.base ## What the server that runs here, or at URL, serves.
	@$(BIN)/malha smoke-test --health $(if $(URL),--url $(URL))

smoke-test: $(VENV)/.base ## Tries the server that runs here, or at URL: answers, streams, speech, recognition, pictures.
	@$(BIN)/malha smoke-test $(if $(URL),--url $(URL))

bootstrap: $(VENV)/.base ## Fetches, verifies and lists the models production needs, about 51 GB. MODELS=whisper/small names others, ACCEPT=xtts/v2 agrees to licences.
	@$(BIN)/malha models pull $(MODELS) $(addprefix --accept-licence ,$(ACCEPT))

test: $(VENV)/.dev ## All tests, in TEST_PROCESSES processes.
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadgroup

check: $(VENV)/.dev lint ## Lint, types and the quick tests: under three minutes.
	$(BIN)/python -m pytest tests/unit tests/contract -m "not slow" -q -x

bench: $(VENV)/.dev ## The live benchmark; timings are reported, never asserted.
	$(BIN)/malha bench live --sessions 200 --seconds 20 --engine null

vllm-test-server: $(TINY_MODELS)/.tiny-qwen2 ## vLLM and a tiny model in .venvs, for the tests that are marked vllm: about five minutes.
	@echo ".venvs/vllm/bin/vllm serve $(TINY_MODELS)/tiny-qwen2"

engine-coqui: .venvs/coqui/.installed ## coqui-tts (VITS, XTTS-v2, cloned voices) in .venvs/coqui, for malha serve synthesize: about five minutes.
	@echo ".venvs/coqui/bin/malha serve synthesize, with MALHA_SYNTHESIZE_ENGINE=coqui"

engine-resemblyzer: .venvs/resemblyzer/.installed ## resemblyzer on PyTorch in .venvs/resemblyzer: only for the tests that compare with it.

generate: $(VENV)/.dev ## Code from the contracts, .env.example from the settings.
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh .ci/generate.sh .

checkgenerate: $(VENV)/.dev ## Fails if what is committed differs from what would be generated.
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh .ci/checkgenerate.sh

lint: $(VENV)/.dev ## buf, ruff and mypy.
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code --path proto/malha
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev ## Formats contracts and code.
	$(BIN)/buf format -w --path proto/malha
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format .

clean: ## Removes virtual environments and caches.
	rm -rf $(VENV) .venvs .mypy_cache .ruff_cache .pytest_cache .hypothesis
