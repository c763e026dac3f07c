# Three commands matter: make run, make demo, make test. make help lists the rest.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

GO ?= go
# A work tree without git (a source archive, an image build) gives "dev".
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# Flags for slotproxy playground: make run ARGS='--listen 127.0.0.1:7000'
ARGS ?=
# Per fuzz target.
FUZZTIME ?= 60s
# Which benchmarks, and how often: benchstat wants 10.
BENCH ?= .
COUNT ?= 1

BIN := bin/slotproxy
CLIENTS := test/clients
# The black-box tests run a binary of their own process, so they are not built with -race.
UNIT = $(shell $(GO) list ./... | grep -vx 'slotproxy/test')
BLACKBOX = $(shell $(GO) list ./test 2>/dev/null)
GOFILES = $(shell find . -name '*.go' -not -path '*/node_modules/*')

.PHONY: help
help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name text; do \
		printf '  make %-10s %s\n' "$$name" "$$text"; done

.PHONY: build
build: ## Build bin/slotproxy
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o $(BIN) ./cmd/slotproxy

.PHONY: run
run: build ## Serve a throw-away cluster of real servers on 127.0.0.1:6479
	@scripts/servers.sh --one
	@exec $(BIN) playground $(ARGS)

.PHONY: demo
demo: build ## Move slots of a throw-away cluster while clients work, and tell what they noticed
	@scripts/servers.sh --one
	@exec $(BIN) demo

.PHONY: servers
servers: ## Bring the servers of all four versions (once per machine)
	@scripts/servers.sh

.PHONY: test
test: servers lint unit blackbox ## Run everything that must pass

.PHONY: lint
lint: ## Check format, vet, staticcheck, and that other systems build
	@unformatted=$$("$$($(GO) env GOROOT)/bin/gofmt" -l $(GOFILES)); if [ -n "$$unformatted" ]; then \
		printf 'not gofmt-ed:\n%s\n' "$$unformatted" >&2; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 $(GO) build -o /dev/null ./cmd/slotproxy

.PHONY: unit
unit: servers ## Run the unit tests with the race detector; fuzz corpora are among them
	@scripts/tools.sh gcc
	CGO_ENABLED=1 $(GO) test -race -timeout 25m $(UNIT)

.PHONY: blackbox
blackbox: servers build clients ## Run the built binary on real servers, with real client libraries
	SLOTPROXY_BIN=$(abspath $(BIN)) $(GO) test -count=1 -timeout 25m $(BLACKBOX)

# The client libraries of npm, once for each lock file.
.PHONY: clients
ifneq ($(wildcard $(CLIENTS)/package-lock.json),)
clients: $(CLIENTS)/node_modules/.stamp
endif

$(CLIENTS)/node_modules/.stamp: $(CLIENTS)/package-lock.json $(CLIENTS)/package.json
	@scripts/tools.sh node npm
	cd $(CLIENTS) && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error
	@touch $@

.PHONY: fuzz
fuzz: ## Fuzz every target for FUZZTIME
	@grep -rn --include='*_test.go' --exclude-dir=node_modules -o '^func Fuzz[A-Za-z0-9_]*' . | sort | \
	while IFS=: read -r file _ name; do \
		target=$${name#func }; \
		echo "fuzz $$target in $$(dirname "$$file") for $(FUZZTIME)"; \
		$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x "$$(dirname "$$file")" </dev/null; \
	done

# What the compiler optimises for: cmd/slotproxy/default.pgo is used by every build.
.PHONY: pgo
pgo: build ## Profile the proxy under loads of bench/compare anew, for the compiler
	@rm -rf bin/profiles
	bench/compare.sh -profile bin/profiles -seconds 10 -cases GET:1,SET:1,GET:16,SET:16,MULTI:16,PUBLISH:16,EVALSHA:16
	$(GO) tool pprof -proto bin/profiles/*.pb.gz > cmd/slotproxy/default.pgo

.PHONY: bench
bench: ## Run the benchmarks in Go; bench/compare.sh compares with other proxies
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) $(UNIT)

.PHONY: benchstat
benchstat: ## Run the benchmarks of the single steps for benchstat, into bench/results
	bench/steps.sh

# perf wants the symbols that make build leaves out.
.PHONY: flame
flame: ## Draw where the processor time of GET goes, kernel included, into bench/results/flame
	@CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/slotproxy-symbols ./cmd/slotproxy
	bench/compare.sh -bin bin/slotproxy-symbols -flame bench/results/flame -seconds 10 -cases GET:1,GET:16

.PHONY: clean
clean: ## Remove what the build and the tests made here (the servers stay in the user's cache)
	rm -rf bin $(CLIENTS)/node_modules
