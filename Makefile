# Targets with a ## are in `make help`.
GO      ?= go
# how long a resumable target goes on before it leaves the rest for the next time
PIECE   ?= 3h
CELLS   ?= all
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
COMMIT  ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
PKG     := github.com/faultline-dev/faultline/cmd/faultline/command
LDFLAGS := -s -w -X $(PKG).version=$(VERSION) -X $(PKG).commit=$(COMMIT)
LINT    := $(GO) tool -modfile=tools/go.mod golangci-lint

.PHONY: help build test test-long integration suites lint fmt verify bugs conformance known-results controls sim soak-sim soak pages bench budget exhaustive agree fuzz cover ci clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

build: ## leave a static bin/faultline
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/faultline ./cmd/faultline

test: ## what README's second command runs: everything that needs neither Docker nor minutes
	$(GO) test -short ./...
	@docker version >/dev/null 2>&1 || echo "skipped: the container tests, since no Docker engine answers here"

test-long: ## all tests without -short, with the race detector
	$(GO) test -race -timeout 60m ./...

integration: build ## real nodes and containers; with FAULTLINE_REQUIRE_DOCKER=1 nothing may skip
	FAULTLINE_BIN=$(CURDIR)/bin/faultline $(GO) test -run '^TestIntegration' -count=1 -timeout 30m -p 1 ./...

suites: build ## the suites smoke and ci against real nodes and containers: verdicts and anomalies as expected
	@dir=$$(mktemp -d); echo "junit.xml, summary.md and, unless all is as expected, the runs: $$dir"; \
	timeout 20m bin/faultline suite smoke ci --runs "$$dir/runs" --junit "$$dir/junit.xml" --markdown "$$dir/summary.md"; code=$$?; \
	[ $$code -ne 0 ] || rm -rf "$$dir/runs"; exit $$code

lint: ## the linters of .golangci.yml
	$(LINT) run ./...

fmt: ## format the code
	$(LINT) fmt ./...

verify: ## formatting, modules and generated files leave the tree as it is
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not gofmt'ed:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) mod tidy -diff
	cd examples/outoftree && $(GO) mod tidy -diff
	$(GO) vet ./...

bugs: ## how soon the simulator finds each bug of the catalogues; fails if one is lost; writes docs/bugs.md
	$(GO) run ./internal/tools/bugscore -markdown docs/bugs.md

.PHONY: bugs-local sim-outside kills
bugs-local: ## which bugs real processes show within a minute each; fails if fewer than 8
	$(GO) build -o bin/bugscore ./internal/tools/bugscore
	bin/bugscore -local -markdown docs/bugs.md

# the workloads that simulated runs are judged by, besides the register; not cache-aside,
# of which no strategy is right where a write cannot reach the cache
LOADS := lock cache set counter queue
# $(call seeds,FROM..TO,WORKLOADS,FLAGS) runs these seeds of each correct store
seeds = for s in raft paxos; do for w in $(2); do echo "$$s, $$w"; \
	$(GO) run ./cmd/faultline run --on sim --system $$s --workload $$w --seeds $(1) $(3) || exit 1; done; done

sim: ## 500 seeds of each correct store, 50 of each other workload, and every bug of the catalogues once
	$(call seeds,1..500,register,--quiet)
	$(call seeds,1..50,$(LOADS),--quiet)
	$(GO) test -run 'TestBugs|TestSameSeed|TestShrink' ./cmd/faultline/command

sim-outside: ## 300 seeds of each store with a fault outside the failure model: nothing but what that may cause
	for s in raft paxos; do for w in register lock cache; do \
		$(GO) run ./cmd/faultline run --on sim --system $$s --workload $$w --opt model=outside --seeds 1..100 --quiet || exit 1; done; done

kills: ## 200 times kill -9 of a real node of each store under load: every acknowledged write is there afterwards
	FAULTLINE_STORES_KILLS=200 $(GO) test -run TestServer/Kill -count=1 -v -timeout 30m ./stores/raft/server ./stores/paxos/server

