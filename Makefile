# The two commands a newcomer needs: `make run` and `make test`. `make help` lists the rest.
PYTHON ?= python3
PORT ?= 8080
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST_ARGS ?=
BENCH_ARGS ?=
LINKS_ARGS ?=
NAT_ARGS ?=
SCALE_ARGS ?=
BROKER_ARGS ?=
SERVER_ARGS ?=
SOAK ?= 20000-20999
FUZZ_SECONDS ?= 10
FUZZ_ARGS ?=
# What `make test` leaves to `make test-long`: pages, proxies and other stacks as whole systems, NATs, long simulations.
# Of these, `make test-compiled` runs what tests the engine.
ENGINE := tests/interop/stacks tests/network/test_fairness.py tests/network/test_fairness_matrix.py \
	tests/network/test_changing_paths.py tests/network/test_whole_transfers.py tests/network/test_careful_resume.py
SYSTEMS := tests/nat tests/interop/test_behind_nginx.py tests/interop/test_browser_network.py \
	tests/interop/test_browser_tcp.py tests/interop/test_page.py tests/interop/test_page_rooms.py \
	tests/interop/test_page_transfer.py tests/interop/test_page_stores.py tests/server/test_browsers.py \
	tests/server/test_container.py tests/server/test_prometheus.py tests/server/test_workers.py tests/server/test_crowd.py \
	tests/examples/test_robot_in_browsers.py tests/examples/test_transfer_terminal.py \
	tests/examples/test_strangers_minute.py tests/examples/test_server_examples.py \
	tests/broker/test_failures.py tests/broker/test_nodes.py tests/broker/test_pages.py tests/bench/test_broker.py
LONG := $(ENGINE) $(SYSTEMS)

.PHONY: help run test test-long soak fuzz fuzz-live attack check format bench bench-scale bench-server bench-broker bench-links bench-beside-tcp bench-transfer test-transfer-large clean compiled pure test-compiled peers interop nat-lab
.DEFAULT_GOAL := help

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "datachan needs Python 3.11 or newer: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "No venv module here. On Debian and Ubuntu: apt install python3-venv"; exit 1; }

$(VENV)/.runtime: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(STAMP): $(VENV)/.runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group dev
	@touch $@

run: $(VENV)/.runtime ## Start the server and its page on http://127.0.0.1:8080 (PORT=… changes the port)
	@$(BIN)/datachan serve --port $(PORT)

# The coverage of a part of the suite (PYTEST_ARGS) may be as low as it is.
test: $(STAMP) peers ## Install what is needed, run the tests and print the coverage (PYTEST_ARGS=… runs those instead)
	@rm -rf build/coverage
	$(BIN)/python -m coverage run -m pytest -n 2 $(if $(PYTEST_ARGS),$(PYTEST_ARGS),$(addprefix --ignore=,$(LONG)))
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report $(if $(PYTEST_ARGS),--fail-under=0)

test-long: $(STAMP) peers ## Run what `make test` leaves out: NATs, other stacks, whole pages in browsers, long simulations
	$(BIN)/python -m pytest -n 2 $(LONG)

soak: $(STAMP) ## Run the seeded tests on random networks for many seeds (SOAK=first-last changes them)
	DATACHAN_SEEDS=$(SOAK) nice $(BIN)/python -m pytest -n 2 -q tests/property tests/broker -k seed-

fuzz: $(STAMP) ## Fuzz every function that reads untrusted input, FUZZ_SECONDS each (FUZZ_ARGS=… is passed on)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary atheris atheris || echo "atheris has no wheel here: inputs are mutated at random"
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) $(FUZZ_ARGS)

fuzz-live: $(STAMP) ## Fuzz every layer of a live server for FUZZ_SECONDS (FUZZ_ARGS=… is passed on)
	PYTHONPATH=. nice $(BIN)/python -m tests.fuzz.server --seconds $(FUZZ_SECONDS) $(FUZZ_ARGS)

attack: $(STAMP) ## Attack a server on this machine with the full sizes of docs/security.md, and print what it used
	PYTHONPATH=. nice $(BIN)/python -m tests.hostile.attack

compiled: $(STAMP) pure ## Compile the engine, the layer of channels and the path of a datagram with mypyc, in place; needs a C compiler and Python's headers
	rm -rf build/compiled
	HATCH_BUILD_HOOKS_ENABLE=1 $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir build/compiled .
	$(BIN)/python -c 'import glob, zipfile; wheel = zipfile.ZipFile(glob.glob("build/compiled/*.whl")[0]); wheel.extractall(".", [name for name in wheel.namelist() if name.endswith((".so", ".pyd"))])'

pure: ## Return to the interpreted engine
	rm -f *__mypyc*.so *__mypyc*.pyd
	find datachan -name '*.so' -delete -o -name '*.pyd' -delete

tests/interop/stacks/node_modules/.installed: tests/interop/stacks/package-lock.json
	@npm ci --prefix tests/interop/stacks --no-audit --no-fund --silent
	@touch $@

build/stacks/pion_%: tests/stacks/peers/pion_%/main.go tests/stacks/peers/build_pion.sh
	@tests/stacks/peers/build_pion.sh $(<D) $@

