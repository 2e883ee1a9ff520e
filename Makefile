# Everything goes through Go: nothing else has to be installed. `make help` says
# what there is.

STACK ?= local
# The plugins of `make acceptance`: stand-in, or real as Pulumi finds them.
PLUGINS ?= stand-in
# PostgreSQL and barman of the restore tests, from Debian: stable, or current, which
# is what testing has.
TOOLS ?= current
# The server on the NAS of the restore and node tests, and of the MinIO plugin in
# `make acceptance PLUGINS=real`: minio or versitygw.
NAS ?= minio
# The sandbox deploys the embedded default; every other stack is deployed by the
# installed Pulumi with the real plugins. Nothing of it is compiled with C, as Pulumi
# is not: what they have in common is compiled once.
SANDBOX = export CGO_ENABLED=0 && go -C sandbox build -o ../.sandbox/start ./cmd/start && \
	cd sandbox && ../.sandbox/start
# The modules of this repository.
MODULES = . doctor sandbox tests tools tools/b2sdk tools/dashboard examples/outside

# A misspelt variable would quietly mean the local environment.
UNKNOWN = $(filter-out STACK=% PLUGINS=% TOOLS=% NAS=%,$(MAKEOVERRIDES))
ifneq ($(UNKNOWN),)
$(error there is no variable $(UNKNOWN); did you mean STACK=$(lastword $(subst =, ,$(UNKNOWN)))?)
endif
# So would a misspelt environment, or make Pulumi offer to create it.
ENVIRONMENTS = $(patsubst stacks/Pulumi.%.yaml,%,$(wildcard stacks/Pulumi.*.yaml))
ifneq ($(filter up preview render destroy doctor,$(MAKECMDGOALS)),)
ifeq ($(filter $(STACK),$(ENVIRONMENTS)),)
$(error there is no environment "$(STACK)"; these have a file in stacks/: $(ENVIRONMENTS))
endif
endif

.DEFAULT_GOAL := help
.PHONY: help up preview render destroy doctor test check fmt generate acceptance restore-test e2e bench clean clean-tools pulumi

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  STACK=<environment> chooses one of stacks/Pulumi.<environment>.yaml"
	@echo "  PLUGINS=real has acceptance use real plugins where it can"
	@echo "  TOOLS=stable takes restore-test's PostgreSQL and barman from Debian stable,"
	@echo "  TOOLS=oldest PostgreSQL from Debian 12"
	@echo "  NAS=versitygw tests with versitygw on the NAS instead of MinIO"

ifeq ($(STACK),local)
up: ## Deploy an environment; without STACK into the sandbox
	@$(SANDBOX) up
preview: ## Show what up would change
	@$(SANDBOX) preview
destroy: ## Delete an environment
	@$(SANDBOX) destroy
else
up: pulumi
	pulumi up --stack $(STACK)
preview: pulumi
	pulumi preview --stack $(STACK) --diff
destroy: pulumi
	pulumi destroy --stack $(STACK)
pulumi:
	@command -v pulumi > /dev/null || { echo "error: $(STACK) takes an installed Pulumi:" \
		"see https://www.pulumi.com/docs/install/. 'make render' and the local environment take none."; exit 1; }
endif

render: ## Write an environment's manifests, without credentials
	@$(SANDBOX) render $(STACK)

doctor: ## Would it restore right now? Without STACK: a sample
	@go -C doctor build -o ../.sandbox/doctor . && .sandbox/doctor -stack $(STACK)

test: ## Run all tests that need nothing but Go
	go test ./...
	go -C doctor test ./...
	go -C tools test ./...
	go -C sandbox test ./...
	go -C tests test -count=1 -timeout 40m ./...

acceptance: ## Test against a real API server and real operators
	NAS=$(NAS) go -C tests test -tags acceptance -count=1 -v -timeout 60m ./acceptance/ -plugins=$(PLUGINS)

restore-test: ## Restore from both copies with real servers (root)
	TOOLS=$(TOOLS) NAS=$(NAS) go -C tests test -tags restore -count=1 -v -timeout 200m ./restore/
	go -C tests test -tags restore -count=1 -v -timeout 30m ./alerts/

# All of it was only ever run with stable, the beginning with TOOLS=current, too.
e2e: TOOLS = stable
e2e: ## Test on a real node (root, E2E_DISPOSABLE_MACHINE=1)
	TOOLS=$(TOOLS) NAS=$(NAS) go -C tests test -tags e2e -count=1 -p 1 -v -timeout 150m ./node ./e2e

bench: ## Measure cost against a baseline, and backups (root)
	go -C tests run ./bench
	TOOLS=$(TOOLS) go -C tests run ./restore/bench

check: ## Check formatting, vet, lint, tidiness and generated code
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then \
		echo "not formatted; run 'make fmt':"; echo "$$unformatted"; exit 1; fi
	@for module in $(MODULES); do echo "go vet in $$module"; (cd $$module && go vet -tags acceptance,e2e,restore ./...) || exit 1; done
	@go -C tests run ./cmd/lint $(addprefix ../,$(MODULES))
	@for module in $(MODULES); do echo "go mod tidy in $$module"; (cd $$module && go mod tidy -diff) || exit 1; done
	@echo "generated files"; go -C tools/b2sdk run . -check && go -C tools/dashboard run . -check

fmt: ## Format all Go code as make check expects it
	@go -C tests run ./cmd/lint -fmt $(addprefix ../,$(MODULES))

generate: ## Regenerate the B2 SDK and the dashboard
	go generate ./components/b2/doc.go ./components/cnpg/dashboard.go

clean: ## Delete the sandbox, but keep what was built for it
	rm -rf .sandbox/*/

clean-tools: ## Delete all that was built; building takes minutes
	rm -rf .sandbox tools/.bin tests/node/.images tests/debian/.roots
