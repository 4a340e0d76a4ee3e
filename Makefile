# Everything a developer or a user of a checkout runs. Environments are made when first needed and renewed when their definitions change.
#
#   make demo    segment a real image through the real servers        make up      keep the servers running (ports 50051, 50052, 8080, 9464)
#   make with CMD='...'   run a command beside the same servers, on free ports; it finds CELLSERVE_ADDRESS and CELLSERVE_HTTP_URL set
#   make test    all checks and tests                                 make down    stop them
#   make check   formatting, lint, types, architecture, contract      make proto   generate stubs, keywords and reference pages anew
#   make bench   the figures of docs/performance.md; ONLY=name: one of them     make nightly the property tests, with fifty times the examples, chaos with 1,000 images, a volume of 17 million voxels, and ten kills of a run
#   make docs    build the site into build/docs, and check its links
#   make contract-freeze  the contract as it is becomes that of the version in pyproject.toml, which later versions must not break
#   make chart-test, make rules-test                                  the parts of `make test` for the Helm chart and for the alerts
#   make dist    what a release consists of: wheel, chart package, list of images
#   make cases   run the table of awkward inputs (tests/cases) at every door of real servers
#   make cluster-demo  two gateways, two Tritons, Prometheus          make images  build the CPU images and run them (root, Debian)

PYTHON ?= python3
# Triton's Python backend needs NumPy 1, which Python 3.13 has no build of.
TRITON_PYTHON ?= $(firstword $(foreach p,$(PYTHON) python3.12 python3.11,$(shell \
  $(p) -c 'import sys; sys.version_info[:2] in ((3, 11), (3, 12)) and print("$(p)")' 2>/dev/null)))
PIP = -m pip install --quiet --disable-pip-version-check -c constraints.txt
SPHINX = .venv/bin/python -m sphinx --quiet --fresh-env --fail-on-warning --nitpicky --doctree-dir build/doctrees
SHARED ?= ../shared

.PHONY: demo with test cases chart-test rules-test cluster-demo images nightly test-lowest check bench docs dist up down proto contract-freeze clean
.DELETE_ON_ERROR:

demo: .venv/gateway.done .venv-triton/done
	.venv/bin/python devtools/stack.py run -- .venv/bin/cellserve segment examples/images/nuclei_fluorescence.png --out build/demo
	@printf '%s\n' '' 'Look at build/demo/nuclei_fluorescence_overlay.png. To go on, put the commands on the path and start the servers:' \
	  '' '    export PATH="$(CURDIR)/.venv/bin:$$PATH"' '    make up' '    cellserve segment examples/images/cells_phase_contrast.png --out build/mine'

# make exports CMD, so that its quotes arrive as they are.
with: .venv/gateway.done .venv-triton/done
	@test -n "$$CMD" || { echo "say which command: make with CMD='...'"; exit 1; }
	@PATH="$(CURDIR)/.venv/bin:$$PATH" .venv/bin/python devtools/stack.py run -- sh -c "$$CMD"

# Three workers keep two cores busy: tests of servers wait.
test: check .venv-triton/done build/tools/helm build/tools/promtool build/node/node_modules/installed.json build/browser/bin/chromium build/kit/installed.txt
	.venv/bin/python -m pytest -n 3 --dist loadfile --ignore tests/images

cases: .venv/dev.done .venv-triton/done
	.venv/bin/python devtools/stack.py run -- .venv/bin/python -m tests.cases $(addprefix --case ,$(ONLY))

chart-test: .venv/dev.done build/tools/helm
	.venv/bin/python deploy/helm/generate.py --check
	.venv/bin/python -m pytest -n 2 tests/chart

rules-test: .venv/dev.done build/tools/promtool
	build/tools/promtool check rules deploy/helm/cellserve/files/rules.yaml
	build/tools/promtool test rules tests/alerts/alerts.yaml
	.venv/bin/python -m pytest tests/alerts

cluster-demo: .venv/dev.done .venv-triton/done build/tools/promtool
	.venv/bin/python -m deploy.cluster

check: .venv/dev.done
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/mypy --strict devtools deploy/cluster deploy/grafana/dashboard.py deploy/helm/generate.py docs/generate docs/site
	.venv/bin/mypy --strict deploy/dist.py deploy/triton/serve.py deploy/triton/verify_models.py
	.venv/bin/lint-imports
	proto/generate.sh --check
	.venv/bin/python deploy/helm/generate.py --check
	.venv/bin/python deploy/dist.py --check
	.venv/bin/python deploy/grafana/dashboard.py --check
	.venv/bin/python -m docs.generate --check

