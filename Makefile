# Vivarium. The two commands: "sudo make run" serves, "sudo make test" tests.
#
#   make                     build (MODE=release)
#   make run                 PORT=8080 LISTEN=127.0.0.1 CONF=conf/vivarium.conf
#   make test                all tests
#   make smoke URL=...       hold a running service against the contract
#   make libraries           every library of the catalogue; VENV=build/libraries
#   make bench               against the usual architecture, on this machine; BENCH=--quick
#   make fuzz, make analyse, make test-asan
#   make MODE=debug|asan|coverage|fuzz
#
# Packages that are missing are installed by apt, where that is allowed (deploy/packages.sh).

MODE ?= release
BUILD ?= build/$(MODE)
CC = gcc
# The system's interpreter, whatever comes first on PATH.
PYTHON = /usr/bin/python3
PKG_CONFIG = env PKG_CONFIG_LIBDIR=$(PKG_CONFIG_DIRS) pkg-config
PKG_CONFIG_DIRS = /usr/lib/$(MULTIARCH)/pkgconfig:/usr/lib/pkgconfig:/usr/share/pkgconfig
MULTIARCH := $(shell dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || gcc -print-multiarch 2>/dev/null)

WARNINGS = -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wvla -Wformat=2 -Wundef -Wswitch-enum -Wwrite-strings -Werror
HARDENING = -fstack-protector-strong -fPIE -D_FORTIFY_SOURCE=2 -fstack-clash-protection
LINK_HARDENING = -pie -Wl,-z,relro,-z,now,-z,noexecstack

MODE_FLAGS_release = -O2 -g $(HARDENING)
MODE_FLAGS_debug = -O0 -g3 -fPIE
MODE_FLAGS_asan = -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -fPIE
MODE_FLAGS_coverage = -O0 -g --coverage -fPIE
MODE_FLAGS_fuzz = -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fPIE
ifeq ($(MODE_FLAGS_$(MODE)),)
$(error MODE is release, debug, asan, coverage or fuzz, not "$(MODE)")
endif
ifeq ($(MODE),fuzz)
CC = clang
endif

CPPFLAGS += -I. -D_GNU_SOURCE -DVIVARIUM_MULTIARCH='"$(MULTIARCH)"'
CFLAGS += -std=c17 $(WARNINGS) $(MODE_FLAGS_$(MODE)) -pthread
LDFLAGS += $(MODE_FLAGS_$(MODE)) $(LINK_HARDENING) -pthread

# The interpreter inherits what the template maps: no sanitizer goes into it.
TEMPLATE_CFLAGS = -std=c17 $(WARNINGS) -O2 -g $(HARDENING) -pthread

FCGI_CFLAGS = $(shell $(PKG_CONFIG) --cflags fcgi json-c nettle zlib)
FCGI_LIBS = $(shell $(PKG_CONFIG) --libs fcgi json-c nettle zlib) -lm
SECCOMP_LIBS = $(shell $(PKG_CONFIG) --libs libseccomp)
PYTHON_CFLAGS = $(shell $(PKG_CONFIG) --cflags python3-embed)
PYTHON_LIBS = $(shell $(PKG_CONFIG) --libs python3-embed)

