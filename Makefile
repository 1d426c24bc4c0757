# make demo: core only, no torch.  make test / check / bench / test-long: everything.
PY := .venv/bin/python
UV := .venv/bin/uv
# Bytecode is compiled once, here: a command starts in half the time where Python may not write it later.
.PHONY: core all demo test test-long check bench bench-cifar experiments format docs locale

$(UV):
	python3 -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check uv

core: $(UV)
	@if [ -e .venv/.all ]; then echo "full set-up kept (rm -r .venv for the core alone)"; else $(UV) sync --quiet --locked --compile-bytecode; fi

all: $(UV)
	$(UV) sync --quiet --locked --all-extras --group dev --compile-bytecode
	@touch .venv/.all

demo: core
	.venv/bin/mirada demo

# Two files of tests at a time, each test with one thread; those marked alone are held to a time on the wall.
# The last run is a processor without AMX and bf16: the same answers, in float32.
test: all
	OMP_NUM_THREADS=1 .venv/bin/pytest -n 2 --dist loadfile -m "not long and not alone"
	.venv/bin/pytest -m "alone and not long"
	OMP_NUM_THREADS=1 ONEDNN_MAX_CPU_ISA=AVX2 .venv/bin/pytest -n 2 --dist loadfile -m "not long and not alone" \
		tests/embed tests/predict tests/serve tests/test_sports15.py

test-long: all
	MIRADA_LONG=1 .venv/bin/pytest --timeout 3600

check: all
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: all
	$(UV) sync --quiet --locked --all-extras --all-groups
	$(PY) -m benchmarks

# Keras has an environment of its own: tensorflow pins what torch and MLflow want otherwise.
bench-cifar: all
	$(UV) venv --quiet --allow-existing .venv-keras
	$(UV) pip install --quiet --python .venv-keras/bin/python "tensorflow-cpu>=2.18"
	$(PY) -m benchmarks.cifar ../shared/data/cifar10_jpeg --parts fast ours keras --keras .venv-keras/bin/python

# The reports' experiments, hours in all: runs what has not been run, and writes docs/experiments.md.
experiments: all
	$(PY) tools/experiments.py $(if $(ONLY),--only $(ONLY)) $(ARGS)

format: all
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

docs: all
	$(PY) tools/make_docs.py

locale: all
	$(PY) tools/make_locale.py
