# pivotal-sync. `make help` lists the targets.
#
# Sources are found by wildcard: a new file in a folder needs no edit here. Each MODE has its
# own tree under build/, and the release programs are in build/bin/.

CC := gcc
MODE ?= release
WERROR ?= 0
PREFIX ?= /usr/local
FUZZ_S ?= 60
SOAK_S ?= 1800
# V=1 shows the commands. Targets that begin from nothing build with all cores.
V ?= 0
Q := $(if $(filter 0,$(V)),@)
say = $(if $(filter 0,$(V)),@printf '  %-5s %s\n' '$1' '$2')
JOBS := $(if $(findstring j,$(MAKEFLAGS)),,-j$(shell nproc 2>/dev/null || echo 1))

B := build/$(MODE)
BIN := $(if $(filter release,$(MODE)),build/bin,$(B)/bin)
GEN := $(B)/gen

PKGS := libuv libcurl libpq jansson hiredis libmicrohttpd libcrypto
# hiredis 1.0 and later can do TLS; Debian 12 has 0.14.
ifeq ($(shell pkg-config --exists hiredis_ssl libssl && echo yes),yes)
PKGS += hiredis_ssl libssl
TLS_CPPFLAGS := -DHAVE_HIREDIS_SSL
endif
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null)

WARN := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
        -Wcast-qual -Wwrite-strings -Wundef -Wvla -Wformat=2 -Wnull-dereference
ifeq ($(WERROR),1)
WARN += -Werror
endif
HARDEN := -fPIE -fstack-protector-strong -fstack-clash-protection -fcf-protection
MODE_release := -O2 -g -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
MODE_asan := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
MODE_tsan := -O1 -g -fsanitize=thread
MODE_lint := -O2
MODE_clang := -O1 -Wno-gnu-zero-variadic-macro-arguments
MODE_cov := -O0 -g --coverage
MODE_fuzz := -O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
MODE_FLAGS := $(MODE_$(MODE))
CPPFLAGS := -D_GNU_SOURCE -I. -I$(GEN) $(TLS_CPPFLAGS) $(PKG_CFLAGS)
CFLAGS := -std=gnu17 $(WARN) $(HARDEN) $(MODE_FLAGS)
LDFLAGS := -pie -Wl,-z,relro,-z,now $(MODE_FLAGS)

LAYERS := common provider core
# program folder : name of the program
PROGRAMS := cmd:pivotal-sync webhook-gw:pivotal-sync-webhook-gw scheduler:pivotal-sync-scheduler \
            worker:pivotal-sync-worker admin:pivotal-sync-admin
