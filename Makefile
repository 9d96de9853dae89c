# Everything that is done with this repository. Only Go is needed.

export CGO_ENABLED = 0
PLATFORMS = linux/amd64 linux/arm64 darwin/arm64 windows/amd64
FUZZ_TIME = 20s

.PHONY: build demo test race lint cross bench fuzz

build: ## the kdistill binary
	go build -trimpath -o kdistill ./cmd/kdistill

demo: build ## distil the embedded teacher: under two minutes on two cores
	./kdistill train --config demo --overwrite

test: ## every test; those of real inputs need ../shared (KDISTILL_SHARED) and are skipped without it
	go test ./...

race: ## the packages that start goroutines, under the race detector (needs a C compiler)
	CGO_ENABLED=1 go test -race ./internal/kernel ./internal/tokenizer ./internal/data ./internal/loss ./internal/optim ./internal/graph \
		./internal/signal ./internal/generate ./internal/task ./internal/synth

lint:
	@test -z "$$(gofmt -l cmd configs internal scripts)" || { echo "gofmt would change:"; gofmt -l cmd configs internal scripts; exit 1; }
	go vet ./...
	go tool staticcheck ./...

cross: ## builds for every supported platform
	@for p in $(PLATFORMS); do echo "build $$p"; GOOS=$${p%/*} GOARCH=$${p#*/} go build -o /dev/null ./... || exit 1; done

bench:
	go test -run '^$$' -bench . ./internal/kernel ./internal/loss ./internal/tokenizer ./internal/model

fuzz: ## each fuzz target for FUZZ_TIME
	@for dir in $$(grep -rl --include='*_test.go' '^func Fuzz' internal | xargs -n1 dirname | sort -u); do \
		for target in $$(grep -rhoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' $$dir | sed 's/func //'); do \
			go test ./$$dir -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZ_TIME) || exit 1; \
		done; done
