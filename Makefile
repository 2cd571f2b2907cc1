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
TINY_MODELS := .venvs/models
ENGINES := vllm=$(TINY_MODELS)/.tiny-qwen2 $(foreach engine,resemblyzer align paddleocr pyannote coqui,$(engine)=.venvs/$(engine)/.installed)
ENGINES_SECONDS ?= 7200

.PHONY: engines engine-resemblyzer engine-align engine-paddleocr engine-pyannote help demo up health smoke-test bootstrap test check bench vllm-test-server engine-coqui generate checkgenerate lint format clean

help: ## Lists the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ -/'

STEP := . ./.ci/steps.sh; step
STEPS := 3
$(VENV)/.dev: STEPS := 5

$(VENV)/.base: constraints.txt $(DISTS:%=%/pyproject.toml)
	@sh .ci/base.sh $(PYTHON) $(VENV) $(STEPS)
	@$(STEP) "[2/$(STEPS)] Malha and its embedded engines: up to 450 MB to fetch" $(PIP) $(EDITABLE)
	@$(STEP) "[3/$(STEPS)] a network that knows voices apart" $(PIP) --no-deps resemblyzer==0.1.4
	@touch $@

$(VENV)/.whisper: $(VENV)/.base
	@$(STEP) "[4/$(STEPS)] the runtime of Whisper" $(PIP) -e './services[faster-whisper]'
	@touch $@

$(VENV)/.dev: $(VENV)/.whisper .ci/requirements-dev.txt
	@$(STEP) "[5/$(STEPS)] tools for tests and checks" $(PIP) -r .ci/requirements-dev.txt -e './services[local,faster-whisper,bench]'
	@touch $@

# An engine's environment is made by its script, from its pins, and made anew when either changes.
.SECONDEXPANSION:
.PRECIOUS: .venvs/%/.installed
.venvs/%/.installed: .ci/engine-%.sh .ci/requirements-$$*.txt
	@sh $< $(ENGINE_PYTHON) .venvs/$*
	@touch $@

$(TINY_MODELS)/.tiny-qwen2: .venvs/vllm/.installed $(wildcard tests/fakes/tiny_qwen2*.py services/malha/insight/prompts_text/partial_summary.pt.md)
	@$(STEP) "[4/4] $(TINY_MODELS): a tiny Qwen2 that answers in Portuguese, and its INT4 form" \
	  env PYTHONPATH=tests .venvs/vllm/bin/python -m fakes.tiny_qwen2 $(TINY_MODELS)
	@touch $@

engines: ## The environments of all engines, 8 GB, where not made yet. ENGINES_SECONDS bounds it.
	@sh .ci/engines.sh $(MAKE) $(ENGINES_SECONDS) $(ENGINES)

engine-align: .venvs/align/.installed ## wav2vec2 for alignment, in an environment of its own.
	@echo "MALHA_ALIGN_PYTHON=.venvs/align/bin/python MALHA_ALIGN_MODELS=pt=DIRECTORY"

engine-paddleocr: .venvs/paddleocr/.installed ## PaddleOCR in an environment of its own.
	@echo "MALHA_OCR_ENGINE=paddleocr MALHA_PADDLEOCR_PYTHON=.venvs/paddleocr/bin/python"

engine-pyannote: .venvs/pyannote/.installed ## pyannote.audio 4 in an environment of its own.
	@echo "MALHA_DIARIZE_ENGINE=pyannote MALHA_PYANNOTE_PYTHON=.venvs/pyannote/bin/python"

demo: $(VENV)/.base ## A live call, spoken, transcribed and shown. DEMO_LANG=pt or es pulls a Whisper model first.
	@if [ "$(DEMO_LANG)" != en ]; then $(MAKE) --no-print-directory STEPS=4 $(VENV)/.whisper; fi
	@$(BIN)/malha demo --lang $(DEMO_LANG)

up: $(VENV)/.base ## Serves gRPC on 50051, the edge on 8000, until Ctrl-C. MODE=core: no documents, speakers, jobs.
	@$(BIN)/malha up $(if $(MODE),--mode $(MODE))

health: $(VENV)/.base ## What the server that runs here, or at URL, serves.
	@$(BIN)/malha smoke-test --health $(if $(URL),--url $(URL))

smoke-test: $(VENV)/.base ## Tries the server here, or at URL: answers, streams, speech, hearing, pictures.
	@$(BIN)/malha smoke-test $(if $(URL),--url $(URL))

bootstrap: $(VENV)/.base ## Fetches production's models: 51 GB. MODELS=... names others, ACCEPT=... takes licences.
	@$(BIN)/malha models pull $(MODELS) $(addprefix --accept-licence ,$(ACCEPT))

test: $(VENV)/.dev ## All tests, in TEST_PROCESSES processes.
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadgroup

check: $(VENV)/.dev lint ## Lint, types and the quick tests: under three minutes.
	$(BIN)/python -m pytest tests/unit tests/contract -m "not slow" -q -x

bench: $(VENV)/.dev ## The live benchmark; timings are reported, never asserted.
	$(BIN)/malha bench live --sessions 200 --seconds 20 --engine null

vllm-test-server: $(TINY_MODELS)/.tiny-qwen2 ## vLLM and a tiny model, for the tests that are marked vllm.
	@echo ".venvs/vllm/bin/vllm serve $(TINY_MODELS)/tiny-qwen2"

engine-coqui: .venvs/coqui/.installed ## coqui-tts (VITS, XTTS-v2, cloned voices) in an environment of its own.
	@echo ".venvs/coqui/bin/malha serve synthesize, with MALHA_SYNTHESIZE_ENGINE=coqui"

engine-resemblyzer: .venvs/resemblyzer/.installed ## resemblyzer on PyTorch: only for the tests that compare with it.

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
