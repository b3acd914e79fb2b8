# In front of Meson: `make help` says what there is. The work is in tools/.

BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
SITE    ?= examples/0-simple.yaml
STATE   ?= state
MINUTES ?= 30
MESON   := /usr/bin/meson
# clang 14 and GNU ld do not link each other's LTO objects
LTO     := $(if $(findstring clang,$(CC)),false,true)

# one part of `make bench` each
BENCHES := $(addprefix bench-,static wsgi flask asgi php guestbook balancer tcp tls)

.DEFAULT_GOAL := all
.PHONY: all run test check check-quick fuzz scan bench $(BENCHES) bench-sql bench-memory bench-reload bench-tunnels soak install clean help

all: $(BUILD)/build.ninja        ## build the program for use: build/trilith
	@ninja -C $(BUILD) --quiet

$(BUILD)/build.ninja:
	@tools/setup --check build
	$(MESON) setup $(BUILD) --buildtype=release -Db_lto=$(LTO) -Dtests=false --prefix=$(PREFIX)

run:                             ## install what is missing, build, run the example site
	@tools/setup run
	@$(MAKE) --no-print-directory all
	@exec $(BUILD)/trilith up $(SITE) --state $(STATE)

test:                            ## unit tests, corpora, end-to-end tests, under sanitizers
	@tools/setup test
	@tools/test

check:                           ## rules of the code, warnings of both compilers, clang-tidy
	@tools/setup check
	@tools/check

check-quick:                     ## the same without the slow parts
	@tools/setup check
	@tools/check --quick

fuzz:                            ## every fuzz target for FUZZ_SECONDS (60)
	@tools/setup check
	@tools/fuzz

scan:                            ## testssl.sh and 10,000 clients that break TLS; BUILD=build-asan
	@tools/setup test
	@TLS_SCAN=1 BROKEN_TLS=10000 TRILITH=$(abspath $(BUILD))/trilith /usr/bin/python3 -m pytest \
		-p no:cacheprovider -q tests/e2e/test_tls_scan.py tests/e2e/test_tls_broken_clients.py

bench:                           ## every benchmark beside its peers, writes bench/RESULTS.md
	@tools/setup bench
	@$(MAKE) --no-print-directory all
	@TRILITH=$(BUILD)/trilith bench/run.py

$(BENCHES): bench-%:
	@tools/setup bench
	@$(MAKE) --no-print-directory all
	@TRILITH=$(BUILD)/trilith bench/run.py $*

bench-sql:                       ## the SQL proxy beside HAProxy's TCP mode, writes bench/SQL.md
	@tools/setup bench
	@$(MAKE) --no-print-directory all
	@TRILITH=$(BUILD)/trilith bench/sql.py --write

bench-memory:                    ## memory of four Django workers beside gunicorn's
	@tools/setup bench
	@$(MAKE) --no-print-directory all
	@TRILITH=$(BUILD)/trilith bench/memory.py

bench-tunnels:                   ## 1,000 WebSockets through 100 reloads, 1 GiB up and down: flat memory
	@tools/setup bench
	@$(MAKE) --no-print-directory all
	@TRILITH=$(BUILD)/trilith bench/tunnels.py

bench-reload:                    ## 100,000 requests while the site is reloaded: none may fail
	@tools/setup bench
	@$(MAKE) --no-print-directory all
	@TRILITH=$(BUILD)/trilith bench/reload.py

soak:                            ## mixed load for MINUTES (30) with a kill each minute; BUILD=build-asan
	@tools/setup bench
	@ninja -C $(BUILD) --quiet
	@TRILITH=$(BUILD)/trilith bench/soak.py --minutes $(MINUTES)

install: all                     ## into DESTDIR and PREFIX
	@$(MESON) configure $(BUILD) -Dprefix=$(PREFIX) >/dev/null
	DESTDIR=$(DESTDIR) $(MESON) install -C $(BUILD) --no-rebuild

clean:                           ## remove what was built; the state of the example site stays
	rm -rf build build-asan build-fuzz build-check-*

help:                            ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14