bench: .venv/dev.done .venv-triton/done .venv-peers/done
	rm -rf build/networks
	.venv/bin/cellserve-export unpack generalist --out build/networks
	.venv/bin/python benchmarks/run.py --data $(SHARED)/data --weights build/networks $(addprefix --only ,$(ONLY))

# As root, with Debian's buildah, debootstrap, crun and iproute2.
images: .venv/dev.done .venv-triton/done
	deploy/docker/build.sh
	TEST_IMAGES=1 .venv/bin/python -m pytest tests/images

nightly: .venv/dev.done .venv-triton/done
	HYPOTHESIS_PROFILE=nightly .venv/bin/python -m pytest tests/property tests/unit/formats tests/unit/gateway/test_codec.py --timeout=3600
	CHAOS_IMAGES=1000 .venv/bin/python -m pytest tests/integration/gateway/test_chaos.py -s
	LARGE_VOLUME=1 .venv/bin/python -m pytest tests/integration/gateway/test_large_volume.py -s
	.venv/bin/python benchmarks/any_size.py kills --side 6000

up: .venv/gateway.done .venv-triton/done
	.venv/bin/python devtools/stack.py up

down:
	.venv/bin/python devtools/stack.py down

# The lower bounds of pyproject.toml, tested: every direct dependency at its oldest.
test-lowest:
	test -x .venv-lowest/bin/python || $(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python $(PIP) uv
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct -e '.[gateway,dev]'
	.venv-lowest/bin/python -m pytest tests/unit/gateway tests/unit/client tests/unit/formats tests/unit/parallel tests/unit/preprocess tests/unit/postprocess tests/property

# The notebooks run beside a real service. Links to other servers are checked with CHECK_EXTERNAL_LINKS=1 only: they need the internet.
docs: .venv/dev.done .venv-triton/done
	PATH="$(CURDIR)/.venv/bin:$$PATH" .venv/bin/python devtools/stack.py run -- $(SPHINX) -b html docs build/docs
	.venv/bin/python -m docs.site.check build/docs
	$(if $(CHECK_EXTERNAL_LINKS),$(SPHINX) -b linkcheck docs build/linkcheck,@echo "links to other servers were not checked: make docs CHECK_EXTERNAL_LINKS=1")

proto: .venv/dev.done
	proto/generate.sh
	.venv/bin/python -m docs.generate

contract-freeze: .venv/dev.done
	proto/generate.sh --freeze

clean:
	rm -rf .venv .venv-triton .venv-peers .venv-lowest .venv-dist build dist

# One version, in pyproject.toml: wheel, source archive, chart package and the list of images, in dist/.
dist: .venv-dist/done build/tools/helm
	.venv-dist/bin/python deploy/dist.py

build/tools/helm: deploy/helm/get-helm.sh
	deploy/helm/get-helm.sh
	touch $@

build/tools/promtool: deploy/prometheus/get-prometheus.sh
	deploy/prometheus/get-prometheus.sh
	touch $@

build/node/node_modules/installed.json: examples/node/package-lock.json devtools/get-node.sh | .venv/dev.done
	devtools/get-node.sh
	touch $@

build/browser/bin/chromium: devtools/get-browser.sh | build/node/node_modules/installed.json
	devtools/get-browser.sh
	touch -h $@

build/kit/installed.txt: tests/kit/requirements.txt devtools/get-kit.sh | .venv/dev.done
	devtools/get-kit.sh
	touch $@

.venv/gateway.done: pyproject.toml constraints.txt
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python $(PIP) -e '.[gateway]'
	touch $@

.venv/dev.done: pyproject.toml constraints.txt
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python $(PIP) -e '.[gateway,training,dev]'
	touch $@ .venv/gateway.done

.venv-triton/done: deploy/triton/requirements.txt
	@test -n "$(TRITON_PYTHON)" || { echo "Triton needs Python 3.11 or 3.12: make TRITON_PYTHON=... $(MAKECMDGOALS)"; exit 1; }
	test -x .venv-triton/bin/python || $(TRITON_PYTHON) -m venv .venv-triton
	.venv-triton/bin/python $(PIP) --no-deps -r deploy/triton/requirements.txt
	touch $@

.venv-dist/done: constraints.txt
	test -x .venv-dist/bin/python || $(PYTHON) -m venv .venv-dist
	.venv-dist/bin/python $(PIP) build twine
	touch $@

.venv-peers/done: benchmarks/peers/requirements.txt constraints.txt
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python $(PIP) -r benchmarks/peers/requirements.txt
	touch $@