.PHONY: plans power-cuts
PLANS ?= 100
PLANS_PIECE ?= 100
plans: build ## 100 random plans of 5 s in a row on kept containers, for raft and etcd; goes on where it was interrupted
	@mkdir -p bin/plans; for s in raft etcd; do \
	from=$$(cat bin/plans/$$s 2>/dev/null || echo 1); \
	while [ $$from -le $(PLANS) ]; do to=$$((from+$(PLANS_PIECE)-1)); [ $$to -le $(PLANS) ] || to=$(PLANS); \
	bin/faultline run --on docker --system $$s --seeds $$from..$$to --opt reuse=true --opt plan=random --time 5s --rate 400 --concurrency 20 --keys 20 \
	--nemesis partition,delay,loss,duplicate,reorder,corrupt,rate,kill,pause,restart,rolling --runs bin/plans/runs; code=$$?; \
	[ $$code -eq 0 ] || [ $$code -eq 2 ] || exit $$code; rm -rf bin/plans/runs; \
	from=$$((to+1)); echo $$from > bin/plans/$$s; done; done

power-cuts: ## 20 power cuts each: Redis with fsync=everysec and a single etcd 3.5.2 lose acknowledged writes, a current etcd and raft none
	FAULTLINE_LONG=1 $(GO) test -run 'TestIntegrationDisk|TestIntegrationPowerLoss' -v -count=1 -timeout 60m ./docker

.PHONY: netem
netem: ## what the agents do to packets by netem and without it, in Debian's kernel on an emulated machine: two minutes
	GO=$(GO) internal/tools/netem/run.sh

conformance: build ## every cell of the matrix in containers, for 5 s without faults; CELLS=one: one of each system and workload
	bin/faultline list matrix --suite $(CELLS) > bin/conformance-$(CELLS).yaml
	timeout $(PIECE) bin/faultline suite bin/conformance-$(CELLS).yaml --keep-clusters --resume --runs bin/conformance

known-results: build ## published results on real stores, found again, 5 runs each; goes on where it was interrupted and writes docs/results.md
	timeout $(PIECE) bin/faultline suite known-results --resume --runs bin/known-results --figures docs/results.md

controls: build ## sound configurations under every fault that they must bear: no anomaly in 5 runs each; goes on where it was interrupted
	timeout $(PIECE) bin/faultline suite controls --resume --runs bin/controls

soak-sim: ## 10,000 seeds of each correct store and workload under every fault of the failure model
	$(call seeds,1..10000,register $(LOADS),--keep-going)

soak: build ## the suite soak, four hours and a quarter; goes on where it was interrupted
	timeout $(PIECE) bin/faultline suite soak --resume --runs bin/soak

pages: ## the page of 1,000, 100,000 and 1,000,000 operations in Chromium: how soon it answers
	FAULTLINE_REQUIRE_CHROMIUM=1 $(GO) test -run TestPageStaysFluent -v -count=1 ./reports

bench: build ## benchmarks, and every promise on speed and memory beside what was measured
	$(GO) test -run '^$$' -bench . -benchtime 1x ./history ./generator ./checker/... .
	$(GO) run ./internal/bench -faultline bin/faultline $(BENCH)

budget: build ## 50 checks of histories that explode: time, memory of all processes together, and how far they got
	FAULTLINE_LONG=1 FAULTLINE_BIN=$(CURDIR)/bin/faultline $(GO) test -run 'TestIntegrationBudget$$' -v -count=1 -timeout 30m ./cmd/faultline

exhaustive: ## every engine against brute force on all small histories, the ladder against its definitions: some minutes
	$(GO) test -run 'TestExhaustive|TestAgreeWithBrute|TestPlanted' -v -count=1 -timeout 3h ./checker/linear
	$(GO) test -run 'TestAgainstDefinition|TestMutations' -v -count=1 -timeout 1h ./checker ./checker/ladder

agree: ## the judges against Porcupine on 200,000 random larger histories: a quarter of an hour
	FAULTLINE_HISTORIES=200000 $(GO) test -run "TestAgreeWithPorcupine$$" -v -count=1 -timeout 1h ./checker/linear

fuzz: ## fuzz the readers for two minutes each
	for f in FuzzRead FuzzDecode; do $(GO) test -run '^$$' -fuzz "$$f\$$" -fuzztime 120s ./history || exit 1; done

cover: ## coverage of the short tests
	$(GO) test -short -coverprofile=cover.out ./... && $(GO) tool cover -func=cover.out | tail -1

ci: verify lint sim integration suites ## what CI runs after the tests
	$(MAKE) conformance CELLS=one

clean: ## remove what building and running left
	rm -rf bin runs cover.out