# What is missing is said here and again by the tests, which are skipped (or fail, with DATACHAN_REQUIRE_PEERS=1).
peers: $(STAMP) ## Install the other WebRTC stacks that the tests drive, where npm, go and wheels allow it
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary wrtc --group links || echo "wrtc has no wheel here"
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory tests/interop/stacks/node_modules/.installed; else echo "no npm: apt install nodejs npm"; fi
	@if command -v go >/dev/null && [ -d /usr/share/gocode/src/github.com/pion/webrtc ]; then $(MAKE) --no-print-directory build/stacks/pion_peer build/stacks/pion_crowd build/stacks/pion_turn; else echo "no pion: apt install golang-go golang-github-pion-webrtc.v3-dev"; fi

interop: peers ## Run the tests with other stacks and write their table into README.md and docs/interop.md
	-DATACHAN_REQUIRE_PEERS=1 DATACHAN_STACKS_RESULTS=build/stacks/results.json $(BIN)/python -m pytest -q -n 2 -p tests.interop.stacks.recording --ignore tests/interop/stacks/test_table.py tests/interop/stacks
	$(BIN)/python -m tests.interop.stacks.table build/stacks/results.json

nat-lab: peers ## Connect across every network of the NAT lab beside other stacks, and write docs/nat.md (root; NAT_ARGS=… is passed on)
	PYTHONPATH=. $(BIN)/python -P -m tests.nat $(NAT_ARGS)

test-compiled: compiled ## Run the suite with the compiled engine, without the tests of the benchmarks and most of those with browsers
	DATACHAN_EXPECT_COMPILED=1 $(BIN)/python -m pytest -n 2 --ignore tests/bench $(addprefix --ignore=,$(SYSTEMS)) -k "test_browser_messages or not (chromium or firefox)" $(PYTEST_ARGS)
	$(MAKE) pure

lint/node_modules/.installed: lint/package-lock.json
	@command -v npm >/dev/null || { echo "make check lints the page's JavaScript and needs Node.js and npm. On Debian and Ubuntu: apt install nodejs npm"; exit 1; }
	@npm ci --prefix lint --no-audit --no-fund --silent
	@touch $@

check: $(STAMP) lint/node_modules/.installed ## Check format, lint, plain English, types, import contracts, JavaScript, its declarations and spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m tests.style
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec deploy/compose.yaml
	lint/node_modules/.bin/biome lint --config-path=lint --error-on-warnings web examples
	lint/node_modules/.bin/tsc -p lint/types/modules.tsconfig.json
	lint/node_modules/.bin/tsc -p lint/types/tsconfig.json
	$(BIN)/codespell

format: $(STAMP) ## Format the files with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## Measure everything side by side with every other stack that is installed (BENCH_ARGS=… is passed on)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary wrtc --group links || echo "wrtc has no wheel here: it is not measured"
	@mkdir -p build/bench
	$(BIN)/python -m tests.bench --json build/bench/result.json --plot build/bench/result.png $(BENCH_ARGS)

bench-scale: $(STAMP) ## Measure a thousand connections in one process, and ten thousand associations on a socket (SCALE_ARGS=… is passed on)
	PYTHONPATH=. $(BIN)/python -P -m tests.bench.scale $(SCALE_ARGS)

bench-server: $(STAMP) peers ## Measure a server with a thousand peers beside node-datachannel and pion (SERVER_ARGS=… is passed on)
	PYTHONPATH=. $(BIN)/python -P -m tests.bench.server $(SERVER_ARGS)

bench-broker: $(STAMP) ## Measure 3,000 members of rooms on three nodes, one of which is killed (BROKER_ARGS=… is passed on)
	PYTHONPATH=. $(BIN)/python -P -m tests.bench.broker $(BROKER_ARGS)

bench-links: $(STAMP) ## Measure goodput through emulated links, side by side with other stacks (LINKS_ARGS=… is passed on)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary wrtc --group links || echo "wrtc has no wheel here: it is not measured"
	$(BIN)/python -m tests.links.bench $(LINKS_ARGS)

bench-beside-tcp: $(STAMP) ## As root: measure a transfer beside a TCP download through one bottleneck (BESIDE_ARGS=… is passed on)
	$(BIN)/python -m tests.links.beside_tcp $(BESIDE_ARGS)

bench-transfer: $(STAMP) ## Measure datachan send and receive beside magic-wormhole, with browsers and through a lossy link (TRANSFER_ARGS=… is passed on)
	@python3 -m venv build/bench-transfer && build/bench-transfer/bin/pip install --quiet --disable-pip-version-check magic-wormhole magic-wormhole-mailbox-server || echo "magic-wormhole is not measured"
	$(BIN)/python -m tests.bench.transfer rates $(TRANSFER_ARGS)
	$(BIN)/python -m tests.bench.transfer_browsers
	$(BIN)/python -m tests.bench.transfer_link --size 200

test-transfer-large: $(STAMP) ## Send a sparse file of 5 GB and a folder of 10,000 files, and check what arrives and the memory
	$(BIN)/python -m tests.bench.transfer large $(TRANSFER_ARGS)

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) lint/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