folder = $(firstword $(subst :, ,$1))
program = $(lastword $(subst :, ,$1))
sources = $(wildcard $1/*.c)
objects = $(patsubst %.c,$(B)/%.o,$(call sources,$1))

GENERATED := $(GEN)/gen_error_types.h
LIB := $(B)/libpivotal-sync.a
LIB_OBJECTS := $(foreach l,$(LAYERS),$(call objects,$l)) $(B)/gen/embedded.o
BINARIES := $(foreach p,$(PROGRAMS),$(if $(wildcard $(call folder,$p)/main.c),$(BIN)/$(call program,$p)))
SIM := $(BIN)/pivotal-sync-sim
UNIT_TESTS := $(patsubst %.c,$(B)/%,$(wildcard tests/unit/*.c))
CONTRACT_TESTS := $(patsubst %.c,$(B)/%,$(wildcard tests/contract/*.c))
FUZZ_TARGETS := $(patsubst %.c,$(B)/%,$(wildcard tests/fuzz/*.c))

.PHONY: all man sim tests unit test run-tests chaos soak bench scaling bench-report fuzz fuzz-targets lint lint-includes \
        lint-format lint-gcc lint-clang lint-cppcheck lint-tidy objects check tsan memcheck format clean \
        help deps deps-test demo docs install deb sbom
all: $(BINARIES) $(if $(call sources,tests/sim),$(SIM))

define program_rule
$(BIN)/$(call program,$1): $(call objects,$(call folder,$1)) $(LIB)
	@mkdir -p $$(@D)
	$$(call say,LINK,$$@)
	$$(Q)$$(CC) $$(LDFLAGS) -o $$@ $$^ $$(PKG_LIBS) -lm
endef
$(foreach p,$(PROGRAMS),$(eval $(call program_rule,$p)))

$(SIM): $(call objects,tests/sim)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) -lpthread -lm
sim: $(SIM)

$(LIB): $(LIB_OBJECTS)
	@mkdir -p $(@D)
	@rm -f $@
	$(call say,AR,$@)
	$(Q)ar rcs $@ $^

$(B)/%.o: %.c | $(GENERATED)
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(GEN)/gen_error_types.h: common/error_types.tsv common/error_types.awk
	@mkdir -p $(@D)
	$(Q)awk -f common/error_types.awk $< > $@.tmp && mv $@.tmp $@

# The Lua scripts and SQL steps travel inside the programs.
EMBEDDED := $(sort $(wildcard common/*.lua) $(wildcard sql/*.sql))
$(GEN)/embedded.c: $(EMBEDDED) common/embed.sh Makefile
	@mkdir -p $(@D)
	$(Q)sh common/embed.sh embedded_files '' $(EMBEDDED) > $@.tmp && mv $@.tmp $@
$(B)/gen/embedded.o: $(GEN)/embedded.c
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

# The admin page, each file as it is and packed. The vendored modules name each other as packages
# do; browsers want a path.
WEB := $(sort $(wildcard admin/web/*.html admin/web/*.js admin/web/*.css admin/web/*.svg admin/web/vendor/*.js))
WEB_GEN := $(addprefix $(GEN)/,$(WEB))
$(GEN)/admin/web/%: admin/web/%
	@mkdir -p $(@D)
	$(Q)sed 's|from"preact"|from"./preact.js"|g' $< > $@.tmp && mv $@.tmp $@
$(GEN)/admin/web/%.gz: $(GEN)/admin/web/%
	$(Q)gzip -9nc $< > $@.tmp && mv $@.tmp $@
$(GEN)/web.c: $(WEB_GEN) $(WEB_GEN:=.gz) common/embed.sh Makefile
	$(Q)sh common/embed.sh admin_files $(GEN)/ $(WEB_GEN) $(WEB_GEN:=.gz) > $@.tmp && mv $@.tmp $@
$(B)/gen/web.o: $(GEN)/web.c
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<
$(BIN)/pivotal-sync-admin: $(B)/gen/web.o

$(B)/tests/%: $(B)/tests/%.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) -lcmocka -lm
$(B)/tests/bench/queue: $(B)/tests/bench/queue.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(PKG_LIBS) -lm
# What system tests put beside or below programs; the same in each MODE.
TEST_TOOLS := $(addprefix build/tools/,names.so forgetful.so clock.so tls_front confined)
tests: $(UNIT_TESTS) $(CONTRACT_TESTS) $(TEST_TOOLS)
build/tools/%.so: tests/tools/%.c
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) -std=gnu17 -D_GNU_SOURCE $(WARN) -O2 -g -fPIC -shared -o $@ $< -ldl
build/tools/tls_front build/tools/confined: build/tools/%: tests/tools/%.c
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) -std=gnu17 -D_GNU_SOURCE $(WARN) -O2 -g -o $@ $< -lssl -lcrypto -lpthread -ldl

$(B)/tests/fuzz/%: $(B)/tests/fuzz/%.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(PKG_LIBS) -lm

# System tests wait more than they work, and each brings up its own servers: a few go side by side.
# The contract tests share one Redis, which some of them empty: they go one after another.
TEST_JOBS ?= 4
export CMOCKA_MESSAGE_OUTPUT := TAP
# A test that hangs is a failure like others, with the rest still run.
PROVE := prove -e 'timeout --foreground -k 10 900'
SYSTEM_TESTS := $(sort $(wildcard tests/system/*.t))

unit: $(UNIT_TESTS)
	$(PROVE) $(UNIT_TESTS)

# Everything that make does not know to be installed comes first; a second make then finds it.
test:
	@deploy/deps test
	@$(MAKE) --no-print-directory $(JOBS) all tests
	@$(MAKE) --no-print-directory run-tests
run-tests:
	@for t in $(SYSTEM_TESTS); do test -x $$t || { echo "$$t is not executable"; exit 1; }; done
	BIN=$(CURDIR)/$(BIN) PIVOTAL_SYNC_TEST_BIN=$(CURDIR)/$(BIN) TESTS_BUILT=$(CURDIR)/$(B)/tests \
	    tests/tools/tell-failures build/test.log tests/tools/with-services $(PROVE) -j$(TEST_JOBS) \
	    --rules='seq=$(B)/tests/contract/*' --rules='par=**' \
	    $(SYSTEM_TESTS) $(UNIT_TESTS) $(CONTRACT_TESTS)

# The fault tests in their long form; last line `lost 0, wrong 0, of N`.
CHAOS_TESTS := $(sort $(wildcard tests/system/45-hubspot-a-large-company.t tests/system/45-hubspot-in-bulk.t tests/system/5*.t tests/system/62-*.t tests/system/63-*.t tests/system/69-several-hosts.t tests/system/76-tokens.t tests/system/85-*.t tests/system/89-clocks-step.t))
chaos:
	@deploy/deps test
	@$(MAKE) --no-print-directory all tests
	@BIN=$(CURDIR)/$(BIN) tests/tools/chaos $(addprefix $(B)/tests/contract/,queue_model nomem nomem_save) \
	    $(CHAOS_TESTS)

# Load for SOAK_S seconds, then every row compared; the same last line.
soak:
	@deploy/deps test
	@$(MAKE) --no-print-directory all tests
	@BIN=$(CURDIR)/$(BIN) SOAK_S=$(SOAK_S) perl tests/tools/soak

# Parsers of outside bytes under ASan and UBSan, FUZZ_S seconds each.
fuzz:
	@deploy/deps test
	@$(MAKE) --no-print-directory $(JOBS) MODE=fuzz CC=clang fuzz-targets
	@tests/fuzz/seeds build/fuzz/corpus
	@tests/tools/fuzz build/fuzz $(FUZZ_S) $(patsubst %.c,build/fuzz/%,$(wildcard tests/fuzz/*.c))
fuzz-targets: $(FUZZ_TARGETS)

# One line a figure: name, median, unit, spread, goal, met or not. BENCH_RUNS (5) runs of each.
bench:
	@deploy/deps bench
	@$(MAKE) --no-print-directory $(JOBS) all $(B)/tests/bench/queue
	@BIN=$(CURDIR)/$(BIN) tests/tools/bench
# The first two lines of docs/scaling.md: 10 and 1,000 connections, beside what the model says.
scaling:
	@deploy/deps test
	@$(MAKE) --no-print-directory $(JOBS) all
	@BIN=$(CURDIR)/$(BIN) tests/tools/scaling-load
# docs/performance.md from the rows of the last one.
bench-report:
	@tests/bench/report build/bench.tsv > docs/performance.md

check: lint
	@$(MAKE) --no-print-directory MODE=asan all tests
	@$(MAKE) --no-print-directory MODE=asan run-tests
	@$(MAKE) --no-print-directory tsan

# What has threads, under ThreadSanitizer; last line `tsan: 0 reports`.
tsan:
	@deploy/deps test
	@$(MAKE) --no-print-directory $(JOBS) MODE=tsan all tests
	@tests/tools/tsan

# Unit and contract tests and a run of the programs under valgrind; last line `memcheck: N programs, 0 errors`.
memcheck:
	@deploy/deps test
	@$(MAKE) --no-print-directory $(JOBS) all tests
	@tests/tools/memcheck $(MEMCHECK)

demo:
	@deploy/deps build
	@$(MAKE) --no-print-directory $(JOBS) all
	build/bin/pivotal-sync up --demo $(if $(ONCE),--once)

deps:
	@deploy/deps build
deps-test:
	@deploy/deps test

# ---- lint ----
C_FILES = $(shell git ls-files '*.c')
PRODUCT_C = $(filter-out tests/%,$(C_FILES))
TIDY := bugprone-*,cert-*,clang-analyzer-*,misc-*,performance-*,portability-*,-bugprone-easily-swappable-parameters,-bugprone-narrowing-conversions,-cert-err33-c,-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling,-bugprone-reserved-identifier,-cert-dcl37-c,-cert-dcl51-cpp,-misc-no-recursion,-bugprone-assignment-in-if-condition,-misc-unused-parameters

lint:
	@deploy/deps test
	@$(MAKE) --no-print-directory lint-includes lint-format lint-gcc lint-clang lint-cppcheck lint-tidy
	@echo "lint: clean"
lint-includes:
	tests/tools/check-includes
lint-format:
	@if clang-format --version | grep -q 'version 14'; then \
	    clang-format --dry-run -Werror $$(git ls-files '*.c' '*.h') && echo "format: clean"; \
	else echo "format: skipped, it is judged by clang-format 14"; fi
lint-gcc:
	@$(MAKE) --no-print-directory MODE=lint WERROR=1 objects
lint-clang:
	@$(MAKE) --no-print-directory MODE=clang CC=clang WERROR=1 objects
lint-cppcheck: $(GENERATED)
	cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,performance,portability \
	    --inline-suppr --suppressions-list=tests/tools/cppcheck-suppressions -I. -I$(GEN) -j2 $(strip $(PRODUCT_C))
lint-tidy: $(GENERATED)
	@printf '%s\n' $(PRODUCT_C) | xargs -P2 -n1 sh -c \
	    'clang-tidy --quiet --warnings-as-errors="*" --checks="-*,$(TIDY)" "$$0" -- -std=gnu17 $(CPPFLAGS) 2>/dev/null || { echo "clang-tidy: $$0"; exit 1; }'
	@echo "clang-tidy: clean"
# Compiles everything, links nothing: what the two compilers say.
# The analyzer looks at the product only: on the simulator's big tables it takes minutes.
$(B)/common/%.o $(B)/provider/%.o $(B)/core/%.o $(B)/cmd/%.o $(B)/worker/%.o $(B)/scheduler/%.o \
$(B)/webhook-gw/%.o $(B)/admin/%.o: CFLAGS += $(if $(filter lint,$(MODE)),-fanalyzer)
objects: $(LIB_OBJECTS) $(foreach p,$(PROGRAMS),$(call objects,$(call folder,$p))) \
         $(call objects,tests/sim) $(UNIT_TESTS:=.o) $(CONTRACT_TESTS:=.o) $(FUZZ_TARGETS:=.o)

format:
	clang-format -i $$(git ls-files '*.c' '*.h')

# The parts of docs/ that are tables of the source.
docs: all
	@for part in settings errors commands; do \
	    build/bin/pivotal-sync reference $$part > docs/$$part.md.new && mv docs/$$part.md.new docs/$$part.md; \
	done
	@tests/tools/with-services sh -c 'export PIVOTAL_SYNC_DATABASE_URL="$$PIVOTAL_SYNC_TEST_DATABASE_URL"; \
	    build/bin/pivotal-sync migrate >&2 && build/bin/pivotal-sync reference sql > docs/sql.md.new && \
	    mv docs/sql.md.new docs/sql.md'

# Manual pages and completion scripts, from the same tables.
man: build/man/.made
build/man/.made: $(BIN)/pivotal-sync
	@mkdir -p build/man build/completions
	@rm -f build/man/*.[1578]
	$(BIN)/pivotal-sync reference man build/man
	@$(BIN)/pivotal-sync completion bash > build/completions/pivotal-sync
	@$(BIN)/pivotal-sync completion zsh > build/completions/_pivotal-sync
	@$(BIN)/pivotal-sync completion fish > build/completions/pivotal-sync.fish
	@touch $@

clean:
	rm -rf build

help:
	@echo 'all          the programs, into build/bin'
	@echo 'demo         everything on this machine with simulated accounts (ONCE=1: until equal, then end)'
	@echo 'test         all tests; starts and stops what it needs'
	@echo 'unit         the tests that need no service'
	@echo 'lint         include direction, format, gcc and clang warnings, analyzers'
	@echo 'chaos        the fault tests in their long form'
	@echo 'soak         load for SOAK_S seconds (1800), then every row and every resource compared'
	@echo 'fuzz         each fuzz target for FUZZ_S seconds (60)'
	@echo 'bench        what it does in a second, beside goals and peers, one line a figure;'
	@echo '             bench-report: docs/performance.md from the last one'
	@echo 'scaling      10 and 1,000 connections for real, beside the model of docs/scaling.md'
	@echo 'check        lint, then all tests under ASan and UBSan, then tsan'
	@echo 'tsan         what has threads under ThreadSanitizer; memcheck: unit and contract tests under valgrind'
	@echo 'deps         install what the build needs; deps-test: and the tests'
	@echo 'docs         docs/settings.md, errors.md, commands.md and sql.md from the tables in the source'
	@echo 'man          manual pages into build/man, completion scripts into build/completions'
	@echo 'install      programs, units, manual pages and completion scripts into DESTDIR/PREFIX'
	@echo 'deb          the Debian package, into build/deb'
	@echo 'sbom         what the programs are made of, with versions and licences, into build/sbom.cdx.json'
	@echo 'format clean'

SHARE = $(DESTDIR)$(PREFIX)/share
install: all man
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(BINARIES) $(DESTDIR)$(PREFIX)/bin/
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system/pivotal-sync-.service.d
	install -m 644 $(filter %.service %.socket %.target,$(wildcard deploy/systemd/*)) $(DESTDIR)$(PREFIX)/lib/systemd/system/
	install -m 644 deploy/systemd/pivotal-sync-.service.d/* \
	    $(DESTDIR)$(PREFIX)/lib/systemd/system/pivotal-sync-.service.d/
	for s in 1 5 7 8; do \
	    install -d $(SHARE)/man/man$$s && install -m 644 build/man/*.$$s $(SHARE)/man/man$$s/; \
	done
	install -d $(SHARE)/bash-completion/completions $(SHARE)/zsh/vendor-completions \
	    $(SHARE)/fish/vendor_completions.d
	install -m 644 build/completions/pivotal-sync $(SHARE)/bash-completion/completions/
	install -m 644 build/completions/_pivotal-sync $(SHARE)/zsh/vendor-completions/
	install -m 644 build/completions/pivotal-sync.fish $(SHARE)/fish/vendor_completions.d/

# What the programs are made of, with versions and licences (CycloneDX).
sbom: all
	deploy/sbom $(BINARIES) > build/sbom.cdx.json.new && mv build/sbom.cdx.json.new build/sbom.cdx.json
	@echo "build/sbom.cdx.json: $$(grep -c '"purl"' build/sbom.cdx.json) components"

# The Debian package, built from what is committed, without its twin of debug symbols.
deb:
	@deploy/deps deb
	rm -rf build/deb && mkdir -p build/deb/pivotal-sync
	git archive HEAD | tar -x -C build/deb/pivotal-sync
	mv build/deb/pivotal-sync/deploy/debian build/deb/pivotal-sync/debian
	cd build/deb/pivotal-sync && DEB_BUILD_OPTIONS=noautodbgsym dpkg-buildpackage -b -us -uc
	rm -rf build/deb/pivotal-sync
	lintian --fail-on error --suppress-tags bogus-mail-host build/deb/*.changes
	@ls build/deb/*.deb

-include $(shell find $(B) -name '*.d' 2>/dev/null)
