# What a developer and CI run; `make help` lists it. Needs Go, git and make;
# the tools are pinned in tools/go.mod, what clients need is set up by `clients`.

GO       ?= go
FUZZTIME ?= 20000x
BINARY   ?= build/caddy

TOOL := $(GO) tool -modfile=tools/go.mod
# The flags of xcaddy and of Caddy's own releases. All that compiles Caddy
# without the race detector has them, so that the build cache does it once.
RELEASE := -trimpath -tags=nobadger,nomysql,nopgx
STATIC  := CGO_ENABLED=0 GOFLAGS='$(RELEASE)'
# What tests alone are built with: caddymodule/testclock.go.
TESTCLOCK := -tags=nobadger,nomysql,nopgx,crumbgate_testclock
# The race detector needs a C compiler.
RACE    ?= $(if $(shell command -v "$$($(GO) env CC)"),-race)

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "%-12s %s\n", $$1, $$2 }'

.PHONY: build
build: ## Compile build/caddy, static and stripped
	$(STATIC) $(GO) build -ldflags='-s -w' -o $(BINARY) ./cmd/caddy

.PHONY: test
test: clients ## Run all tests, with the race detector; ends with what was skipped
	@$(GO) build -modfile=tools/go.mod -o build/gotestsum gotest.tools/gotestsum
	@echo '== go test $(RACE) ./... (the first time compiles Caddy twice: minutes)'
	@build/gotestsum --format=standard-quiet --format-hide-empty-pkg -- $(RACE) -timeout=20m ./...
	@$(if $(RACE),:,echo '== SKIPPED: the race detector: no C compiler')

# Status 3: a toolchain is missing. Tests say which, and skip what needs it.
.PHONY: clients
clients: ## Set up the Jenkins clients that the tests drive, in build/clients
	@echo '== clients'
	@for client in python node gojenkins java curl; do \
		test/clients/setup $$client || test $$? = 3 || exit 1; \
	done

# Shrinking what was found takes a minute each by default: all of a short run. The
# go command at times takes the end of a time for a failure ("context deadline
# exceeded"), so that the default is a number of inputs.
.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (a time, or so many inputs; default 20000x)
	@targets=$$(git ls-files -z '*_test.go' | xargs -0 grep -HoE '^func Fuzz[A-Za-z0-9_]+' | sed -E 's,/[^/]*:func , ,'); \
	test -n "$$targets" || { echo 'fuzz: no target found' >&2; exit 1; }; \
	echo "$$targets" | while read -r dir name; do \
		echo "== $$dir $$name"; \
		$(GO) test -run='^$$' -fuzz="^$$name$$" -fuzztime=$(FUZZTIME) -fuzzminimizetime=10x "./$$dir" </dev/null || exit 1; \
	done

.PHONY: bench
bench: ## Measure the cost of the gateway; prints, and writes build/bench.json
	$(STATIC) $(GO) run ./test/bench

.PHONY: docker-test
docker-test: ## Build the image's last stage with buildah and run it
	CRUMBGATE_REQUIRE_BUILDAH=1 $(GO) test -count=1 -v ./test/docker

.PHONY: lint
lint: fmt-check vet staticcheck golangci ## Run gofmt, go mod tidy, go vet, staticcheck and golangci-lint

.PHONY: fmt
fmt: ## Format the code
	gofmt -w $$(git ls-files '*.go')

.PHONY: fmt-check
fmt-check:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	test -z "$$unformatted" || { echo "not formatted, run make fmt:" $$unformatted >&2; exit 1; }
	$(GO) mod tidy -diff

.PHONY: vet
vet:
	$(STATIC) $(GO) vet ./...
	$(STATIC) $(GO) vet $(TESTCLOCK) ./caddymodule

.PHONY: staticcheck
staticcheck:
	$(STATIC) $(TOOL) staticcheck ./...
	$(STATIC) $(TOOL) staticcheck $(TESTCLOCK) ./caddymodule

.PHONY: golangci
golangci:
	$(STATIC) $(TOOL) golangci-lint run
	$(STATIC) $(TOOL) golangci-lint run --build-tags=nobadger,nomysql,nopgx,crumbgate_testclock ./caddymodule

.PHONY: vuln
vuln: ## Look for known vulnerabilities; needs the network (GOVULNDB names a copy)
	$(STATIC) $(TOOL) govulncheck $(if $(GOVULNDB),-db='$(GOVULNDB)') ./...

.PHONY: clean
clean: ## Remove what was built
	rm -rf build
