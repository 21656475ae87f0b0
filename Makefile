# The linter's version is pinned here, and nowhere in go.mod: it needs a newer
# Go than the program does.
STATICCHECK = go run honnef.co/go/tools/cmd/staticcheck@v0.7.0

.PHONY: build help dashboard test lint docs-lint e2e e2e-oldest bench bench-kapacitor bench-topics crash storm-ha screenshots release release-test

build: ## the program, as one static binary
	CGO_ENABLED=0 go build -trimpath -o bigpanda-udf .

help: ## what make can do
	@awk -F ': *## ' '/^[a-z0-9-]+: *## / {printf "%-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

dashboard: ## the Grafana dashboard, of its code
	cd monitoring/dashboard && go run . > ../grafana-dashboard.json && go test ./...

test: ## what the README asks for
	go test ./...

lint: ## go.mod and the code of the program, then of the end-to-end suite, NATS's suites and the dashboard
	go mod tidy -diff
	$(STATICCHECK) ./...
	cd e2e && go mod tidy -diff && $(STATICCHECK) ./...
	cd stream/test && go mod tidy -diff && $(STATICCHECK) ./...
	cd monitoring/dashboard && go mod tidy -diff && $(STATICCHECK) ./...

docs-lint: ## the form of README.md and docs/; needs npm. What they say is a test: test/docs, e2e/blocks
	npx --yes markdownlint-cli2@0.22.1

e2e: ## the end-to-end suite, with the real Kapacitor
	cd e2e && go vet . && go test -count=1 -timeout 20m ./...

# KAPACITOR_VERSION=1.7.0 make e2e takes a release in between.
e2e-oldest: ## the same with the oldest Kapacitor that it was run with, but for the console's tests
	cd e2e && KAPACITOR_VERSION=1.5.9 go test -count=1 -timeout 20m -skip '^TestBrowser' ./...

bench: ## what a point costs compared with the stock agent, storms, memory, and what waits in the outbox
	cd e2e && go test -run '^$$' -bench 'Wire|Latency' -benchtime 1x -timeout 60m ./program
	go test -run '^$$' -bench 'ActiveAlerts|Load' -benchtime 1x ./udf
	cd e2e && go test -run '^$$' -bench Storm -benchtime 5x ./program
	cd e2e && go test -run '^$$' -bench Outbox -benchtime 1x ./program

bench-kapacitor: ## points through a task of the real Kapacitor, with and without the function
	cd e2e && go test -run '^$$' -bench Throughput -benchtime 1x -timeout 30m .
	cd e2e && go test -run '^$$' -bench ServerStorm -benchtime 5x -timeout 30m .

bench-topics: ## storms in a topic of the real Kapacitor, by its post handler and by its own
	cd e2e && go test -run '^$$' -bench 'BenchmarkTopic' -benchtime 1x -timeout 30m .

crash: ## kill the program 1,000 times, and ask what became of every change; then the tests that go by chance, at length
	cd e2e && go test -run '^TestCrash$$' -count=1 -timeout 15m -v ./program -crash.kills=1000
	go test -count=1 ./outbox -outbox.full
	go test -count=1 ./outbox/powerloss -rounds=200
	go test -count=1 ./udf -udf.full
	go test -count=1 ./wire -wire.full

# The servers' files are in memory: eighteen servers that sync each write to one disk are
# a test of that disk. The power losses need root.
storm-ha: ## nodes, NATS servers and deliverers that are killed, hang and are cut off, ten times each; then losses of power
	cd stream/test && TMPDIR=/dev/shm GOTMPDIR=/tmp go test -run '^TestStorm$$' -count=1 -timeout 60m -parallel 6 -v ./storm -storm.full -storm.runs=10
	cd stream/test && go test -count=1 -timeout 20m -v ./powerloss -powerloss.rounds=20

# It needs Chromium (apt-get install chromium, or BIGPANDA_CHROMIUM), and no
# Kapacitor, so none is built.
screenshots: ## pictures of the sandbox's console at three widths, for the README
	cd e2e && KAPACITORD=none CI=1 go test -count=1 -run '^TestBrowserScreenshots$$' . -screenshots ../docs/screenshots

release: ## deb, rpm, archives, image, SBOMs and checksums into dist/VERSION: make release VERSION=1.2.3
	packaging/release.sh $(VERSION)

release-test: ## makes a release twice, compares, installs, upgrades and runs what is in it: minutes, and root
	packaging/test/all.sh
