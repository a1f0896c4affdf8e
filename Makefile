# Vivarium. The two commands: "sudo make run" serves, "sudo make test" tests.
#
#   make                     build (MODE=release)
#   make run                 PORT=8080 LISTEN=127.0.0.1 CONF=conf/vivarium.conf
#   make test                all tests
#   make bench               against the usual architecture, on this machine
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

FCGI_CFLAGS = $(shell $(PKG_CONFIG) --cflags fcgi json-c)
FCGI_LIBS = $(shell $(PKG_CONFIG) --libs fcgi json-c) -lm
SECCOMP_LIBS = $(shell $(PKG_CONFIG) --libs libseccomp)
PYTHON_CFLAGS = $(shell $(PKG_CONFIG) --cflags python3-embed)
PYTHON_LIBS = $(shell $(PKG_CONFIG) --libs python3-embed)

SANDBOX = $(sort $(wildcard sandbox/*.c))
FCGI_APP = $(sort $(wildcard fcgi-app/*.c))
RUNNER = $(sort $(wildcard runner/*.c))
# What only the service needs stays out of the template: executions inherit its memory.
SERVICE_SOURCES = $(FCGI_APP) $(SANDBOX)
TEMPLATE_SOURCES = $(RUNNER) $(addprefix sandbox/,err.c buffer.c frame.c message.c identity.c \
	tree.c policy.c seccomp.c rlimits.c json_scan.c job.c layers.c arrangement.c \
	landlock.c work_dir.c)

SERVICE_OBJECTS = $(SERVICE_SOURCES:%.c=$(BUILD)/%.o)
TEMPLATE_OBJECTS = $(TEMPLATE_SOURCES:%.c=$(BUILD)/template/%.o)
PROGRAMS = $(BUILD)/vivarium $(BUILD)/vivarium-template

.DELETE_ON_ERROR:
.PHONY: all programs run tests test test-only test-debian bench fuzz fuzz-run clean \
	packages-build packages-run packages-test packages-bench packages-fuzz

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

-include $(SERVICE_OBJECTS:.o=.d) $(TEMPLATE_OBJECTS:.o=.d)

packages-build packages-run packages-test packages-bench packages-fuzz: packages-%:
	@deploy/packages.sh ensure $*

run: packages-run all
	@PORT="$(PORT)" LISTEN="$(LISTEN)" CONF="$(CONF)" BUILD="$(abspath $(BUILD))" deploy/run.sh

# --- Tests: unit and policy tests in C, the rest in pytest; tests/run.py counts them all

LIBRARY = $(BUILD)/libvivarium-test.a
LIBRARY_OBJECTS = $(filter-out $(BUILD)/fcgi-app/main.o,$(FCGI_APP:%.c=$(BUILD)/%.o)) $(SANDBOX:%.c=$(BUILD)/%.o)
C_TESTS = $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c tests/policy/test_*.c))

$(LIBRARY): $(LIBRARY_OBJECTS)
	@rm -f $@ && ar rcs $@ $^

$(BUILD)/tests/%: tests/%.c $(LIBRARY)
	@mkdir -p $(@D)
	@echo "  test  $<"
	@$(CC) $(CPPFLAGS) $(CFLAGS) $(FCGI_CFLAGS) -MMD -MP -o $@ $< $(LIBRARY) $(LDFLAGS) \
		-lcmocka $(FCGI_LIBS) $(SECCOMP_LIBS)

-include $(C_TESTS:=.d)

tests: programs $(C_TESTS)

test: packages-run packages-test packages-build
	@umask 022 && $(MAKE) --no-print-directory tests
	@VIVARIUM_BUILD="$(abspath $(BUILD))" $(PYTHON) tests/run.py

# One directory or file only: make test-only TESTS=tests/integration
test-only: packages-run packages-test packages-build
	@umask 022 && $(MAKE) --no-print-directory tests
	@VIVARIUM_BUILD="$(abspath $(BUILD))" $(PYTHON) tests/run.py $(TESTS)

# In an empty Debian root, as root: make test-debian RELEASE=trixie
RELEASE ?= trixie
test-debian:
	@deploy/packages.sh ensure debian
	@tests/debian/run.sh $(RELEASE)

# --- Measurements

$(BUILD)/fork_limit: tests/bench/fork_limit.c $(filter-out %/template.o %/warden.o %/execution.o %/scout.o,$(TEMPLATE_OBJECTS))
	@$(CC) $(CPPFLAGS) $(TEMPLATE_CFLAGS) $(PYTHON_CFLAGS) -o $@ $^ $(PYTHON_LIBS) $(SECCOMP_LIBS) -pie

bench: packages-run packages-bench all
	@$(MAKE) --no-print-directory $(BUILD)/fork_limit
	@$(PYTHON) tests/bench/bench.py --start "env PORT={port} ACCESS_LOG=off BUILD=$(abspath $(BUILD)) deploy/run.sh" \
		--out build/bench $(BENCH)

# --- Fuzzing: make fuzz FUZZ_SECONDS=600

FUZZ_SECONDS ?= 60
FUZZERS = $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))

fuzz: packages-build packages-fuzz
	@$(MAKE) --no-print-directory MODE=fuzz fuzz-run

fuzz-run: $(FUZZERS:%=build/fuzz/%)
	@for target in $(FUZZERS); do \
		mkdir -p build/fuzz/corpus/$$target; \
		echo "  fuzz  $$target for $(FUZZ_SECONDS) s"; \
		build/fuzz/$$target -max_total_time=$(FUZZ_SECONDS) -verbosity=0 -print_final_stats=1 \
			build/fuzz/corpus/$$target tests/fuzz/corpus/$${target#fuzz_} || exit 1; \
	done

build/fuzz/fuzz_%: tests/fuzz/fuzz_%.c $(LIBRARY)
	@$(CC) $(CPPFLAGS) $(CFLAGS) $(FCGI_CFLAGS) -o $@ $< $(LIBRARY) -fsanitize=fuzzer $(LDFLAGS) \
		$(FCGI_LIBS) $(SECCOMP_LIBS)

clean:
	rm -rf build
