# Everything a developer does here, one command each.  The first one to run makes .venv with
# the exact packages of constraints.txt.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PROFILE ?= dgx-h100

.DEFAULT_GOAL := help
.PHONY: help demo test test-domain test-rest test-image test-cluster test-node check format bench image lock clean

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

demo: $(READY) ## the driver's whole job on a simulated node (PROFILE=azure-nd-h100-v5 for another)
	@$(BIN)/ibdra demo --simulate $(PROFILE)

test: test-domain test-rest test-image test-cluster test-node ## all tests that this machine can run; what it cannot is said as a skip

test-domain: $(READY)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q tests/unit/domain
	$(BIN)/coverage report --fail-under=95

test-rest: $(READY)
	$(BIN)/pytest -q -n auto tests --ignore=tests/unit/domain --ignore=tests/contract/cluster --ignore=tests/contract/image

test-image: $(READY) ## the container image, built and run (root, Podman, debootstrap)
	$(BIN)/pytest -q tests/contract/image

# 77 is a skip, with its reason printed; none is allowed where IBDRA_NO_SKIPS is set.
test-cluster: $(READY) ## real Kubernetes control planes, newest and oldest (Go; the first run builds them)
	$(BIN)/python tests/contract/cluster || { [ $$? = 77 ] && [ -z "$$IBDRA_NO_SKIPS" ]; }

test-node: $(READY) ## the kernel's part on virtual InfiniBand nodes (QEMU; root on Debian 12; fetches both)
	$(BIN)/python tests/contract/virtual_node || { [ $$? = 77 ] && [ -z "$$IBDRA_NO_SKIPS" ]; }

check: $(READY) ## lint, format, types, import contracts, generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy src tests tools benchmarks examples
	$(BIN)/lint-imports
	$(BIN)/ibdra validate examples/*.yaml examples/custom_driver/*.yaml
	@! grep -nE '://|index-url|find-links' constraints.txt constraints-run.txt tools/protoc-constraints.txt
	$(BIN)/python tools/generate_protos.py --check
	$(BIN)/python tools/generate_configuration.py --check

format: $(READY) ## put the code in the project's form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## time and memory, with the floor beside them
	$(BIN)/python benchmarks/bench_inventory.py
	$(BIN)/python benchmarks/bench_claims.py
	$(BIN)/python benchmarks/bench_commands.py
	$(BIN)/python benchmarks/bench_provisioning.py
	$(BIN)/python benchmarks/bench_attaches.py
	$(BIN)/python benchmarks/bench_health.py
	$(BIN)/python benchmarks/bench_hook.py
	$(BIN)/python benchmarks/bench_namespaces.py
	$(BIN)/python benchmarks/bench_webhook.py
	PYTHONPATH=tests $(BIN)/python benchmarks/bench_moves.py
	PYTHONPATH=tests $(BIN)/python benchmarks/bench_cluster.py

image: ## the container image, on Debian's own or on one made here (docs/user/image.md)
	deploy/image/build.sh

lock: ## choose the newest versions anew (needs uv) and write constraints.txt
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --upgrade \
	  --generate-hashes --no-header --no-annotate --no-emit-index-url --quiet -o constraints.txt
	uv pip compile pyproject.toml --constraint constraints.txt --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-annotate --no-emit-index-url --quiet -o constraints-run.txt

clean: ## remove what was made here
	rm -rf $(VENV) .cache .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache

$(READY): constraints.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