SANDBOX = $(sort $(wildcard sandbox/*.c))
FCGI_APP = $(sort $(wildcard fcgi-app/*.c))
RUNNER = $(sort $(wildcard runner/*.c))
# What only the service needs stays out of the template: executions inherit its memory.
SERVICE_SOURCES = $(FCGI_APP) $(SANDBOX)
TEMPLATE_SOURCES = $(RUNNER) $(addprefix sandbox/,err.c buffer.c frame.c message.c identity.c \
	tree.c tree_objects.c policy.c seccomp.c rlimits.c json_keys.c json_scan.c job.c layers.c \
	arrangement.c landlock.c work_dir.c utf8.c globs.c)

SERVICE_OBJECTS = $(SERVICE_SOURCES:%.c=$(BUILD)/%.o)
TEMPLATE_OBJECTS = $(TEMPLATE_SOURCES:%.c=$(BUILD)/template/%.o)
PROGRAMS = $(BUILD)/vivarium $(BUILD)/vivarium-template

.DELETE_ON_ERROR:
.PHONY: all programs run tests test test-only test-debian test-vm test-asan test-asan-run bench \
	bench-programs bench-forks fuzz fuzz-programs fuzz-run analyse analyse-run clean packages-build \
	packages-run packages-test packages-bench packages-fuzz packages-analyse packages-pypi smoke \
	packages-libraries libraries test-libraries

all: packages-build
	@umask 022 && $(MAKE) --no-print-directory programs

programs: $(PROGRAMS)

$(BUILD)/vivarium: $(SERVICE_OBJECTS)
	@echo "  link  $@"
	@$(CC) $(LDFLAGS) -o $@ $^ $(FCGI_LIBS) $(SECCOMP_LIBS)

$(BUILD)/vivarium-template: $(TEMPLATE_OBJECTS)
	@echo "  link  $@"
	@$(CC) -O2 -g $(LINK_HARDENING) -pthread -o $@ $^ $(PYTHON_LIBS) $(SECCOMP_LIBS)

$(BUILD)/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo "  cc    $<"
	@$(CC) $(CPPFLAGS) $(CFLAGS) $(FCGI_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/template/%.o: %.c Makefile
	@mkdir -p $(@D)
	@echo "  cc    $< (template)"
	@$(CC) $(CPPFLAGS) $(TEMPLATE_CFLAGS) $(PYTHON_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/fcgi-app/openapi.o: fcgi-app/openapi.json

-include $(SERVICE_OBJECTS:.o=.d) $(TEMPLATE_OBJECTS:.o=.d)

packages-build packages-run packages-test packages-bench packages-fuzz packages-analyse \
packages-libraries: packages-%:
	@deploy/packages.sh ensure $*

# What the tests need from PyPI, in an environment of its own.
PYPI = build/pypi

packages-pypi: $(PYPI)/installed

$(PYPI)/installed: tests/requirements.txt
	@echo "  pypi  $<"
	@rm -rf $(PYPI)
	@$(PYTHON) -m venv $(PYPI)
	@$(PYPI)/bin/pip install --quiet --disable-pip-version-check --no-deps -r $<
	@$(PYPI)/bin/pip check >$@.log || { cat $@.log; exit 1; }
	@touch $@

# The libraries of conf/libraries.json: Debian's packages, and from PyPI what Debian lacks.
VENV ?= build/libraries

libraries: packages-run packages-libraries
	@deploy/libraries.sh "$(VENV)"

run: packages-run all
	@PORT="$(PORT)" LISTEN="$(LISTEN)" CONF="$(CONF)" BUILD="$(abspath $(BUILD))" deploy/run.sh

# --- Tests: unit and policy tests in C, the rest in pytest; tests/run.py counts them all

LIBRARY = $(BUILD)/libvivarium-test.a
LIBRARY_OBJECTS = $(filter-out $(BUILD)/fcgi-app/main.o,$(FCGI_APP:%.c=$(BUILD)/%.o)) \
	$(SANDBOX:%.c=$(BUILD)/%.o) \
	$(patsubst %,$(BUILD)/runner/%.o,heat heat_survey mappings placing)
C_TESTS = $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c tests/policy/test_*.c))

$(LIBRARY): $(LIBRARY_OBJECTS)
	@rm -f $@ && ar rcs $@ $^

$(BUILD)/tests/%: tests/%.c $(LIBRARY)
	@mkdir -p $(@D)
	@echo "  test  $<"
	@$(CC) $(CPPFLAGS) $(CFLAGS) $(FCGI_CFLAGS) -MMD -MP -o $@ $< $(LIBRARY) $(LDFLAGS) \
		-lcmocka $(FCGI_LIBS) $(SECCOMP_LIBS)

-include $(C_TESTS:=.d)

tests: programs bench-programs $(C_TESTS)

test: packages-run packages-test packages-build
	@umask 022 && $(MAKE) --no-print-directory tests packages-pypi
	@VIVARIUM_BUILD="$(abspath $(BUILD))" $(PYTHON) tests/run.py

# One directory or file only: make test-only TESTS=tests/integration
test-only: packages-run packages-test packages-build
	@umask 022 && $(MAKE) --no-print-directory tests packages-pypi
	@VIVARIUM_BUILD="$(abspath $(BUILD))" $(PYTHON) tests/run.py $(TESTS)

# Every example of the catalogue, after make libraries.
test-libraries: packages-run packages-test packages-build
	@umask 022 && $(MAKE) --no-print-directory tests
	@VIVARIUM_BUILD="$(abspath $(BUILD))" VIVARIUM_LIBRARIES="$(abspath $(VENV))" \
		$(PYTHON) -m pytest -q tests/integration/test_library_examples.py

# In an empty Debian root, as root: make test-debian RELEASE=trixie
RELEASE ?= trixie
test-debian:
	@deploy/packages.sh ensure debian
	@tests/debian/run.sh $(RELEASE)

# In a virtual machine with systemd and cgroup v2, see tests/vm/run.sh:
# make test-vm VM_BOOT="COMMAND IMAGE" EXECUTIONS=100000
test-vm: programs
	@BUILD="$(abspath $(BUILD))" VM_BOOT="$(VM_BOOT)" VM_FLAGS="$(VM_FLAGS)" \
		EXECUTIONS="$(EXECUTIONS)" TESTS="$(VM_TESTS)" tests/vm/run.sh

# Holds any running service against the contract: make smoke URL=https://... CACERT=FILE INSECURE=yes.
# A key is in nobody's list of processes if it is in the environment: KEY=... make smoke URL=...
URL ?= http://127.0.0.1:8080
smoke: export VIVARIUM_KEY = $(KEY)
smoke:
	@$(PYTHON) deploy/smoke.py "$(URL)" $(if $(CACERT),--cacert "$(CACERT)") \
		$(if $(filter yes 1,$(INSECURE)),--insecure)

# --- Measurements

# Numbers, tables and figures go to $(BENCH_OUT); options: make bench BENCH=--quick
BENCH ?=
BENCH_OUT ?= build/bench
BENCH_PROGRAMS = $(BUILD)/bench/fork_limit $(BUILD)/bench/open_loop

# The linker takes from it what the program needs: all of the template but its main().
$(BUILD)/bench/libtemplate.a: $(filter-out %/runner/template.o,$(TEMPLATE_OBJECTS))
	@mkdir -p $(@D)
	@rm -f $@ && ar rcs $@ $^

$(BUILD)/bench/fork_limit: tests/bench/fork_limit.c $(BUILD)/bench/libtemplate.a
	@echo "  bench $<"
	@$(CC) $(CPPFLAGS) $(TEMPLATE_CFLAGS) $(PYTHON_CFLAGS) -o $@ $^ $(LINK_HARDENING) $(PYTHON_LIBS) \
		$(SECCOMP_LIBS)

$(BUILD)/bench/open_loop: tests/bench/open_loop.c
	@mkdir -p $(@D)
	@echo "  bench $<"
	@$(CC) $(CPPFLAGS) $(TEMPLATE_CFLAGS) -o $@ $< $(LINK_HARDENING)

bench-programs: $(BENCH_PROGRAMS)

# How forks scale with processors and template trees, for each of these library sets.
FORK_SETS = base:sys numpy:numpy pandas:numpy,pandas
FORK_ROUNDS ?= 20

$(BUILD)/bench/fork_scale: tests/bench/fork_scale.c $(BUILD)/bench/libtemplate.a
	@echo "  bench $<"
	@$(CC) $(CPPFLAGS) $(TEMPLATE_CFLAGS) $(PYTHON_CFLAGS) -o $@ $^ $(LINK_HARDENING) $(PYTHON_LIBS) \
		$(SECCOMP_LIBS)

bench-forks: packages-run all
	@$(MAKE) --no-print-directory $(BUILD)/bench/fork_scale
	@for set in $(FORK_SETS); do \
		echo "$${set%%:*}"; \
		$(BUILD)/bench/fork_scale runner "runner/samples/$${set%%:*}.py" "$${set#*:}" \
			"$$(nproc)" $(FORK_ROUNDS) || exit 1; \
	done

bench: packages-run packages-bench all
	@umask 022 && $(MAKE) --no-print-directory bench-programs
	@$(PYTHON) tests/bench/bench.py --programs "$(abspath $(BUILD))/bench" --out "$(BENCH_OUT)" \
		--start "env PORT={port} ACCESS_LOG=off BUILD=$(abspath $(BUILD)) deploy/run.sh" $(BENCH)

# --- Fuzzing: make fuzz FUZZ_SECONDS=600

FUZZ_SECONDS ?= 60
FUZZERS = $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))

fuzz: packages-build packages-fuzz
	@$(MAKE) --no-print-directory MODE=fuzz fuzz-run

fuzz-programs: $(FUZZERS:%=$(BUILD)/%)

# What is found grows in $(BUILD)/corpus; a crash belongs into tests/fuzz/corpus, as a test.
fuzz-run: fuzz-programs
	@for target in $(FUZZERS); do \
		mkdir -p $(BUILD)/corpus/$$target; \
		echo "  fuzz  $$target for $(FUZZ_SECONDS) s"; \
		$(BUILD)/$$target -max_total_time=$(FUZZ_SECONDS) -timeout=10 -verbosity=0 \
			-print_final_stats=1 -artifact_prefix=$(BUILD)/ $(BUILD)/corpus/$$target \
			tests/fuzz/corpus/$${target#fuzz_} || exit 1; \
	done

$(BUILD)/fuzz_%: tests/fuzz/fuzz_%.c tests/fuzz/fuzz.h $(LIBRARY)
	@echo "  fuzz  $<"
	@$(CC) $(CPPFLAGS) $(CFLAGS) $(FCGI_CFLAGS) -o $@ $< $(LIBRARY) -fsanitize=fuzzer $(LDFLAGS) \
		$(FCGI_LIBS) $(SECCOMP_LIBS)

# --- Analysers: make analyse. No finding of any of the three is left standing.

ANALYSED = $(SANDBOX) $(FCGI_APP) $(RUNNER)
ANALYSE_FLAGS = $(CPPFLAGS) -std=c17 -pthread $(FCGI_CFLAGS) $(PYTHON_CFLAGS)
ANALYSES = $(ANALYSED:%=tidy/%) cppcheck $(ANALYSED:%=fanalyzer/%)
.PHONY: $(ANALYSES)

analyse: packages-build packages-analyse
	@$(MAKE) --no-print-directory --keep-going --output-sync -j $$(nproc) analyse-run

analyse-run: $(ANALYSES)

# .clang-tidy has the list of checks.
$(ANALYSED:%=tidy/%): tidy/%: %
	@echo "  tidy  $<"
	@clang-tidy --quiet $< -- $(ANALYSE_FLAGS) 2>/dev/null

$(ANALYSED:%=fanalyzer/%): fanalyzer/%: %
	@echo "  gcc -fanalyzer  $<"
	@gcc -O2 -fanalyzer -Werror $(ANALYSE_FLAGS) -c -o /dev/null $<

# Of two functions up the analyser does not know any more that what fail() returns is not 0.
fanalyzer/sandbox/policy.c: ANALYSE_FLAGS += -Wno-analyzer-use-of-uninitialized-value
# What fills the gaps of the heap is kept, and nobody holds it.
fanalyzer/runner/python.c: ANALYSE_FLAGS += -Wno-analyzer-malloc-leak

cppcheck:
	@echo "  cppcheck"
	@cppcheck --quiet --error-exitcode=1 --enable=warning,performance,portability --std=c11 \
		--library=posix --suppressions-list=tests/source/cppcheck.txt $(CPPFLAGS) \
		'-DPy_STRINGIFY(x)=""' $(ANALYSED)

# --- Under ASan and UBSan: the compiled tests, and the service below the tests that start it. The
# template and what is forked from it is built without, and the tests of the policies are left out: a
# sanitizer's calls are not in them. Leaks are looked for where a process ends by itself; one that is
# confined cannot be looked into, tests/fault/test_leaks.py counts its memory.

test-asan: TESTS = tests/integration
test-asan: packages-run packages-test packages-build
	@umask 022 && $(MAKE) --no-print-directory packages-pypi
	@umask 022 && $(MAKE) --no-print-directory MODE=asan test-asan-run TESTS="$(TESTS)"

test-asan-run: tests
	@for test in $(filter $(BUILD)/tests/unit/%,$(C_TESTS)) \
			"$(BUILD)/vivarium --check-config --config conf/vivarium.conf"; do \
		echo "  asan  $$test"; \
		$$test >$(BUILD)/asan.log 2>&1 || { cat $(BUILD)/asan.log; exit 1; }; \
	done
	@ASAN_OPTIONS=detect_leaks=0:exitcode=99 UBSAN_OPTIONS=print_stacktrace=1 \
		VIVARIUM_BUILD="$(abspath $(BUILD))" $(PYTHON) tests/run.py $(TESTS)

clean:
	rm -rf build
